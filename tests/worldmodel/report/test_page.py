"""The page of a run: offline, complete, and honest about what is missed or collapsed."""

import base64
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from tests.fake_run import draw, make_fake_run
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.errors import RunError
from worldmodel.report import build, report
from worldmodel.runs.run import Run

VOID = {"meta", "img", "path", "line", "circle", "rect", "wbr"}


class Tags(HTMLParser):
    """Checks that what is opened is closed, and keeps what is referred to."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [value or "" for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = make_fake_run(tmp_path_factory.mktemp("runs") / "quickstart")
    return build(folder).read_text(encoding="utf-8")


def test_it_is_one_file_that_asks_for_nothing_else(page: str) -> None:
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    assert tags.sources and all(source.startswith("data:image/") for source in tags.sources)
    assert "http" not in re.sub(r'"data:[^"]*"', "", page)
    assert "@import" not in page and "url(" not in page and "<script" not in page


def test_every_part_is_there(page: str) -> None:
    for title in ("Acting", "Judging", "Learning", "Numbers", "Time", "Settings"):
        assert f"<h2>{title}</h2>" in page
    for kind in ("teleport", "vanish", "colour"):
        assert f"<h3>{kind}</h3>" in page
    assert page.count("data:image/webp") == 6


def test_clips_move_and_loop(page: str) -> None:
    found = re.search(r"data:image/webp;base64,([^\"]+)", page)
    assert found is not None
    clip = Image.open(io.BytesIO(base64.b64decode(found[1])))
    assert clip.n_frames == 28 and clip.info["loop"] == 0


def test_thresholds_that_are_missed_are_shown_as_missed(page: str) -> None:
    row = re.search(r"<tr><td><code>guardrail.violation_rate</code>.*?</tr>", page)
    assert row is not None
    assert "0.060" in row[0] and "≤ 0.05" in row[0] and "missed" in row[0]
    assert "0.028 to 0.125" in row[0] and ">100<" in row[0]
    assert "0.450" in row[0]  # the baseline: without the guardrail


def test_a_model_of_what_stands_still_is_an_alarm(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", verb="pretrain", config={}, seed=0)
    run.log(1, loss=0.1, feature_std=1.0)
    run.finish({"static_shortcut": 1.0, "between_clips": 0.9981, "feature_std": 1.0})
    page = build(tmp_path / "run").read_text()
    assert '<div class="alarm"><b>Nothing that moves</b> in pretrain: 99.8% of the variance' in page


def test_an_online_probe_has_a_curve(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "run", verb="pretrain", config={}, seed=0)
    for step in (10, 20, 30):
        probed = {"probe.accuracy": step / 40} if step != 20 else {}
        run.log(step, loss=1.0, **probed)
    run.finish({})
    card = re.search(r"<h3>online probe.*?</svg>", build(run.folder).read_text())
    assert card is not None
    assert "<title>accuracy</title>" in card[0] and card[0].count("L") == 1


def test_collapse_is_an_alarm(tmp_path: Path, page: str) -> None:
    assert '<div class="alarm">' not in page
    collapsed = build(make_fake_run(tmp_path / "quickstart", spread=0.04)).read_text()
    assert '<div class="alarm"><b>Collapse</b> in pretrain/video' in collapsed


def test_a_run_of_any_verb_has_a_page(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "r", verb="collect", config={"name": "<b>"}, seed=0)
    unfinished = build(tmp_path / "r").read_text()
    assert "not finished" in unfinished and "<h2>Numbers</h2>" not in unfinished
    run.finish({"episodes": 3, "rate": float("nan")})
    finished = build(tmp_path / "r").read_text()
    assert "<code>episodes</code>" in finished
    assert "<b>" + "</pre>" not in finished and "&lt;b&gt;" in finished


def test_a_planning_run_that_was_told_of_no_hazard_and_no_success_claims_neither(
    tmp_path: Path,
) -> None:
    run = Run.open(tmp_path / "r", verb="plan", config={}, seed=0)
    info = FolderInfo("SomeWorld-v0", 10.0, (-1.0,), (1.0,))
    with EpisodeWriter(run.folder / "episodes", info) as writer:
        frames = np.stack([draw(x, 0.0) for x in (-0.5, 0.0, 0.5)])
        writer.write(Episode.from_numpy(frames, np.zeros((2, 1), np.float32), fps=10), 0)
    run.finish({"success": 0.97, "success.n": 100, "success.low": 0.92, "success.high": 0.99})
    page = build(run.folder).read_text()
    assert "97% of 100 goals reached" in page
    assert "violation_rate" not in page and "hazard touched in" not in page
    assert ">2 steps<" in page and "not reached" not in page


def test_a_violation_is_what_the_run_was_told_it_is(tmp_path: Path) -> None:
    config = {"evaluation": {"violation": "fallen"}}
    run = Run.open(tmp_path / "r", verb="plan", config=config, seed=0)
    info = FolderInfo("SomeWorld-v0", 10.0, (-1.0,), (1.0,))
    frames = np.stack([draw(x, 0.0) for x in (-0.5, 0.0, 0.5)])
    flags = {"fallen": np.array([False, True, True]), "hazard_contact": np.ones(3, bool)}
    with EpisodeWriter(run.folder / "episodes", info) as writer:
        fallen = Episode.from_numpy(frames, np.zeros((2, 1), np.float32), fps=10, info=flags)
        writer.write(fallen, 0)
    rate = {"violation_rate": 1.0, "violation_rate.n": 1}
    run.finish({"success": 0.0, "success.n": 1} | rate)
    page = build(run.folder).read_text()
    assert "fallen for 2" in page and "fallen in 100%" in page and "hazard for" not in page


def test_a_planning_run_by_itself_knows_its_thresholds(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "r", verb="plan", config={}, seed=0)
    run.finish({"success": 0.5, "random_success": 0.125})
    page = build(tmp_path / "r").read_text()
    assert "≥ 0.95" in page and "missed" in page and "0.125" in page


def test_a_ceiling_is_drawn_as_what_it_is(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "r", verb="plan", config={}, seed=0)
    frames = np.stack([draw(x, 0.0) for x in (-0.5, 0.0, 0.5)])
    with EpisodeWriter(run.folder / "episodes", FolderInfo("w", 10.0, (-1.0,), (1.0,))) as writer:
        writer.write(Episode.from_numpy(frames, np.zeros((2, 1), np.float32), fps=10, info={}), 0)
    shares = {"planner": [0.0, 0.5], "random": [0.0, 0.0], "ceiling": [0.0, 1.0]}
    (run.folder / "reached_by.json").write_text(json.dumps(shares))
    run.finish({"success": 0.5})
    page = build(run.folder).read_text()
    assert "ceiling: planned in the simulator itself" in page and "random" in page


def test_a_real_video_has_its_curve_over_seconds(tmp_path: Path) -> None:
    run = Run.open(tmp_path / "r", verb="surprise", config={}, seed=0)
    frames = np.zeros((1, 40, 8, 8, 3), np.uint8)
    tensors = {
        "frames": frames,
        "scores": np.linspace(0, 1, 19, dtype=np.float32)[None],
        "step": np.array([-1]),
        "times": np.linspace(0.0, 7.8, 40)[None],
    }
    save_file(tensors, tmp_path / "r" / "examples.safetensors", {"kinds": "[]"})
    run.finish({"max": 1.0})
    page = build(tmp_path / "r").read_text()
    assert "<h2>Judging</h2>" in page and "seconds 7.8" in page
    assert "impossible" not in page


def test_the_verb_names_the_page(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    Run.open(tmp_path / "r", verb="toy", config={}, seed=0).finish({})
    assert report(run_folder=str(tmp_path / "r")) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "r" / "report.html")


def test_the_image_of_a_story(tmp_path: Path) -> None:
    folder = make_fake_run(tmp_path / "quickstart")
    assert report(run_folder=str(folder), image=str(tmp_path / "story.png")) == 0
    image = Image.open(tmp_path / "story.png").convert("RGB")
    assert image.width > 1000
    colours = {colour for _, colour in image.getcolors(2**24) or []}
    assert (46, 178, 112) in colours  # the goal
    assert (200, 85, 61) in colours  # the surprise
    Run.open(tmp_path / "r", verb="toy", config={}, seed=0).finish({})
    with pytest.raises(RunError, match="an image needs a planning run"):
        report(run_folder=str(tmp_path / "r"), image=str(tmp_path / "no.png"))


def test_what_is_not_a_run_or_is_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not a run's folder"):
        build(tmp_path)
    folder = make_fake_run(tmp_path / "quickstart")
    (folder / "surprise" / "suite" / "examples.safetensors").write_bytes(b"xx")
    with pytest.raises(RunError, match=r"examples\.safetensors: cannot be read"):
        build(folder)
    (folder / "plan" / "cem" / "config.yaml").write_text("[")
    with pytest.raises(RunError, match=r"config\.yaml: is not the settings"):
        build(folder)
