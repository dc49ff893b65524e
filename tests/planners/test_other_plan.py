import json

import pytest

from tests.planners.fakes import PointModel
from tests.planners.test_ceiling import Backwards, run_plan
from worldmodel.errors import ConfigError
from worldmodel.planners.other_plan import compare_beside, outcomes_beside
from worldmodel.planners.success import Outcome


def held(*told):
    return [Outcome(True, True, one, 10, 3) for one in told]


def test_two_plans_are_compared_task_by_task():
    found = compare_beside(held(True, True, True, False), held(False, False, False, False))
    # Three differ, all one way: 2 / 2^3.
    assert found == {"beside_success": 1.0, "beside_success_at_end": 1.0,
                     "beside_success_held": 0.0, "beside_p": 0.25}  # fmt: skip


def test_what_was_not_told_is_in_no_rate():
    found = compare_beside(held(True, None), held(True, None))
    assert "beside_success_held" not in found
    assert found["beside_success"] == 1.0 and found["beside_p"] == 1.0
    assert outcomes_beside(None, "x") == [] and compare_beside(held(True), []) == {}


def test_a_plan_stands_beside_an_earlier_one_of_the_same_tasks(tmp_path, monkeypatch):
    settings = {"baselines": False, "ceiling": False}
    first = run_plan(tmp_path / "a", monkeypatch, Backwards(), **settings)
    other = str(tmp_path / "a/plan")
    second = run_plan(tmp_path / "b", monkeypatch, PointModel(), beside=other, **settings)
    assert (first["success"], second["success"]) == (0.0, 1.0)
    assert second["beside_success"] == 0.0 and second["beside_p"] == 0.25
    with pytest.raises(ConfigError, match="was asked something else .*budget must be the same"):
        run_plan(
            tmp_path / "c", monkeypatch, PointModel(), beside=other, **settings, max_steps=23
        )  # fmt: skip


def test_nothing_is_learned_before_a_plan_that_was_asked_something_else_is_refused(
    tmp_path, monkeypatch
):
    def learned(*_):
        raise AssertionError("states were prepared")

    monkeypatch.setattr("worldmodel.planners.plan_verb.RecordedStates", learned)
    with pytest.raises(ConfigError, match="is no finished plan"):
        run_plan(tmp_path, monkeypatch, PointModel(), beside=str(tmp_path), ceiling=False)


def test_what_is_no_finished_plan_is_said_in_one_line(tmp_path):
    with pytest.raises(ConfigError, match="is no finished plan .*protocol.json cannot be read"):
        outcomes_beside(str(tmp_path), "x")
    (tmp_path / "protocol.json").write_text('{"hash": "x"}')
    with pytest.raises(ConfigError, match="outcomes.json cannot be read"):
        outcomes_beside(str(tmp_path), "x")
    for damaged in ({"success": True}, [7], ["x"], 7):
        (tmp_path / "outcomes.json").write_text(json.dumps(damaged))
        with pytest.raises(ConfigError, match="files are damaged"):
            outcomes_beside(str(tmp_path), "x")
