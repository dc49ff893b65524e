"""Numbers read out of all tokens by an attentive probe, on known answers."""

import numpy as np
import pytest
import torch

from tests.worldmodel.toys import seeded, small_model, write_dots
from worldmodel import checkpoint
from worldmodel.evaluation.attentive_readout import TimeSteps, attentive_readout, tokens_in_memory
from worldmodel.evaluation.frozen_features import tokens_of
from worldmodel.evaluation.probe import probe
from worldmodel.evaluation.probes.attentive import AttentiveProbe
from worldmodel.runs.run import Run

FAST = AttentiveProbe(
    depth=0, heads=2, learning_rates=(1e-2, 1e-9), weight_decays=(0.01,), epochs=1, steps=60
)
GROUPS = np.repeat(np.arange(20), 10)


def read(tokens, y):
    steps = TimeSteps(torch.zeros(0), GROUPS, 14)
    return attentive_readout(FAST, tokens, y, steps, seed=0, device="cpu")


def test_parts_are_whole_episodes_and_held_out_ones_are_only_tested_on():
    fit, choosing, test = TimeSteps(torch.zeros(0), GROUPS, 14).parts
    assert [set(GROUPS[part]) for part in (fit, choosing, test)] == [
        set(range(11)), {11, 12, 13}, set(range(14, 20)),
    ]  # fmt: skip


def test_what_the_tokens_hold_is_read_in_its_own_units_and_what_they_do_not_is_not():
    held = torch.randn(200, 1, 2, generator=seeded(1))
    tokens = 0.3 * torch.randn(200, 3, 16, generator=seeded())
    tokens[..., :2] += held
    y = held[:, 0].double().numpy() * [1, 100] + [0, 7]
    found = read(tokens, y)
    assert found.r2 > 0.7 and found.low < found.r2 < found.high and found.n == 60
    noise = np.random.default_rng(0).normal(size=(200, 2))
    assert read(tokens, noise).r2 < 0.1


def test_tokens_are_those_of_each_time_step():
    model, frames = small_model(), torch.randint(256, (5, 2, 3, 16, 16), generator=seeded())
    tokens = tokens_in_memory(tokens_of(model), frames.to(torch.uint8), chunk=2)
    with torch.inference_mode():
        expected = model.encoder(frames.float() / 255)
    assert tokens.dtype == torch.float16
    assert torch.allclose(tokens.float(), expected, atol=1e-2)


def test_the_verb_adds_it_beside_the_linear_one(tmp_path):
    run = Run.open(tmp_path / "run", verb="probe", config={}, seed=0)
    given = {
        "model": str(checkpoint.save(small_model(), tmp_path / "m")), "targets": ["position"],
        "episodes": str(write_dots(tmp_path / "dots", episodes=6, length=8)),
    }  # fmt: skip
    alone = probe(run, **given)
    both = probe(run, **given, attentive=AttentiveProbe(depth=0, epochs=1, steps=1))
    run.close()
    assert {key: both[key] for key in alone} == alone
    added = {f"attentive.{key}" for key in alone}
    assert set(both) == set(alone) | added
    assert both["attentive.position_r2.n"] == pytest.approx(alone["position_r2.n"])
