"""House rules that no single test of a part would notice."""

import ast
import importlib
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("worldmodel", "planners", "envs")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAX_FILE, MAX_FUNCTION = 300, 60

# Who may import whom inside `worldmodel`: only what stands in a lower line, or in the same.
LAYERS = (
    ("errors", "types", "plain_types", "cpu", "provenance", "memory", "statistics"),
    ("bars", "verbs"),
    ("data", "nn", "progress"),
    ("run", "epps_pulley", "sigreg", "masks", "tensors"),
    ("diagnostics", "regularisers", "objectives"),
    ("architecture", "model", "checkpoint", "foreign"),
    ("train", "surprises"),
    ("pretrain", "action", "probe", "judge", "export", "bench"),
    ("report", "results"),
    ("targets", "settings", "execute", "doctor", "help_text"),
    ("quickstart", "cli"),
    ("__main__",),
)


def module_of(path: Path) -> str:
    """The name that a file is imported by."""
    room, *rest = path.relative_to(ROOT).with_suffix("").parts
    head = ["worldmodel"] if room == "worldmodel" else ["worldmodel", room]
    return ".".join([*head, *rest]).removesuffix(".__init__")


def imports(path: Path) -> Iterator[str]:
    """Full names of all modules that a file imports, wherever in the file."""
    package = module_of(path) if path.name == "__init__.py" else module_of(path).rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parts = package.split(".")
            above = ".".join(parts[: len(parts) - node.level + 1]) if node.level else ""
            base = ".".join(part for part in (above, node.module) if part)
            yield base
            yield from (f"{base}.{alias.name}" for alias in node.names)


def room_of(name: str) -> str | None:
    """The room that a module is in; None for other people's."""
    parts = name.split(".")
    if parts[0] != "worldmodel":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS[1:] else "worldmodel"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_rooms_import_only_what_they_may(path: Path) -> None:
    allowed = {"worldmodel": {"worldmodel"}, "planners": {"worldmodel", "planners"},
               "envs": {"envs"}}  # fmt: skip
    room = path.relative_to(ROOT).parts[0]
    for name in imports(path):
        assert name.split(".")[0] not in ("planners", "envs", "configs", "tests", "benchmarks")
        # `from .. import x` names the root only to reach a room.
        found = room_of(name)
        assert found is None or found in allowed[room], f"{path.name} imports {name}"


@pytest.mark.parametrize("path", sorted((ROOT / "worldmodel").rglob("*.py")), ids=module_of)
def test_worldmodel_s_arrows_point_one_way(path: Path) -> None:
    height = {part: level for level, parts in enumerate(LAYERS) for part in parts}
    here = path.relative_to(ROOT / "worldmodel").parts[0].removesuffix(".py")
    if here == "__init__":
        return  # the door
    assert here in height, f"{here} has no place in LAYERS"
    for name in imports_when_running(path):
        parts = name.split(".")
        if parts[0] == "worldmodel" and len(parts) > 1 and parts[1] in height:
            assert height[parts[1]] <= height[here], f"{here} imports {name}, which is above it"


def imports_when_running(path: Path) -> list[str]:
    """Without those that only type checkers see."""
    tree = ast.parse(path.read_text())
    hidden = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in hidden:
            continue
        if isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            found += [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
    return found


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_files_and_functions_are_small(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef):
            docstring = ast.get_docstring(node, clean=False) or ""
            lines = (node.end_lineno or 0) - node.lineno + 1 - docstring.count("\n")
            assert lines <= MAX_FUNCTION, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_nothing_is_loaded_that_could_run_code(path: Path) -> None:
    tree = ast.parse(path.read_text())
    for name in imports(path):
        assert name.split(".")[0] not in ("pickle", "dill", "joblib", "shelve", "marshal")
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        keywords = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in ("eval", "exec", "yaml.load", "yaml.unsafe_load")
        assert called != "torch.load" or keywords.get("weights_only") == "True"
        assert keywords.get("allow_pickle", "False") == "False"


@pytest.mark.parametrize("name", ["worldmodel", "worldmodel.planners", "worldmodel.envs"])
def test_doors_are_small_and_real(name: str) -> None:
    door = importlib.import_module(name)
    assert 0 < len(door.__all__) <= 15
    assert all(getattr(door, word) is not None for word in door.__all__)
    assert len(set(door.__all__)) == len(door.__all__)


def test_importing_the_package_leaves_torch_for_later() -> None:
    """The command line sets what OpenMP and the allocator do before torch is there."""
    program = "import sys, worldmodel, worldmodel.__main__; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def test_every_package_is_listed_for_the_wheel() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    listed = set(project["tool"]["setuptools"]["packages"])
    found = {module_of(path) for path in FILES if path.name == "__init__.py"}
    groups = {path.parent for path in (ROOT / "configs").rglob("*.yaml")}
    found |= {".".join(["worldmodel", *path.relative_to(ROOT).parts]) for path in groups}
    assert listed == found


@pytest.fixture(scope="session")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built wheel."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    for room in (*ROOMS, "configs"):  # copied, so that the checkout stays clean of build folders
        shutil.copytree(ROOT / room, source / room, ignore=shutil.ignore_patterns("__pycache__"))
    words = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation"]
    done = subprocess.run([*words, "-w", str(out), str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return next(out.glob("*.whl"))


@pytest.mark.slow
def test_the_wheel_has_one_root_and_all_that_runs(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    roots = {name.split("/")[0] for name in names}
    assert {root for root in roots if not root.endswith(".dist-info")} == {"worldmodel"}
    assert any(name.endswith("LICENSE") for name in names)
    inside = {name.removeprefix("worldmodel/") for name in names}
    for room in (*ROOMS, "configs"):
        for path in (ROOT / room).rglob("*"):
            if path.suffix in (".py", ".yaml", ".css", ".xml"):
                parts = path.relative_to(ROOT).parts
                expected = "/".join(parts[1:] if parts[0] == "worldmodel" else parts)
                assert expected in inside, f"{expected} is not in the wheel"


@pytest.mark.slow
def test_the_wheel_works_from_another_folder(wheel: Path, tmp_path: Path) -> None:
    place = tmp_path / "installed"
    zipfile.ZipFile(wheel).extractall(place)
    program = (
        f"import sys; sys.path.insert(0, {str(place)!r})\n"
        "import worldmodel.planners, worldmodel.envs, worldmodel.configs\n"
        "assert all(m.__file__.startswith(sys.path[0]) for n, m in sys.modules.items()\n"
        "           if n.split('.')[0] == 'worldmodel' and m.__file__), 'not the wheel'\n"
        "from worldmodel import cli\n"
        "sys.exit(cli.main(['plan', '--cfg', 'job']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "worldmodel.planners.plan.plan" in done.stdout


def test_tables_in_documents_are_up_to_date() -> None:
    script = ROOT / "docs" / "results" / "render.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
