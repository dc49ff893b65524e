"""What stands still is not what the regulariser looks at."""

import pytest
import torch
from einops import rearrange

from worldmodel.errors import ConfigError
from worldmodel.objectives.centre import MOVING_SHARE, moving_part, regularise
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg, VICReg


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("centre", "k"), [("clip", 1), ("clip", 4), ("episode", 4)])
def test_what_is_constant_in_a_clip_or_in_a_video_makes_no_difference(centre, k):
    latents = normal(12, 3, 2, 5)  # b t m d
    same = 1 if centre == "clip" else k
    still = 10 * normal(12 // same, 1, 2, 5, seed=8).repeat_interleave(same, 0)
    parts = [moving_part(x, centre, clips_per_video=k) for x in (latents, latents + still)]
    assert torch.allclose(*parts, atol=1e-5)
    videos = rearrange(parts[0], "(v k) t m d -> v (k t) m d", k=same)
    assert torch.allclose(videos.mean(1), torch.zeros(()), atol=1e-6)


@pytest.mark.parametrize("regulariser", [SIGReg(num_slices=64), VICReg()])
def test_latents_that_only_tell_clips_apart_are_punished(regulariser):
    alike = normal(512, 1, 1, 8).expand(-1, 4, -1, -1)
    moving = normal(512, 4, 1, 8)
    losses = {
        (name, centre): regularise(regulariser, x, step=0, centre=centre, clips_per_video=4).loss
        for name, x in (("alike", alike), ("moving", moving))
        for centre in ("none", "clip")
    }
    # Without a centre the two are as good as each other; with one, what stands still is not enough.
    assert losses["alike", "none"] < 1.5 * losses["moving", "none"] + 0.1
    assert losses["alike", "clip"] > 3 * losses["moving", "clip"]


def test_half_of_the_variance_may_lie_between_clips():
    latents = MOVING_SHARE**0.5 * (normal(400, 1, 1, 4, seed=8) + normal(400, 30, 1, 4))
    found = regularise(SIGReg(num_slices=256), latents, step=0, centre="clip")
    assert float(found.over_floor) < 1.5


def test_a_single_time_step_has_nothing_that_changes():
    latents = normal(8, 1, 1, 4)
    for centre in ("clip", "episode"):
        with pytest.raises(ConfigError, match="these have one time step; say objective.centre"):
            moving_part(latents, centre, clips_per_video=4)
    assert regularise(NoRegulariser(), latents, step=0, centre="clip").loss == 0
