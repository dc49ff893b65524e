"""The documents do what they say: commands exist, and those of the guides run on small data."""

import os
import re
import shlex
import shutil
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import torch
from PIL import Image

from benchmarks.__main__ import command_line
from tests.test_readme import write_video
from tests.worldmodel.datasets.layouts import (
    lerobot_v3,
    put,
    write_act,
    write_zarr,
    zarr_arrays,
)
from tests.worldmodel.evaluation.suite_layouts import quartet, write_scene
from tests.worldmodel.evaluation.suite_layouts import write_video as write_video_of
from tests.worldmodel.interop import makers
from tests.worldmodel.toys import small_model, write_dots
from worldmodel.cli import app
from worldmodel.cli.app import _sort, _split
from worldmodel.cli.compose import settle
from worldmodel.cli.settings import choices
from worldmodel.planners import recorded_states
from worldmodel.planners.cloning import clone

ROOT = Path(__file__).resolve().parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
GUIDES = [
    ROOT / "docs" / name
    for name in (
        "data.md",
        "video.md",
        "weights.md",
        "pretraining.md",
        "probes.md",
        "features.md",
        "worlds.md",
        "published-suites.md",
    )  # fmt: skip
]
PROGRAMS = ("make ", "worldmodel ", "python -m benchmarks ")
# A training of minutes is cut down to this; all else is as it is written.
SHORT = ["optimisation.steps=2", "batch=4", "device=cpu"]
# Recording and planning of minutes are cut down too.
SMALL = {"episodes=200": "episodes=10", "steps=50": "steps=12", "offset=25": "offset=4"}
PLANNED = [
    "episodes=2", "planner.horizon=2", "planner.candidates=8", "planner.elites=2",
    "evaluation.workers=1", "evaluation.max_steps=4",
]  # fmt: skip
PROBED = ["views.workers=0", "probes.attentive.steps=1", "probes.attentive.epochs=1"]


