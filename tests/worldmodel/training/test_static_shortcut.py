import math

import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small_model
from worldmodel.errors import ShapeError
from worldmodel.training.static_shortcut import (
    Stillness,
    between_clips,
    copy_error,
    stillness,
)

SHORTCUT = {"between_clips": 0.998, "copy_error": 0.004, "prediction_over_copying": 1.05}


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_the_variance_between_clips_is_that_of_their_means(share):
    still, moving = normal(1, 2, 4000, 8), normal(200, 2, 4000, 8, seed=8)
    latents = share**0.5 * still + (1 - share) ** 0.5 * moving
    assert between_clips(latents) == pytest.approx(share + (1 - share) / 200, abs=0.01)


def test_copying_errs_by_twice_the_variance_where_time_steps_are_independent():
    assert copy_error(normal(50, 1, 400, 8)) == pytest.approx(2, rel=0.02)
    assert copy_error(normal(1, 1, 400, 8).expand(5, -1, -1, -1)) == 0


def test_the_alarm_needs_all_three():
    assert "hold what stands still" in Stillness(**SHORTCUT).alarm
    for name, healthy in (
        ("between_clips", 0.9), ("copy_error", 0.3), ("prediction_over_copying", 0.3),
    ):  # fmt: skip
        assert Stillness(**{**SHORTCUT, name: healthy}).alarm is None
        assert Stillness(**{**SHORTCUT, name: math.nan}).alarm is None


def test_a_model_that_cannot_move_is_no_better_than_copying():
    model = small_model()
    torch.nn.init.zeros_(model.masked_predictor.after[-1].weight)
    torch.nn.init.zeros_(model.masked_predictor.after[-1].bias)
    torch.nn.init.zeros_(model.masked_predictor.velocity.weight)
    frames = noise(6, 6, 3, 16, 16)
    latents = normal(3, 1, 6, 12)
    found = stillness(model, latents, frames)
    assert found.prediction_over_copying == pytest.approx(1)
    assert found.between_clips == between_clips(latents)
    assert stillness(model, latents[:1], frames) is None  # one time step: nothing can move
    model.masked_predictor = None
    assert stillness(model, latents, frames) is None


def test_two_clips_of_two_time_steps_are_needed():
    with pytest.raises(ShapeError, match="got 4 of 1"):
        between_clips(torch.randn(1, 1, 4, 3, generator=seeded()))
