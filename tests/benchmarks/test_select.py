import numpy as np
import pytest
import torch

from benchmarks.select import BATCH, RUNS, WORLDS, best_alpha, cases, probes, rows
from worldmodel.evaluation.label_free import loss_over_lambda


def record(world, probe, weight, alpha):
    """A run whose loss orders it perfectly once it is divided by lambda to this power."""
    loss = (2 - probe) / loss_over_lambda(1.0, weight=weight, batch=BATCH, alpha=alpha)
    numbers = {"loss": loss, "prediction": loss, "rankme": probe, "lidar": -probe,
               "effective_rank": 1.0, "over_copying": 0.5}  # fmt: skip
    r2 = {"probe": {"tokens": probe, "mean": probe}, "untrained": {"tokens": 0.1, "mean": 0.1}}
    return {"world": world, "weight": weight, **r2, **numbers}


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
    assert best_alpha(found, "mean") == pytest.approx(0.6, abs=0.25)


def test_the_best_score_is_chosen_on_one_world_and_tested_on_the_other():
    found = {row["key"]: row for row in rows(records())}
    assert found["own.mean.rankme"]["value"] == pytest.approx(1)
    assert found["own.tokens.lidar"]["value"] == pytest.approx(-1)
    assert found["own.tokens.loss_over_lambda"]["value"] == pytest.approx(1)
    assert found["own.mean.loss"]["value"] < 0.9
    assert found["plain.mean.best"]["which"] == "rankme"
    assert found["plain.mean.best"]["bar"] == 0.9
    assert found["own.mean.r2_highest"]["value"] == pytest.approx(0.8)
    assert found["own.mean.rankme"]["low"] == pytest.approx(1)


def test_a_score_that_does_not_vary_is_no_number_in_the_table():
    found = {row["key"]: row for row in rows(records())}
    assert found["own.mean.effective_rank"]["value"] is None


def test_a_probe_reads_the_place_out_of_tokens_that_hold_it():
    """Frames whose tokens are the place itself, in one of four positions."""
    random = np.random.default_rng(0)
    # Nothing moves within a time step.
    places = [random.uniform(0, 1, (count, 8, 2)).repeat(2, axis=1) for count in (30, 20)]
    frames = [torch.from_numpy(where * 255).round().byte()[..., None, None] for where in places]

    def encoder(clips):
        tokens = clips.new_zeros(len(clips), 8, 4, 2)
        tokens[:, :, 1] = clips[:, ::2, :, 0, 0]
        return tokens.flatten(1, 2)

    found = probes(encoder, list(zip(frames, places, strict=True)))
    assert found["tokens"] > 0.99 and found["mean"] > 0.99