def blocks(page: Path, *languages: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    return [body for kind, body in found if kind in languages]


def commands(page: Path) -> list[str]:
    """The lines of a page's fenced blocks that a reader would type, without their comments."""
    lines = "\n".join(blocks(page, "", "sh", "bash", "console")).replace("\\\n", " ").splitlines()
    words = [line.split(" #")[0].removeprefix("$ ").strip() for line in lines]
    # What several processes do, one can do too.
    words = [re.sub(r"^torchrun .*? -m worldmodel ", "worldmodel ", line) for line in words]
    return [" ".join(line.split()) for line in words if line.startswith(PROGRAMS)]


def test_the_readme_begins_with_the_two_commands() -> None:
    assert commands(PAGES[0])[:2] == ["make quickstart", "make test"]


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_every_command_is_one_that_exists(line: str) -> None:
    program, *words = shlex.split(line)
    if program == "python":
        command_line().parse_args(words[2:])
        return
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
        return
    if not words[0].startswith("-"):
        verb, rest = _split(words)
        flags, rest = _sort(verb, rest)
        if "--multirun" in flags:  # the first of its runs; launchers read what is theirs
            own = [word for word in rest if not word.lstrip("+~").startswith("hydra")]
            rest = [re.sub(r"=(\w+),[\w,]+$", r"=\1", word) for word in own]
        settle(verb, rest, checked=False)


def test_the_files_that_answer_a_newcomer_exist() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text().partition("## Where things are")[2]
    rows = [row.split("|")[1:3] for row in text.splitlines() if "?" in row]
    assert len(rows) == 20
    for question, answer in rows:
        files = re.findall(r"`([\w/]+\.py)`", answer)
        assert files, question
        assert all((ROOT / file).is_file() for file in files), question


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files of the names that the guides use."""
    for name in ("a.mp4", "b.mp4"):
        write_video(tmp_path / "my/videos" / name, frames=64, size=64)
    for name in ("jump/a", "jump/b", "jump/c", "run/a", "run/b", "run/c"):
        write_video(tmp_path / "my/labelled" / f"{name}.mp4", frames=24, size=64)
    (tmp_path / "my/list.csv").write_text("videos/a.mp4 0\nvideos/gone.mp4 1\nvideos/b.mp4 1\n")
    for name in (f"{action}/{number}.mp4" for action in ("run", "walk") for number in range(4)):
        write_video(tmp_path / "my/actions" / name, frames=20, size=64)
    write_video(tmp_path / "clip.mp4", frames=20, size=64)
    put(tmp_path / "clip.mp4", tmp_path / "my/shards/clip.mp4")
    for name in ("a/1.png", "b/2.png"):
        (tmp_path / "my/images" / name).parent.mkdir(parents=True)
        Image.new("RGB", (80, 72), (90, 120, 30)).save(tmp_path / "my/images" / name)
    for name in ("frames/run/clip7", "frames/walk/clip1", "intphys/1/scene", "intphys/1/depth"):
        (tmp_path / "my" / name).mkdir(parents=True)
        for number in range(1, 41):
            image = Image.new("RGB", (80, 72), (5 * number, 120, 30))
            image.save(tmp_path / "my" / name / f"{number:06d}.jpg")
    (tmp_path / "my/robot").mkdir()
    lerobot_v3(tmp_path / "my/robot", tmp_path / "clip.mp4")
    (tmp_path / "my/aloha/transfer_cube").mkdir(parents=True)
    write_act(tmp_path / "my/aloha/transfer_cube", compress=True)
    write_zarr(tmp_path / "my/pusht_cchi_v7_replay.zarr", **zarr_arrays())
    weights = makers.encoder(192, 16, depth=1), makers.predictor(384, 192, depth=1)
    torch.save(makers.checkpoint(*weights), tmp_path / "vitl.pt")
    torch.save(makers.probe_file(makers.probe(width=192, classes=2)), tmp_path / "ssv2.pt")
    torch.save(makers.checkpoint_ac(192, 384, patch=16), tmp_path / "vjepa2-ac.pt")
    write_dots(tmp_path / "runs/collect/rooms", episodes=8, length=12)
    for split, number in (("dev", "01"), ("test", "0001")):  # frames for a window of 16 each
        slower = {
            n: (can, f.repeat(3, axis=0))
            for n, (can, f) in quartet(labelled=split == "dev").items()
        }
        write_scene(tmp_path / "suites/intphys" / split / "O1" / number, slower)
    for name in ("P_Gravity", "IP_Gravity"):
        frames = quartet()["1" if name[0] == "P" else "2"][1].repeat(14, axis=0)
        write_video_of(tmp_path / "suites/grasp" / name / "1.mp4", frames, fps=50)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@pytest.mark.parametrize("page", GUIDES, ids=lambda page: page.stem)
def test_the_commands_of_a_guide_run_one_after_the_other(
    page: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorded_states, "clone", partial(clone, steps=20))
    lines = [shlex.split(line)[1:] for line in commands(page) if line.startswith("worldmodel ")]
    assert len(lines) >= 3
    for words in lines:
        short = SHORT if words[0] in ("pretrain", "train") else []
        if words[0] == "train":
            short = [*short, "rollouts.length=3"]
        if words[0] == "pretrain" and "data=episodes" not in words:
            short = [*short, "data.workers=0"]  # workers have tests of their own
        if "task=classify" in words:
            short = PROBED[: 1 if "~probes.attentive" in words else None]
        short = ["loading.workers=0"] if words[0] == "features" else short
        if words[:2] in (["data", "inspect"], ["data", "check"]):
            short = ["workers=0"]
        if page.stem == "worlds":
            words = [SMALL.get(word, word) for word in words]
            short = [*short, *PLANNED] if words[0] == "plan" else short
        keys = {word.partition("=")[0] for word in words}
        extra = [word for word in short if word.partition("=")[0] not in keys]
        assert app.main([*words, *extra]) == 0, " ".join(words)
    if page.stem == "features":  # its Python starts from what its commands have written
        for block in blocks(page, "python"):
            exec(compile(block, page.name, "exec"), {})


@pytest.mark.slow
@pytest.mark.parametrize("page", [GUIDES[1], GUIDES[2]], ids=lambda page: page.stem)
def test_the_python_of_a_guide_runs_as_written(page: Path, place: Path) -> None:
    assert blocks(page, "python")
    for block in blocks(page, "python"):
        exec(compile(block, page.name, "exec"), {})


def test_the_alarm_of_the_page_on_judging_rings_as_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("ordinary.mp4", "new.mp4"):
        write_video(tmp_path / name, frames=64, size=96)
    (block,) = blocks(ROOT / "docs/judging.md", "python")
    names = {"model": small_model(), "ordinary": ["ordinary.mp4"] * 19}
    exec(compile(block, "judging.md", "exec"), names)
    # It has seen this very clip, so no score of it is rare.
    assert names["rang"] is None and capsys.readouterr().out.startswith("None None\n[1. ")


def test_the_report_on_keys_is_as_the_code_writes_it(
    place: Path, capsys: pytest.CaptureFixture
) -> None:
    assert app.main(["export", "model=vitl.pt", "output=out"]) == 0
    written = capsys.readouterr().err
    for line in re.sub(r"\d+", "0", blocks(GUIDES[2], "text")[0]).splitlines():
        if line.strip() != "..." and "pos_embed" not in line:  # which the small file has not
            assert line.strip() in re.sub(r"\d+", "0", written), line


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The site as `make docs` builds it."""
    pytest.importorskip("material")
    folder = tmp_path_factory.mktemp("site")
    words = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "-d", str(folder)]
    environment = os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    subprocess.run(words, cwd=ROOT, env=environment, check=True)
    return folder


def test_pages_load_nothing_from_the_network_and_bring_what_searches_them(site: Path) -> None:
    pages = sorted(site.glob("*.html"))
    assert len(pages) > 5
    for page in pages:
        text = page.read_text("utf-8")
        loaded = re.findall(r'<(?:script|img|iframe)[^>]* src="([^"]+)"', text)
        loaded += re.findall(r'<link rel="stylesheet" href="([^"]+)"', text)
        assert loaded and not [name for name in loaded if "//" in name]
        assert any(name.endswith("iframe-worker.js") for name in loaded)
    assert (site / "iframe-worker.js").is_file() and (site / "search/search_index.js").is_file()


@pytest.mark.slow
def test_pages_that_are_opened_from_the_disk_can_be_searched(site: Path, tmp_path: Path) -> None:
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("there is no browser")
    words = [
        browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path}",
        "--host-resolver-rules=MAP * ~NOTFOUND", "--virtual-time-budget=15000", "--dump-dom",
        f"file://{site}/index.html?q=mask",
    ]  # fmt: skip
    done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=True)
    assert re.search(r"[1-9]\d* matching documents", done.stdout)


def test_every_recipe_of_pretraining_stands_in_its_guide():
    page = (ROOT / "docs/pretraining.md").read_text()
    named = set(re.findall(r"worldmodel pretrain recipe=(\w+)", page))
    assert named == {*choices("pretrain")["recipe"]} - {"none"}
