"""Evaluation: its arithmetic, and that processes change nothing."""

import math
import os
from functools import partial

import numpy as np
import pytest

from tests.planners.fakes import POINT_WORLD, PointModel, Towards
from worldmodel.errors import ConfigError, EnvError
from worldmodel.evaluation.statistics import wilson
from worldmodel.planners import CEM, GoalImage
from worldmodel.planners.agent import PlanningPolicy
from worldmodel.planners.behaviours import NoOp
from worldmodel.planners.collect import FIRST_HELD_OUT_SEED, plan_jobs
from worldmodel.planners.environment import make_env
from worldmodel.planners.episode_loop import EpisodeRecord
from worldmodel.planners.evaluate import (
    Evaluation,
    compared,
    evaluate,
    reached_by,
    summarise,
    to_show,
)
from worldmodel.planners.success import Outcome
from worldmodel.planners.tasks import held_out_tasks


def planning():
    return PlanningPolicy(
        PointModel(), CEM(3, candidates=32, elites=4, iterations=2), costs=[GoalImage()]
    )


def run(make_policy, tasks, **settings):
    how = Evaluation(**{"tasks": [], "max_steps": 12, "workers": 1, "keep": len(tasks)} | settings)
    return list(evaluate(partial(make_env, POINT_WORLD), make_policy, tasks, how))


def test_held_out_tasks_never_meet_a_collection():
    tasks = held_out_tasks(["a", "b"], episodes=5, seed=3)
    assert [t.name for t in tasks] == ["a", "b", "a", "b", "a"]
    assert [t.seed for t in tasks] == list(range(1_030_000, 1_030_005))
    collected = {job.seed for s in range(300) for job in plan_jobs(50, labelled_fraction=1, seed=s)}
    assert max(collected) < FIRST_HELD_OUT_SEED
    assert {t.seed for t in held_out_tasks(["a"], episodes=10_000, seed=0)}.isdisjoint(
        {t.seed for t in held_out_tasks(["a"], episodes=10_000, seed=1)}
    )


@pytest.mark.parametrize("wrong", [{"episodes": 0}, {"seed": -1}])
def test_tasks_that_are_none_are_refused(wrong):
    settings = {"names": ["a"], "episodes": 3, "seed": 0} | wrong
    with pytest.raises(ConfigError, match="an evaluation needs"):
        held_out_tasks(settings.pop("names"), **settings)


def test_summary_counts_by_hand():
    tasks = held_out_tasks(["hazard", "any"], episodes=6, seed=0)
    records = run(partial(Towards, [1.0, 0.0]), tasks)
    # Straight through the hazard, 14 steps to the goal: 12 are not enough.
    results = summarise(records, tasks)
    assert results["success_hazard"] == 0 and results["success_hazard.n"] == 3
    hits = [r.success for r in records]
    assert results["success"] == sum(hits) / 6
    assert (results["success.low"], results["success.high"]) == wilson(sum(hits), 6)[1:]
    assert results["violation_rate"] >= 0.5 and results["violation_rate.n"] == 6
    assert "seconds_per_decision" not in results
    longer = run(partial(Towards, [1.0, 0.0]), tasks[::2], max_steps=20)
    results = summarise(longer, tasks[::2])
    assert results["success"] == 1 and results["steps_to_success"] == 14
    assert results["already_solved"] == 0


class Recorded(EpisodeRecord):
    """A record of which only the infos matter."""

    def __init__(self, **infos):
        arrays = {name: np.array(values) for name, values in infos.items()}
        nothing = np.zeros((3, 2), np.float32)
        super().__init__(
            np.zeros((0, 8, 8, 3), np.uint8), nothing, nothing[:, 0], False, arrays, {},
            nothing[:, 0], 0,
        )  # fmt: skip


def test_what_no_step_told_of_has_no_rate():
    tasks = held_out_tasks(["a"], episodes=2, seed=0)
    nothing = summarise([Recorded(), Recorded(distance=[1, 2, 3, 4])], tasks)
    assert nothing == {}
    safe = summarise([Recorded(success=[False] * 4)] * 2, tasks)
    assert safe["success"] == 0 and safe["already_solved"] == 0
    assert not any(name.startswith("violation_rate") for name in safe)


def test_steps_that_told_nothing_are_neither_violations_nor_solved_at_the_start():
    tasks, nan = held_out_tasks(["a"], episodes=4, seed=0), np.nan
    records = [
        Recorded(success=[nan, 0, 0, 1], hazard_contact=[nan, 0, 1, 0]),
        Recorded(is_success=[nan, 0, 0, 0], hazard_contact=[nan, 0, 0, 0]),
        Recorded(hazard_contact=[nan, nan, nan, 1]),
        Recorded(),
    ]
    results = summarise(records, tasks)
    assert results["success"] == 0.25 and results["success.n"] == 4
    assert results["violation_rate"] == 0.5 and results["violation_rate.n"] == 4
    assert "already_solved" not in results
    told = summarise([Recorded(success=[True] * 4), Recorded(success=[nan, 1, 1, 1])], tasks[:2])
    assert told["already_solved"] == 1 and told["already_solved.n"] == 1


