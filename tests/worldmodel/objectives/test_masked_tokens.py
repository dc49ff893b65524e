from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.evaluation.surprise import surprise
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT
from worldmodel.objectives.contrastive import Contrastive
from worldmodel.objectives.distances import distances
from worldmodel.objectives.ema_teacher import EMATeacher
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import (
    AllButOne,
    Blocks,
    Future,
    MaskMixture,
    RandomTokens,
    Tubes,
)
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.types import Clip

FRAMES = noise(6, 6, 3, 16, 16)  # three time steps of 2 x 2 tokens
KINDS = [Future(), AllButOne(), Tubes(1, 0.25), RandomTokens(0.5), Blocks(2, (0.25, 0.25))]


def objective(*kinds, per_token=True, regulariser=None, **settings):
    made = MaskedTokens(
        small(per_token=per_token),
        masks=MaskMixture(kinds, [1.0] * len(kinds)),
        regulariser=regulariser or NoRegulariser(),
        predictor_width=16,
        **settings,
    )
    for part in (made.encoder, made.predictor, *([made.head] if made.head else [])):
        stirred(part)
    if made.teacher is not None:
        made.teacher = EMATeacher(made.encoder, made.head, momentum=0.9)
    return made


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_trains_every_part(kind, per_token):
    learner = objective(kind, per_token=per_token, regulariser=SIGReg(num_slices=32))
    losses = learner(FRAMES, step=0, generator=seeded())
    assert set(losses.terms) == {"prediction", "regulariser"}
    assert losses.features.shape == (3, 4, 6, learner.predicted)
    losses.total.backward()
    for part in ("encoder", "predictor", *(["head"] if per_token else [])):
        found = [p.grad for n, p in learner.named_parameters() if n.startswith(part)]
        assert any(g is not None and g.abs().sum() > 0 for g in found), part


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("kind", KINDS)
def test_hidden_pixels_reach_nothing_but_targets(kind, training):
    learner = objective(kind, per_token=False, targets="ema").train(training)
    frames = FRAMES.clone().requires_grad_()
    learner(frames, step=0, generator=seeded()).terms["prediction"].backward()
    mask, *_ = learner.masks.apart(kind, 6, (3, 2, 2), _after_the_draw())
    seen = torch.zeros(6, 12, dtype=torch.bool).scatter(1, mask.context, True)
    moved = frames.grad.abs().unflatten(1, (3, 2)).unflatten(-2, (2, 8)).unflatten(-1, (2, 8))
    by_token = moved.sum(dim=(2, 3, 5, 7)).flatten(1)
    assert (by_token[seen] > 0).all() and (by_token[~seen] == 0).all()


def _after_the_draw():
    generator = seeded()
    torch.multinomial(torch.ones(1), 1, generator=generator)  # which kind of mask
    return generator


def test_v_jepa_s_loss_is_the_equation():
    """L1 to the layer-normed tokens of an EMA teacher, over two masks that share the targets."""
    kinds = [Tubes(1, 0.25), Tubes(2, 0.25)]
    learner = objective(
        *kinds, per_token=False, targets="ema", target_norm="layernorm", every_mask=True
    )
    with torch.no_grad():
        learner.teacher.encoder.tubelets.embed.weight.mul_(0.7)
    loss = learner(FRAMES, step=0, generator=seeded()).total
    generator, expected = seeded(), []
    targets = F.layer_norm(learner.teacher.encoder(FRAMES), (learner.encoder.width,))
    for number, kind in enumerate(kinds):
        mask = learner.masks.tokens(kind, 6, (3, 2, 2), generator)
        predicted = learner.predictor(
            learner.encoder(FRAMES, mask.context), mask.context, mask.targets, (3, 2, 2),
            mask_token=number,
        )  # fmt: skip
        rows = torch.arange(6)[:, None]
        expected.append((predicted - targets[rows, mask.targets]).abs().mean())
    assert torch.allclose(loss, torch.stack(expected).mean(), atol=1e-6)


