import math

import pytest
import torch
import torch.nn.functional as F

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel import checkpoint
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.objectives.contrastive import Contrastive, info_nce
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.types import Clip

FRAMES = noise(6, 12, 3, 16, 16)  # six time steps of 2 x 2 tokens


def objective(*, per_token=False, regulariser=None, **settings):
    made = Contrastive(
        small(per_token=per_token), regulariser=regulariser or NoRegulariser(), horizons=(1, 2, 4),
        predictor_width=16, predictor_depth=2, **settings,
    )  # fmt: skip
    for part in (made.encoder, made.head, made.predictor):
        stirred(part)
    return made


@pytest.mark.parametrize("clips_per_video", [1, 2])
def test_info_nce_is_the_equation(clips_per_video):
    """Minus the log of a softmax over one's own target and those of other videos at its place."""
    p, z = (noise(4, 3, 5, seed=seed) - 0.5 for seed in (1, 2))
    expected = []
    for b in range(4):
        for n in range(3):
            weights = {
                c: math.exp(F.cosine_similarity(p[b, n], z[c, n], dim=0).item() / 0.2)
                for c in range(4)
                if c == b or c // clips_per_video != b // clips_per_video
            }
            expected.append(-math.log(weights[b] / sum(weights.values())))
    found = info_nce(p, z, temperature=0.2, clips_per_video=clips_per_video)
    assert found.item() == pytest.approx(sum(expected) / 12, abs=1e-5)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("targets", ["live", "ema"])
def test_every_part_is_trained_by_the_pairs_of_every_horizon(per_token, targets):
    learner = objective(
        per_token=per_token, targets=targets, regulariser=SIGReg(num_slices=32), temperature=0.3
    )
    losses = learner(FRAMES, step=0, generator=seeded(), clips_per_video=2)
    assert losses.features.shape == (6, 4 if per_token else 1, 6, 12)
    losses.total.backward()
    for part in ("encoder", "head", "predictor"):
        found = [p.grad for n, p in learner.named_parameters() if n.startswith(part)]
        assert any(g is not None and g.abs().sum() > 0 for g in found), part


def test_its_model_is_saved_loaded_and_scored_by_the_cosine(tmp_path):
    learner = objective().eval()
    checkpoint.save(learner.world_model(16), tmp_path / "model")
    clip = Clip(FRAMES[:, :4], torch.arange(4.0).expand(6, 4))
    (scored,) = load(tmp_path / "model").predictions(clip)
    latents = learner.latents(clip.frames).permute(2, 0, 1, 3)  # b t m d
    foreseen = learner.predictor(latents)[:, 0, 0]  # over the shortest horizon, from the first
    expected = 1 - F.cosine_similarity(foreseen, latents[:, 1, :, :12], dim=-1)
    assert torch.allclose(scored.errors(), expected, atol=1e-5)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="temperature divides cosines: it must be positive, got"):
        objective(temperature=0.0)
    with pytest.raises(ConfigError, match="no other video to compare with; say batch=12 or more"):
        objective()(FRAMES, step=0, generator=seeded(), clips_per_video=6)
    with pytest.raises(ConfigError, match="say num_frames=4 or more"):
        objective()(FRAMES[:, :2], step=0, generator=seeded())