def test_without_success_the_steps_are_nan():
    tasks = held_out_tasks(["hazard"], episodes=2, seed=0)
    assert math.isnan(summarise(run(NoOp, tasks), tasks)["steps_to_success"])


def test_planning_policies_report_time_and_calls():
    tasks = held_out_tasks(["any"], episodes=2, seed=0)
    results = summarise(run(planning, tasks), tasks)
    assert results["model_calls"] == 3 and results["seconds_per_decision"] > 0
    assert results["unsafe_decisions"] == 0


def test_as_many_failures_as_others_keep_their_frames():
    tasks = held_out_tasks(["any"], episodes=3, seed=0)
    records = run(planning, tasks, keep=1, max_steps=40)
    assert all(record.success for record in records)
    assert [len(r.frames) > 0 for r in records] == [True, False, False]
    assert [len(r.frames) > 0 for r in run(NoOp, tasks, keep=1)] == [True, False, False]
    assert not any(len(r.frames) for r in run(NoOp, tasks, keep=0))


@pytest.mark.parametrize(
    ("reached", "keep", "shown"),
    [
        ("11111111", 4, [0, 1, 2, 3]),
        ("11110110", 4, [0, 1, 4, 7]),
        ("00000011", 4, [0, 1, 6, 7]),
        ("00000000", 4, [0, 1, 2, 3]),
        ("11111110", 3, [0, 1, 7]),
        ("1", 4, [0]),
        ("10", 0, []),
    ],
)
def test_half_of_what_is_shown_are_failures_if_there_are_any(reached, keep, shown):
    outcomes = [Outcome(once == "1", None, None, 5, None) for once in reached]
    assert to_show(outcomes, keep) == shown
    untold = [Outcome(None, None, None, 5, None)] * 5
    assert to_show(untold, 3) == [0, 1, 2]


def test_goals_are_counted_by_the_step_at_which_they_were_first_reached():
    outcomes = [Outcome(first is not None, None, None, 4, first) for first in (0, 2, 2, None)]
    assert reached_by(outcomes, 4) == [0.25, 0.25, 0.75, 0.75, 0.75]
    assert reached_by([Outcome(None, None, None, 4, None)], 4) == []


def test_what_two_did_on_the_same_tasks_is_compared_by_what_was_held():
    held, lost = Outcome(True, True, True, 5, 1), Outcome(True, False, False, 5, 1)
    assert compared([held] * 8, [lost] * 8) == [pytest.approx(2 * 0.5**8)]
    assert compared([held] * 8, [held] * 8) == [1.0]
    ended = Outcome(False, False, None, 5, None)  # of these nothing was held
    assert compared([held] * 6, [ended] * 6) == [pytest.approx(2 * 0.5**6)]
    assert compared([Outcome(None, None, None, 5, None)], [held]) == []


def test_episodes_do_not_depend_on_each_other():
    tasks = held_out_tasks(["any"], episodes=4, seed=0)
    together, alone = run(planning, tasks), run(planning, tasks[3:])
    assert np.array_equal(together[3].actions, alone[0].actions)


def same(a, b):
    return (
        np.array_equal(a.frames, b.frames)
        and np.array_equal(a.actions, b.actions)
        and a.success == b.success
        and a.seed == b.seed
    )


class Where(PlanningPolicy):
    def numbers(self):
        return super().numbers() | {"pid": float(os.getpid())}


def planning_somewhere():
    planner = CEM(3, candidates=32, elites=4, iterations=2)
    return Where(PointModel(), planner, costs=[GoalImage()])


def test_workers_are_other_processes_and_change_nothing():
    tasks = held_out_tasks(["any", "hazard"], episodes=5, seed=0)
    here, there = run(planning_somewhere, tasks), run(planning_somewhere, tasks, workers=2)
    assert all(same(a, b) for a, b in zip(here, there, strict=True))
    assert len({tuple(r.actions[0]) for r in here}) > 1
    assert {r.numbers["pid"] for r in here} == {os.getpid()}
    assert os.getpid() not in {r.numbers["pid"] for r in there}


def broken():
    raise EnvError("the model is not there")


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_an_error_in_a_worker_arrives_as_itself(workers):
    tasks = held_out_tasks(["any"], episodes=2, seed=0)
    with pytest.raises(EnvError, match="the model is not there"):
        run(broken, tasks, workers=workers)
    with pytest.raises(ConfigError, match="workers must be at least 1"):
        run(NoOp, tasks, workers=0)
