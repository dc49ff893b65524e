import pytest
import torch
from torch import nn

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel.errors import ConfigError
from worldmodel.nn.heads import time_step_latents
from worldmodel.nn.masked_predictor import nearest_seen, start_from
from worldmodel.objectives.ema_teacher import EMATeacher
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.time_steps import (
    TimeSteps,
    completely_seen,
    context_latents,
    hidden_latents,
)
from worldmodel.types import Mask

FRAMES = noise(6, 6, 3, 16, 16)  # three time steps of 2 x 2 tokens
KINDS = [Future(), AllButOne(), Tubes(1, 0.25)]


def objective(*kinds, targets="live", per_token=False, regulariser=None, stir=True, drop=0.0):
    made = TimeSteps(
        small(per_token=per_token),
        masks=MaskMixture(kinds, [1.0] * len(kinds), drop=drop),
        regulariser=regulariser or NoRegulariser(),
        targets=targets,
    )
    if stir:
        for part in (made.encoder, made.head, made.predictor):
            stirred(part)
        if made.teacher is not None:
            made.teacher = EMATeacher(made.encoder, made.head, momentum=0.996)
    return made


def prediction(learner, frames=FRAMES, seed=0):
    losses = learner(frames, step=0, generator=seeded(seed))
    return losses.terms["prediction"]


