import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel import checkpoint
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.evaluation.surprise import surprise
from worldmodel.interop.load import load
from worldmodel.nn.heads import time_step_latents
from worldmodel.objectives.ema_teacher import EMATeacher
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.types import Clip

FRAMES = noise(6, 12, 3, 16, 16)  # six time steps of 2 x 2 tokens


def objective(*, per_token=False, regulariser=None, stir=True, horizons=(1, 2, 4), **settings):
    made = NextTokens(
        small(per_token=per_token), regulariser=regulariser or NoRegulariser(), horizons=horizons,
        predictor_width=16, predictor_depth=2, **settings,
    )  # fmt: skip
    if stir:
        for part in (made.encoder, made.head, made.predictor):
            stirred(part)
        if made.teacher is not None:
            made.teacher = EMATeacher(made.encoder, made.head, momentum=0.9)
    return made


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("targets", ["live", "stopgrad", "ema"])
def test_every_part_is_trained(per_token, targets):
    learner = objective(per_token=per_token, targets=targets, regulariser=SIGReg(num_slices=32))
    losses = learner(FRAMES, step=0, generator=seeded())
    assert losses.features.shape == (6, 4 if per_token else 1, 6, 12)
    losses.total.backward()
    for part in ("encoder", "head", "predictor"):
        found = [p.grad for n, p in learner.named_parameters() if n.startswith(part)]
        assert any(g is not None and g.abs().sum() > 0 for g in found), part


def test_an_untrained_predictor_says_that_nothing_changes():
    learner = objective(stir=False).eval()
    latents = time_step_latents(learner.encoder, learner.head, FRAMES)
    foreseen = learner.predictor(latents)
    assert torch.allclose(foreseen, latents[:, None, ..., :12].expand_as(foreseen))
    loss = learner(FRAMES, step=0, generator=seeded()).terms["prediction"]
    z = latents[..., :12]
    expected = [(z[:, h:] - z[:, :-h]).square().mean() for h in (1, 2, 4)]
    assert torch.allclose(loss, torch.stack(expected).mean(), rtol=1e-4)


def test_predictions_remember_all_that_was_and_know_nothing_of_what_comes():
    """What was seen before something was hidden is still known when it should come out again."""
    learner = objective().eval()
    frames = FRAMES.clone()
    frames[:, :2] = 1 - frames[:, :2]  # the first time step
    seen, changed = (
        learner.predictor(time_step_latents(learner.encoder, learner.head, x))
        for x in (FRAMES, frames)
    )
    assert ((seen - changed).abs().amax((0, 1, 3, 4)) > 1e-4).all()  # at every later time step
    frames = FRAMES.clone()
    frames[:, 8:] = 1 - frames[:, 8:]
    later = learner.predictor(time_step_latents(learner.encoder, learner.head, frames))
    assert torch.allclose(seen[:, :, :4], later[:, :, :4], atol=1e-6)
    assert not torch.allclose(seen[:, :, 4:], later[:, :, 4:], atol=1e-2)


@pytest.mark.parametrize(
    ("horizons", "ago"), [((1, 2, 4), [1, 2, 2, 4, 4]), ((1, 2), [1, 2, 2, 2, 2])]
)
def test_a_clip_is_scored_by_the_longest_horizon_that_its_past_allows(horizons, ago):
    learner = objective(horizons=horizons).eval()
    predictor = learner.predictor
    (found,) = predictor.predictions(learner.encoder, learner.head, FRAMES)
    latents = time_step_latents(learner.encoder, learner.head, FRAMES)
    foreseen = predictor(latents)
    for step, before in enumerate(ago, start=1):
        horizon = predictor.horizons.index(before)
        assert torch.equal(found.predicted[:, step - 1], foreseen[:, horizon, step - before])
        assert torch.equal(found.observed[:, step - 1], latents[:, step, :, :12])
        assert torch.equal(found.persistence[:, step - 1], latents[:, step - before, :, :12])
    assert found.last_frames.tolist() == [3, 5, 7, 9, 11]


def test_its_model_is_saved_loaded_and_surprised(tmp_path):
    learner = objective().eval()
    checkpoint.save(learner.world_model(16), tmp_path / "model")
    model = load(tmp_path / "model")
    clip = Clip.from_uint8((noise(2, 12, 3, 16, 16) * 255).byte())
    scores = surprise(model, clip)
    assert scores.scores.shape == (2, 5)
    again = surprise(learner.world_model(16), clip)
    assert torch.allclose(scores.scores, again.scores, atol=1e-6)


def test_what_makes_no_sense_is_refused():
    with pytest.raises(ConfigError, match="horizons are numbers of time steps that increase"):
        objective(horizons=(2, 1))
    with pytest.raises(ConfigError, match="say num_frames=6 or more"):
        objective(horizons=(2,))(FRAMES[:, :4], step=0, generator=seeded())
    with pytest.raises(ShapeError, match="a clip of 1 time step leaves nothing to predict: take 2"):
        learner = objective().eval()
        learner.predictor.predictions(learner.encoder, learner.head, FRAMES[:, :2])
