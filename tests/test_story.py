"""The whole story at tiny sizes: every stage leaves what the next one and the page need."""

import json
import re
from pathlib import Path

import pytest

from tests.test_readme import blocks, write_video
from worldmodel.cli import app
from worldmodel.interop.load import load
from worldmodel.report.thresholds import BASELINES, THRESHOLDS
from worldmodel.runs.run import read_metrics

pytestmark = pytest.mark.slow

REPORTED = (
    "probe.pretrained_position_r2",
    "probe.random_init_position_r2",
    "probe.pixels_position_r2",
    "plan.random_success",
    "plan.noop_success",
    "plan.gradient_success",
    "plan.seconds_per_decision",
    "plan.model_calls",
    "pretrain.feature_std",
    "pretrain.effective_rank",
    "pretrain.sigreg_over_floor",
    *(
        f"surprise.{kind}.{number}"
        for kind in ("teleport", "vanish", "colour")
        for number in ("pair_accuracy", "auroc", "pixel_pair_accuracy", "copy_pair_accuracy")
    ),
)


def test_every_promised_number_is_there(smoke: Path) -> None:
    results = read_metrics(smoke / "runs/quickstart")["results"]
    # Of what is in the story: read-outs of classes are not.
    baselines = {BASELINES[name] for name in BASELINES.keys() & results.keys()}
    assert {*THRESHOLDS, *baselines, *REPORTED} <= set(results)
    assert len(baselines) == 7
    assert results["plan.already_solved"] == 0


def test_every_rate_has_its_count_and_interval(smoke: Path) -> None:
    results = read_metrics(smoke / "runs/quickstart")["results"]
    endings = (
        ".success", "random_success", "noop_success", "gradient_success", "_room", "_accuracy",
        "_accuracy_max", "auroc", "violation_rate", "already_solved",
    )  # fmt: skip
    rates = [name for name in results if name.endswith(endings)]
    assert len(rates) > 10
    for name in rates:
        assert results[f"{name}.n"] > 0
        assert 0 <= results[f"{name}.low"] <= results[name] <= results[f"{name}.high"] <= 1


def test_the_page_has_every_part(smoke: Path) -> None:
    page = (smoke / "runs/quickstart/report.html").read_text(encoding="utf-8")
    for title in ("Acting", "Judging", "Learning", "Numbers", "Time"):
        assert f"<h2>{title}</h2>" in page


def test_a_finished_story_is_not_told_again(
    smoke: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(smoke)
    before = (smoke / "runs/quickstart/metrics.json").read_text()
    assert app.main(["quickstart", "quickstart=smoke", "name=quickstart"]) == 0
    assert "stage" not in capsys.readouterr().err
    assert (smoke / "runs/quickstart/metrics.json").read_text() == before


def test_an_interrupted_story_keeps_its_finished_stages(
    smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    top = smoke / "runs/quickstart"
    (top / "metrics.json").rename(top / "before.json")
    (top / "surprise/violations/metrics.json").unlink()
    kept = (top / "pretrain/video/metrics.json").stat().st_mtime_ns
    assert app.main(["quickstart", "quickstart=smoke", "name=quickstart"]) == 0
    assert (top / "pretrain/video/metrics.json").stat().st_mtime_ns == kept
    again, before = (
        json.loads((top / name).read_text())["results"] for name in ("metrics.json", "before.json")
    )
    same = [name for name in before if not name.startswith(("seconds", "memory"))]
    assert {name: again[name] for name in same} == {name: before[name] for name in same}


def test_the_real_story_leaves_its_model_where_it_is_loaded_from(smoke: Path) -> None:
    folder = smoke / "runs" / "quickstart"
    model = load(folder)
    assert model.action_dim == 2 and model.action_predictor is not None
    trained = (folder / "train" / "actions" / "model" / "model.safetensors").read_bytes()
    assert (folder / "model" / "model.safetensors").read_bytes() == trained
    results = read_metrics(folder)["results"]
    seconds = {name: value for name, value in results.items() if name.startswith("seconds.")}
    total = seconds.pop("seconds.total")
    # A story told in one go takes longer than its stages by what lies between them; one that went
    # on takes exactly as long as they did. Another test may have told this one again.
    assert len(seconds) >= 8 and total >= sum(seconds.values()) - 0.001 * len(seconds)


def test_the_python_of_the_readme_runs_as_written(
    smoke: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(smoke)
    for name in re.findall(r"[\w/.-]+\.mp4", "".join(blocks("python"))):
        write_video(smoke / name)
    names: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)
