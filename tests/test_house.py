"""House rules that no single test of a part would notice."""

import ast
import importlib
import shutil
import subprocess
import sys
import tomllib
import zipfile
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("worldmodel", "planners", "envs")
FILES = sorted(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))
MAX_FUNCTION = 60

# The folders of `worldmodel/` and the files at its top, each of which imports only those before it.
# Storage is lowest because runs and videos alike write files whole or not at all; episodes come
# before datasets because most layouts on disk hold episodes; reports come late because they show
# what training and evaluation wrote.
ORDER = (
    "errors", "types", "storage", "runs", "video", "episodes", "datasets", "loading", "nn", "model",
    "architecture", "checkpoint", "interop", "objectives", "training", "evaluation", "report",
    "tools", "cli", "__main__",
)  # fmt: skip


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


def modules_imported(path: Path) -> set[str]:
    """The files of this project that a file imports, inside functions and for types too."""
    known = {module_of(file) for file in FILES}
    return {name for name in imports(path) if name in known and name != module_of(path)}


@pytest.mark.parametrize("path", sorted((ROOT / "worldmodel").rglob("*.py")), ids=module_of)
def test_each_folder_imports_only_those_before_it(path: Path) -> None:
    here = path.relative_to(ROOT / "worldmodel").parts[0].removesuffix(".py")
    if here == "__init__":
        return  # the door hands on what is inside
    for name in modules_imported(path) - {"worldmodel"}:
        there = name.split(".")[1]
        assert ORDER.index(there) <= ORDER.index(here), f"{here} imports {name}, which is above it"


def test_nobody_inside_imports_the_door() -> None:
    for path in FILES:
        if path != ROOT / "worldmodel" / "__init__.py":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.ImportFrom) and node.module == "worldmodel":
                    names = {f"worldmodel.{alias.name}" for alias in node.names}
                    assert names <= {module_of(file) for file in FILES}, f"{path}: {names}"


def folder_of(name: str) -> str:
    """The folder of `worldmodel/`, or the file at its top, or the other room, that a file is in."""
    return ".".join(name.split(".")[:2])


@pytest.mark.parametrize("of", ["modules", "folders"])
def test_no_imports_run_in_a_circle(of: str) -> None:
    doors = {module_of(path) for path in FILES if path.name == "__init__.py"}
    graph: dict[str, set[str]] = {}
    for path in FILES:
        here = module_of(path)
        if here == "worldmodel":
            continue
        # To import a file runs its package's door first, but a door that hands on names is no idea
        # of its own: it is followed only where it is what is asked for.
        to = {name for name in modules_imported(path) if name != "worldmodel"}
        to = {n for n in to if n not in doors or not any(m.startswith(f"{n}.") for m in to)}
        if of == "folders":
            here, to = folder_of(here), {folder_of(name) for name in to}
            to -= {here}
        graph.setdefault(here, set()).update(to)
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(" -> ".join(error.args[1]))


@pytest.mark.parametrize("path", FILES, ids=module_of)
def test_functions_are_small(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
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
    assert 0 < len(door.__all__) <= 20
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
        "from worldmodel.cli import app\n"
        "sys.exit(app.main(['plan', '--cfg', 'job']))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert "worldmodel.planners.plan_verb.plan" in done.stdout


def test_tables_in_documents_are_up_to_date() -> None:
    script = ROOT / "docs" / "results" / "render.py"
    done = subprocess.run([sys.executable, str(script), "--check"], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
