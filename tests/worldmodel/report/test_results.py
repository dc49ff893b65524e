"""Tables: from seeds to JSON to Markdown, with nothing lost that was missed."""

import json
from pathlib import Path

import pytest

from worldmodel.errors import RunError
from worldmodel.evaluation.statistics import rate_results, wilson
from worldmodel.report.results import collect, fill, markdown, write
from worldmodel.report.thresholds import Threshold, baseline_of, threshold_of
from worldmodel.runs.run import Run


def finished(folder: Path, seed: int, successes: int, verb: str = "quickstart") -> Path:
    run = Run.open(folder, verb=verb, config={"seed": seed}, seed=seed)
    rates = rate_results("plan.success", successes, 100)
    floors = rate_results("plan.random_success", 5 + seed, 100)
    r2 = 0.97 + 0.01 * seed  # with an interval of its own, which is not that of a rate
    spread = {f"probe.position_r2.{k}": v for k, v in (("n", 40), ("low", r2 - 0.01), ("high", 1))}
    run.finish({**rates, **floors, "probe.position_r2": r2, **spread, f"only.{seed}": 1})
    return folder


@pytest.fixture
def table(tmp_path: Path) -> dict:
    runs = [finished(tmp_path / str(seed), seed, 97 - seed) for seed in (1, 2, 3)]
    return collect(runs, name="quickstart", command="worldmodel quickstart -m seed=1,2,3")


def test_seconds_of_runs_that_were_slowed_down_are_left_out(tmp_path):
    runs = []
    for seed, seconds in ((1, 600.0), (2, 1400.0), (3, 640.0)):
        run = Run.open(tmp_path / str(seed), verb="quickstart", config={}, seed=seed)
        run.finish({"seconds.total": seconds, "score": float(seed)})
        runs.append(tmp_path / str(seed))
    table = collect(runs, name="x", command="y", untimed=[2])
    rows = {row["key"]: row for row in table["rows"]}
    assert rows["seconds.total"]["value"] == 620 and rows["seconds.total"]["seeds"] == [1, 3]
    assert rows["score"]["value"] == 2 and rows["score"]["seeds"] == [1, 2, 3]


def test_counts_are_pooled_and_other_numbers_averaged(table: dict) -> None:
    rows = {row["key"]: row for row in table["rows"]}
    success = rows["plan.success"]
    pooled = wilson(96 + 95 + 94, 300)
    assert success["value"] == pytest.approx(0.95) and success["n"] == 300
    assert (success["low"], success["high"]) == pytest.approx(pooled[1:], abs=1e-4)
    assert success["per_seed"] == [0.96, 0.95, 0.94] and success["seeds"] == [1, 2, 3]
    assert success["floor"] == pytest.approx(0.07) and success["bar"] == 0.95
    assert rows["probe.position_r2"]["value"] == pytest.approx(0.99)
    assert not any(key.startswith("only") for key in rows)  # not in every run, which is said
    assert table["left_out"] == ["only.1", "only.2", "only.3"]
    assert "Not of every seed, so left out: only.1, only.2, only.3." in markdown(table)
    assert "plan.success.n" not in rows


def test_numbers_that_are_not_rates_get_the_interval_of_their_mean_over_seeds(table: dict) -> None:
    r2 = next(row for row in table["rows"] if row["key"] == "probe.position_r2")
    half = 4.302653 * 0.01 / 3**0.5  # Student's t with two degrees of freedom
    assert r2["n"] == 3
    assert r2["low"] == pytest.approx(0.99 - half, abs=1e-4)
    assert r2["high"] == 1.0  # no seed was above one, though 0.99 + half is


def test_a_single_run_keeps_the_intervals_that_it_has(tmp_path: Path) -> None:
    table = collect([finished(tmp_path / "1", 1, 97)], name="one", command="worldmodel quickstart")
    r2 = next(row for row in table["rows"] if row["key"] == "probe.position_r2")
    assert (r2["n"], r2["low"], r2["high"]) == (40, pytest.approx(0.97), 1)
    assert "One seed" in markdown(table)


def test_a_threshold_that_one_seed_misses_is_missed(table: dict) -> None:
    lines = markdown(table).splitlines()
    success = next(line for line in lines if "`plan.success`" in line)
    assert "**0.95**" in success and "0.96, 0.95, 0.94" in success and "≥ 0.95, missed" in success
    reached = next(line for line in lines if "probe.position_r2" in line)
    assert "≥ 0.98 |" in reached
    assert "worldmodel quickstart -m seed=1,2,3" in lines[-1]
    assert len(markdown(table, ["probe"]).splitlines()) == 5


def test_tables_of_speed_have_quartiles() -> None:
    row = {"key": "x.ms", "value": 1.5, "n": 25, "low": 1.25, "high": 2.0, "bar": 1.0}
    text = markdown({"name": "speed-x", "command": "c", "machine": "m", "rows": [row]})
    assert "quartiles" in text and "| `x.ms` | **1.5** | 1.25 to 2 | 25 | ≥ 1 |" in text


def test_documents_are_filled_between_their_marks(table: dict, tmp_path: Path) -> None:
    write(table, tmp_path / "quickstart.json")
    text = "before\n<!-- results:quickstart plan.success -->\nold\n<!-- /results -->\nafter\n"
    filled = fill(text, tmp_path)
    assert "stale" not in filled and "`plan.success`" in filled and "probe" not in filled
    assert filled.startswith("before\n<!-- results:quickstart plan.success -->\n| ")
    assert filled.endswith("<!-- /results -->\nafter\n")
    assert fill(filled, tmp_path) == filled
    with pytest.raises(RunError, match=r"missing\.json"):
        fill(text.replace("quickstart", "missing"), tmp_path)
    assert json.loads((tmp_path / "quickstart.json").read_text()) == table


def test_seeds_must_differ_and_verbs_must_not(tmp_path: Path) -> None:
    a, b = finished(tmp_path / "a", 1, 90), finished(tmp_path / "b", 1, 91)
    with pytest.raises(RunError, match="different seeds"):
        collect([a, b], name="x", command="y")
    c = finished(tmp_path / "c", 2, 90, verb="plan")
    with pytest.raises(RunError, match="one verb"):
        collect([a, c], name="x", command="y")


def test_thresholds_and_baselines_are_found_for_single_verbs_too() -> None:
    assert threshold_of("plan.success") == threshold_of("success", verb="plan") == Threshold(0.95)
    assert threshold_of("success", verb="probe") is None
    assert baseline_of("success", {"random_success": 0.1}, verb="plan") == 0.1
    assert baseline_of("plan.success", {}) is None
    assert Threshold(0.05, at_least=False).met_by(0.05) and not Threshold(0.05).met_by(float("nan"))
    assert str(Threshold(0.05, at_least=False)) == "≤ 0.05"
