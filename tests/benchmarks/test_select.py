import pytest

from benchmarks.select import BATCH, RUNS, WORLDS, best_alpha, cases, rows
from worldmodel.evaluation.label_free import loss_over_lambda


def record(world, probe, weight, alpha):
    """A run whose loss orders it perfectly once it is divided by lambda to this power."""
    loss = (2 - probe) / loss_over_lambda(1.0, weight=weight, batch=BATCH, alpha=alpha)
    numbers = {"loss": loss, "prediction": loss, "rankme": probe, "lidar": -probe,
               "effective_rank": 1.0, "over_copying": 0.5}  # fmt: skip
    return {"world": world, "probe": probe, "untrained": 0.1, "weight": weight, **numbers}


def records():
    weights = (0.5, 30.0, 2.0, 8.0, 0.5, 8.0, 30.0, 2.0)
    return [record(world, 0.1 * (i + 1), weight, alpha=0.6)
            for world in WORLDS for i, weight in enumerate(weights)]  # fmt: skip


def test_cases_are_the_same_on_every_world_and_enough():
    every = cases(WORLDS, (1,))
    assert RUNS >= 24 and len(every) == len({case.name for case in every}) == RUNS * len(WORLDS)
    each = [{case.name.partition(".")[2] for case in every if case.world == w} for w in WORLDS]
    assert each[0] == each[1]


def test_alpha_is_found_where_it_orders_the_runs():
    found = [r for r in records() if r["world"] == "plain"]
    assert best_alpha(found) == pytest.approx(0.6, abs=0.25)


def test_the_best_score_is_chosen_on_one_world_and_tested_on_the_other():
    found = {row["key"]: row for row in rows(records())}
    assert found["own.rankme"]["value"] == pytest.approx(1)
    assert found["own.lidar"]["value"] == pytest.approx(-1)
    assert found["own.loss_over_lambda"]["value"] == pytest.approx(1)
    assert found["own.loss"]["value"] < 0.9
    assert found["plain.best"]["which"] == "rankme" and found["plain.best"]["bar"] == 0.9
    assert found["own.probe.highest"]["value"] == pytest.approx(0.8)
    assert found["own.rankme"]["low"] == pytest.approx(1)


def test_a_score_that_does_not_vary_is_no_number_in_the_table():
    found = {row["key"]: row for row in rows(records())}
    assert found["own.effective_rank"]["value"] is None