@pytest.mark.parametrize("targets", ["live", "stopgrad"])
def test_gradient_goes_through_live_targets_alone(targets):
    learner = objective(Future(), targets=targets)
    frames = FRAMES.clone().requires_grad_()
    learner(frames, step=0, generator=seeded()).terms["prediction"].backward()
    assert bool(frames.grad[:, 4:].abs().sum() > 0) == (targets == "live")  # the hidden ones


def test_its_model_is_saved_loaded_and_surprised(tmp_path):
    learner = objective(Future()).eval()
    checkpoint.save(learner.world_model(16), tmp_path / "model")
    model = load(tmp_path / "model")
    clip = Clip.from_uint8((noise(2, 8, 3, 16, 16) * 255).byte())
    scores = surprise(model, clip).scores
    assert scores.shape[0] == 2 and scores.isfinite().all()
    whole = learner.head(learner.encoder(clip.frames))
    ids = torch.arange(16).expand(2, -1)
    predicted = model.masked_predictor.fill_in(model.encoder, clip.frames, ids[:, :8], ids[:, 8:])
    expected = (predicted - whole[:, 8:]).abs().mean((1, 2))
    assert torch.allclose(scores[:, 0], expected, atol=1e-5)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("target_norm", ["none", "layernorm"])
@pytest.mark.parametrize("distance", ["l1", "cosine"])
def test_its_model_is_scored_where_it_was_trained(per_token, target_norm, distance, tmp_path):
    """The score of a clip is the loss of a mask that hides its last time step."""
    learner = objective(
        Future(), per_token=per_token, target_norm=target_norm, distance=distance
    ).eval()
    loss = learner(FRAMES, step=0, generator=seeded()).terms["prediction"]
    checkpoint.save(learner.world_model(16), tmp_path / "model")
    (scored,) = load(tmp_path / "model").predictions(Clip(FRAMES, torch.arange(6.0).expand(6, 6)))
    assert torch.allclose(scored.errors().mean(), loss, atol=1e-6)
    assert not torch.allclose(scored.persistence_errors().mean(), loss, atol=1e-3)


def test_v_jepa_2_1_s_loss_is_the_equation():
    """L1 to two levels of the teacher, each normed, and on visible tokens by their distance."""
    torch.manual_seed(0)
    model = Architecture(VideoViT(24, 2, heads=2, patch=8, levels=[0, 1]), size=16)
    learner = MaskedTokens(
        model, masks=MaskMixture([Tubes(1, 0.25), Future()], [1, 1]), regulariser=NoRegulariser(),
        targets="ema", target_norm="layernorm", visible_weight=0.5, every_mask=True,
        predictor_width=16,
    )  # fmt: skip
    for part in (learner.encoder, learner.predictor, learner.project_visible):
        stirred(part)
    loss = learner(FRAMES, step=0, generator=seeded()).total
    generator, expected = seeded(), []
    levels = learner.teacher.encoder.features(FRAMES).split(24, dim=-1)
    targets = torch.cat([F.layer_norm(level, (24,)) for level in levels], dim=-1)
    predictor, places = learner.predictor, torch.cartesian_prod(*map(torch.arange, (3, 2, 2)))
    for number, kind in enumerate(learner.masks.kinds):
        mask = learner.masks.tokens(kind, 6, (3, 2, 2), generator)
        visible = learner.encoder.features(FRAMES, mask.context)
        tokens = predictor.run(visible, mask.context, mask.targets, (3, 2, 2), mask_token=number)
        for clip, (seen, hidden) in enumerate(zip(mask.context, mask.targets, strict=True)):
            own, filled_in = tokens[clip].split([len(seen), len(hidden)])
            error = (predictor.project(filled_in) - targets[clip, hidden]).abs().mean()
            for token, at in zip(own, seen, strict=True):
                far = (places[hidden] - places[at]).square().sum(1).sqrt().min()
                apart = (learner.project_visible(token) - targets[clip, at]).abs().mean()
                error = error + 0.5 * apart / far.sqrt() / len(seen)
            expected.append(error)
    assert torch.allclose(loss, torch.stack(expected).mean(), atol=1e-5)
    assert learner.predicted == 48 and learner.latents(FRAMES).shape == (3, 4, 6, 48)
    assert learner.world_model(16).masked_predictor.levels == 2
    with pytest.raises(ConfigError, match="levels are predicted side by side, and model.latent_p"):
        MaskedTokens(
            replace(model, latent_per_token=True), masks=learner.masks, regulariser=NoRegulariser()
        )


