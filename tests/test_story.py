"""The whole story at tiny sizes: every stage leaves what the next one and the page need."""

import json
from pathlib import Path

import pytest

from worldmodel.cli import app
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