def gradients(learner, loss):
    learner.zero_grad(set_to_none=True)
    loss.backward()
    return {name: p.grad.clone() for name, p in learner.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_mask_trains_every_part(kind, per_token):
    learner = objective(kind, per_token=per_token, regulariser=SIGReg(num_slices=32))
    losses = learner(FRAMES, step=0, generator=seeded())
    assert set(losses.terms) == {"prediction", "regulariser"}
    assert losses.total.item() == pytest.approx(
        sum(x.item() for x in losses.terms.values()), rel=1e-5
    )
    assert losses.features.shape == (3, 4 if per_token else 1, 6, 12)
    assert not losses.features.requires_grad
    found = gradients(learner, losses.total)
    for part in ("encoder", "head", "predictor"):
        assert any(g.abs().sum() > 0 for name, g in found.items() if name.startswith(part))


@pytest.mark.parametrize("kind", KINDS)
def test_a_new_predictor_costs_as_much_as_copying_the_nearest_seen(kind):
    learner = objective(kind, stir=False).eval()
    latents = time_step_latents(learner.encoder, learner.head, FRAMES)[..., :12]
    if isinstance(kind, Tubes):  # each time step hides something: there is nothing to start from
        expected = latents.square().mean()
    else:
        hidden = kind.hidden(3)
        near = nearest_seen(hidden)
        errors = [
            (latents[:, near[g, t]] - latents[:, t]).square().mean()
            for g, t in hidden.nonzero().tolist()
        ]
        expected = torch.stack(errors).mean()
    assert torch.allclose(prediction(learner), expected, rtol=1e-4)


def _prediction_of(learner, frames, kind):
    """The prediction itself, taken out of the error against known targets."""
    taken = []
    hook = learner.predictor.register_forward_hook(lambda m, i, out: taken.append(out))
    learner(frames, step=0, generator=seeded(2))
    hook.remove()
    return taken[0]


def test_a_prediction_cannot_know_of_hidden_time_steps():
    learner = objective(Future(2)).eval()
    changed = FRAMES.clone()
    changed[:, 2:] = noise(6, 4, 3, 16, 16, seed=9)
    before, after = (_prediction_of(learner, f, Future(2))[:, 1:] for f in (FRAMES, changed))
    assert torch.equal(before, after)
    assert not torch.allclose(prediction(learner), prediction(learner, changed), rtol=1e-3)
    changed = FRAMES.clone()
    changed[:, 1] = noise(6, 3, 16, 16, seed=9)  # what is seen does matter
    assert not torch.allclose(before, _prediction_of(learner, changed, Future(2))[:, 1:], atol=1e-3)


@pytest.mark.parametrize("per_token", [False, True])
@pytest.mark.parametrize("kind, drop", [(Tubes(1, 0.25, aspect=(1, 1)), 0.0), (Tubes(2, 0.3), 0.4)])
def test_a_prediction_cannot_know_of_tokens_that_are_not_seen(kind, drop, per_token):
    learner = objective(kind, per_token=per_token, drop=drop).eval()
    mask = learner.masks.tokens(kind, 6, (3, 2, 2), _after_draw(2))
    changed = FRAMES.clone()
    for sample, seen in enumerate(mask.context.tolist()):
        for place in set(range(12)) - set(seen):  # to be predicted, or left out
            t, (row, column) = place // 4, divmod(place % 4, 2)
            part = (sample, slice(2 * t, 2 * t + 2), slice(None))
            pixels = (slice(8 * row, 8 * row + 8), slice(8 * column, 8 * column + 8))
            changed[part + pixels] = 1 - changed[part + pixels]
    before, after = (_prediction_of(learner, f, kind) for f in (FRAMES, changed))
    hidden = hidden_latents(mask, (3, 2, 2), per_token=per_token)
    assert hidden.any() and torch.equal(before[hidden], after[hidden])
    assert not torch.allclose(prediction(learner), prediction(learner, changed), rtol=1e-4)


def _after_draw(seed):
    """The generator as it is once the objective has drawn the kind of its mask."""
    generator = seeded(seed)
    MaskMixture([Tubes()], [1]).draw(generator)
    return generator


def test_what_is_dropped_is_neither_seen_nor_predicted():
    sizes = small()
    encoder, head = stirred(sizes.encoder).eval(), stirred(sizes.head()).eval()
    context = torch.tensor([[0, 1, 2, 3, 4, 6]] * 6)  # half of time step 1, nothing of time step 2
    changed = FRAMES.clone()
    changed[:, 2:4, :, :8, 8:] = 0  # token 5
    changed[:, 4:] = 0  # tokens 8 to 11
    latents, hidden = context_latents(encoder, head, FRAMES, context)
    again, _ = context_latents(encoder, head, changed, context)
    assert torch.equal(latents, again)
    assert hidden.tolist() == [[False, False, True]] * 6
    assert not latents[:, 2].any() and latents[:, 1].any()


def test_stopgrad_leaves_out_the_gradient_through_targets():
    live, stopped = (objective(Future(), targets=t).eval() for t in ("live", "stopgrad"))
    assert torch.equal(prediction(live), prediction(stopped))
    a, b = (gradients(x, prediction(x)) for x in (live, stopped))
    weight = "encoder.tubelets.embed.weight"
    assert not torch.allclose(a[weight], b[weight], rtol=1e-2)
    for name in b:  # the predictor is not in the targets: there it makes no difference
        if name.startswith("predictor"):
            assert torch.allclose(a[name], b[name], atol=1e-5)

    # The whole gradient is that through the prediction plus that through the target alone.
    latents = time_step_latents(live.encoder, live.head, FRAMES)
    hidden = Future().hidden(3).expand(6, -1)
    start = start_from(latents[..., :12], hidden)
    with torch.no_grad():
        predicted = live.predictor(latents, hidden, start)
    through_target = gradients(live, (predicted - latents[..., :12])[:, 2].square().mean())
    assert torch.allclose(a[weight], b[weight] + through_target[weight], atol=1e-4)


def test_ema_targets_move_slowly_and_take_no_gradient():
    learner = objective(Future(), targets="ema")
    assert all(not p.requires_grad for p in learner.teacher.parameters())
    found = gradients(learner, prediction(learner))
    assert not any(name.startswith("teacher") for name in found)
    student = {n: p for n, p in learner.named_parameters() if n.startswith(("encoder", "head"))}
    before = {name: p.clone() for name, p in learner.teacher.named_parameters()}
    with torch.no_grad():
        for p in student.values():
            p.add_(1.0)
    learner.after_step(0.0)
    for name, slow in learner.teacher.named_parameters():
        assert torch.allclose(slow, before[name] + (1 - 0.996), atol=1e-5)
    for name, count in learner.teacher.named_buffers():
        if name.endswith("num_batches_tracked"):
            assert count == dict(learner.named_buffers())[name]


def test_ema_targets_come_from_the_teacher():
    learner = objective(Future(), targets="ema").eval()
    with torch.no_grad():
        learner.teacher.encoder.tubelets.embed.weight.mul_(0)
    teacher, student = (
        time_step_latents(encoder, head, FRAMES)[:, 2, :, :12]
        for encoder, head in ((part.encoder, part.head) for part in (learner.teacher, learner))
    )
    predicted = _prediction_of(learner, FRAMES, Future())[:, 2]
    assert torch.allclose(prediction(learner), (predicted - teacher).square().mean(), rtol=1e-4)
    assert not torch.allclose(teacher, student, atol=1e-2)


def test_numbers_that_are_only_seen_are_never_a_target():
    learner = objective(Future()).eval()
    latents = {"extra": 0.0}

    class Head(nn.Module):  # the same head, its extra numbers moved in the hidden time steps
        dim, per_token, still = 12, False, False

        def forward(self, tokens):
            out = learner_head(tokens).clone()
            out.view(6, 3, 1, 16)[:, 2, :, 12:] += latents["extra"]
            return out

    learner_head, learner.head = learner.head, Head()
    before = prediction(learner)
    latents["extra"] = 5.0
    assert torch.equal(before, prediction(learner))


def test_masks_come_from_the_generator():
    learner = objective(Tubes(1, 0.25), Future(1), AllButOne(), drop=0.3).eval()
    values = [prediction(learner, seed=seed).item() for seed in range(12)]
    assert values == [prediction(learner, seed=seed).item() for seed in range(12)]
    assert len(set(values)) > 3


def test_hidden_latents_are_tokens_or_time_steps():
    mask = Mask(torch.tensor([[0, 1, 2, 3, 4]]), torch.tensor([[5, 7]]))
    per_token = hidden_latents(mask, (3, 2, 2), per_token=True)
    assert per_token.shape == (1, 3, 4) and per_token.flatten().nonzero().flatten().tolist() == [
        5,
        7,
    ]
    per_time_step = hidden_latents(mask, (3, 2, 2), per_token=False)
    assert per_time_step.tolist() == [[[False], [True], [False]]]


def test_a_time_step_is_completely_seen_when_all_its_tokens_are():
    mask = Mask(torch.tensor([[0, 1, 2, 3, 4, 5, 7]]), torch.tensor([[8]]))
    assert completely_seen(mask, (3, 2, 2)).tolist() == [[True, False, False]]


def test_a_start_is_the_nearest_whole_time_step_or_nothing():
    latents = torch.arange(8.0).view(2, 4, 1, 1)
    hidden = torch.tensor([[True, False, True, True], [True] * 4])
    assert start_from(latents, hidden).flatten(1).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0]]


def test_unknown_targets_are_refused():
    with pytest.raises(ConfigError, match="no targets 'emma': did you mean 'ema'"):
        objective(Future(), targets="emma")