def test_blocks_are_predicted_without_one_another():
    """I-JEPA: one pass for what is seen, one prediction for each block, of the same targets."""
    learner = objective(Blocks(2, (0.25, 0.25)), per_token=False, targets="ema")
    loss = learner(FRAMES, step=0, generator=seeded()).total
    masks = learner.masks.apart(learner.masks.kinds[0], 6, (3, 2, 2), _after_the_draw())
    targets, rows = learner.teacher.encoder(FRAMES), torch.arange(6)[:, None]
    errors = []
    for mask in masks:
        visible = learner.encoder(FRAMES, mask.context)
        found = learner.predictor(visible, mask.context, mask.targets, (3, 2, 2), mask_token=0)
        errors.append((found - targets[rows, mask.targets]).abs().mean())
    assert len(masks) == 2 and torch.allclose(loss, torch.stack(errors).mean(), atol=1e-6)


def test_a_frozen_teacher_makes_the_targets_and_never_changes(tmp_path):
    torch.manual_seed(1)
    other = Architecture(
        VideoViT(32, 1, heads=2, patch=8), size=16, latent_width=8, predictor_width=16
    )
    checkpoint.save(WorldModel(other.encoder, size=16), tmp_path / "teacher")
    learner = objective(
        Future(), per_token=False, targets="frozen", teacher=str(tmp_path / "teacher")
    ).train()
    assert not learner.frozen.training
    losses = learner(FRAMES, step=0, generator=seeded())
    mask = learner.masks.tokens(Future(), 6, (3, 2, 2), _after_the_draw())
    predicted = learner.predictor(
        learner.encoder(FRAMES, mask.context), mask.context, mask.targets, (3, 2, 2), mask_token=0
    )
    expected = other.encoder.eval()(FRAMES)[:, 8:]
    assert torch.allclose(losses.total, (predicted - expected).abs().mean(), atol=1e-6)
    losses.total.backward()
    assert all(p.grad is None for p in learner.frozen.parameters())
    assert learner.world_model(16).masked_predictor is None  # it predicts another model's tokens


def test_a_frozen_teacher_on_another_grid_is_refused(tmp_path):
    checkpoint.save(WorldModel(VideoViT(32, 1, heads=2, patch=4), size=16), tmp_path / "fine")
    learner = objective(Future(), targets="frozen", teacher=str(tmp_path / "fine"))
    with pytest.raises(ConfigError, match="a grid t h w = .3, 4, 4. where the model that learns"):
        learner(FRAMES, step=0, generator=seeded())
    with pytest.raises(ConfigError, match="say both, objective.targets=frozen"):
        objective(Future(), targets="frozen")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"targets": "lively"}, "no targets 'lively'"),
        ({"distance": "l3"}, "no distance 'l3'"),
        ({"target_norm": "batch"}, "no target_norm 'batch'"),
        ({"centre": "video"}, "no centre 'video'"),
        ({"visible_weight": -1.0}, "visible_weight must be >= 0, got -1"),
    ],
)
def test_wrong_choices_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        objective(Future(), **settings)


@pytest.mark.parametrize("kind", [TimeSteps, NextTokens, Contrastive])
def test_frozen_targets_are_refused_where_the_model_s_own_latents_are_changed(kind):
    more = {"masks": MaskMixture([Future()], [1])} if kind is TimeSteps else {}
    with pytest.raises(ConfigError, match="say objective=masked_tokens, or objective.targets=live"):
        kind(small(), regulariser=NoRegulariser(), targets="frozen", **more)


def test_distances_are_means_over_dimensions():
    a, b = torch.tensor([[0.0, 3.0]]), torch.tensor([[4.0, 0.0]])
    found = {name: distances(a, b, name).item() for name in ("l1", "l2", "smooth_l1", "cosine")}
    assert found == pytest.approx({"l1": 3.5, "l2": 12.5, "smooth_l1": 3.0, "cosine": 1.0})
