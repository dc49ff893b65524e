"""The contract of objectives: one suite, run over each kind.

A new objective brings a line for `CASES`; a test finds one that has none.
"""

import copy
import importlib
import inspect
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from einops import rearrange
from torch import Tensor

import worldmodel.objectives
from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.interop.load import load
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.contrastive import Contrastive
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import Future, MaskMixture, TokenMasks
from worldmodel.objectives.motion import Motion
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.objectives.views import Views
from worldmodel.training import collapse
from worldmodel.types import Clip

CLIPS, SIDE = 8, 16
FRAMES = noise(CLIPS, 6, 3, SIDE, SIDE)  # three time steps of 2 x 2 tokens


class RightHalf(TokenMasks):
    """The right half of every frame is hidden."""

    def hidden(self, batch, grid, generator):
        hidden = torch.zeros(batch, *grid, dtype=torch.bool)
        hidden[..., grid[2] // 2 :] = True
        return hidden


def last_time_step(_learner: Objective, frames: Tensor) -> Tensor:
    """True where a pixel is hidden by `Future`, or comes after all that predicts."""
    hidden = torch.zeros_like(frames, dtype=torch.bool)
    hidden[:, -2:] = True
    return hidden


def right_half(_learner: Objective, frames: Tensor) -> Tensor:
    """True where a pixel is hidden by `RightHalf`."""
    hidden = torch.zeros_like(frames, dtype=torch.bool)
    hidden[..., SIDE // 2 :] = True
    return hidden


def out_of_view(learner: Views, frames: Tensor) -> Tensor:
    """True where no view that goes into the encoder shows a pixel."""
    frames, shown = frames.clone().requires_grad_(), []
    hook = learner.encoder.register_forward_pre_hook(lambda _m, inputs: shown.append(inputs[0]))
    learner(frames, step=0, generator=seeded())
    hook.remove()
    torch.stack([views.sum() for views in shown]).sum().backward()
    return frames.grad == 0


def everything(outputs: Tensor) -> Tensor:
    """Where all that a predictor returns is predicted of what is hidden, or from what is seen."""
    return outputs


def but_the_last(outputs: Tensor) -> Tensor:
    """What a causal predictor, b h t m d, predicts before it sees the last time step."""
    return outputs[:, :, :-1]


@dataclass(frozen=True)
class Case:
    """An objective, and what cannot reach its predictions.

    Attributes:
        make: the objective, all its weights new.
        hidden: itself, frames b t c h w -> where pixels are hidden, bool.
        predicted: the outputs of its predictor -> those that must not know of these pixels.
        part: what predicts; where nothing does, what makes latents of what is seen.
        shares_statistics: its head norms what is seen and what is hidden together. In training
            mode the batch statistics of both are in every prediction; in evaluation mode the
            statistics are fixed, and nothing is.
    """

    make: Callable[[], Objective]
    hidden: Callable[[Any, Tensor], Tensor] = last_time_step
    predicted: Callable[[Tensor], Tensor] = everything
    part: str = "predictor"
    shares_statistics: bool = False


def one(kind) -> MaskMixture:
    return MaskMixture([kind], [1])


def sigreg() -> SIGReg:
    return SIGReg(num_slices=32)


CASES = {
    "time_steps": Case(
        lambda: TimeSteps(small(), masks=one(Future()), regulariser=sigreg()),
        shares_statistics=True,  # every time step goes through the head at once
    ),
    "time_steps ema": Case(
        lambda: TimeSteps(
            small(), masks=one(Future()), regulariser=NoRegulariser(), targets="ema"
        ),
        shares_statistics=True,
    ),
    "time_steps of parts": Case(
        lambda: TimeSteps(small(per_token=True), masks=one(RightHalf()), regulariser=sigreg()),
        right_half,
    ),
    "masked_tokens": Case(
        lambda: MaskedTokens(small(per_token=True), masks=one(RightHalf()), regulariser=sigreg()),
        right_half, part="predictor.project",
    ),
    "masked_tokens of tubes": Case(
        lambda: MaskedTokens(
            small(per_token=True), masks=one(RightHalf()), regulariser=sigreg(),
            target_context="tube",
        ),
        right_half, part="predictor.project",
    ),
    "masked_tokens ema": Case(
        lambda: MaskedTokens(
            small(), masks=one(Future()), regulariser=NoRegulariser(), targets="ema",
            target_norm="layernorm", every_mask=True,
        ),
        part="predictor.project",
    ),
    "next_tokens": Case(
        lambda: NextTokens(small(), regulariser=sigreg(), horizons=(1, 2)),
        predicted=but_the_last,
        shares_statistics=True,  # every time step goes through the head at once
    ),
    "contrastive": Case(
        lambda: Contrastive(small(), regulariser=NoRegulariser(), horizons=(1, 2)),
        predicted=but_the_last,
        shares_statistics=True,  # every time step goes through the head at once
    ),
    "motion": Case(
        lambda: Motion(
            small(), content=lambda m: MaskedPixels(m, masks=one(RightHalf())), levels=2, width=8
        ),
        right_half, part="content.predictor",
    ),
    "masked_pixels": Case(
        lambda: MaskedPixels(small(), masks=one(RightHalf())),
        right_half,
    ),
    "views": Case(
        lambda: Views(
            small(), regulariser=sigreg(), global_views=Crops(2, (0.4, 0.8)),
            local_views=Crops(2, (0.1, 0.2)),
        ),
        out_of_view, part="head",
    ),
    "views of few tokens": Case(
        lambda: Views(
            small(), regulariser=sigreg(), global_views=Crops(1, (0.5, 1.0)),
            local_views=Crops(3, (0.1, 0.2)), drop=0.5,
        ),
        out_of_view, part="head",
    ),
    "views by a timm backbone": Case(
        lambda: Views(
            Architecture(FrameEncoder("test_resnet", tubelet_frames=1), size=SIDE, latent_width=12),
            regulariser=sigreg(), global_views=Crops(2, (0.2, 0.4)), local_views=Crops(0, (1, 1)),
        ),
        out_of_view, part="head",
    ),
}  # fmt: skip


@pytest.fixture(params=CASES.values(), ids=CASES.keys())
def case(request) -> Case:
    torch.manual_seed(0)
    return request.param


def step(learner: Objective, optimiser: torch.optim.Optimizer, number: int) -> float:
    """One step of training on the fixed batch; what is drawn is drawn from the step's number."""
    loss = learner.train()(FRAMES, step=number, generator=seeded(number)).total
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()
    learner.after_step(number / 100)
    return loss.item()


def adam(learner: Objective, rate: float = 3e-3) -> torch.optim.Optimizer:
    trained = [p for p in learner.parameters() if p.requires_grad]
    return torch.optim.AdamW(trained, lr=rate, fused=True)


def test_every_objective_is_in_the_suite():
    for found in pkgutil.iter_modules(worldmodel.objectives.__path__, "worldmodel.objectives."):
        importlib.import_module(found.name)
    kinds, left = set(), [Objective]
    while left:
        kind = left.pop()
        left += kind.__subclasses__()
        if kind.__module__.startswith("worldmodel.") and not inspect.isabstract(kind):
            kinds.add(kind)
    assert kinds == {type(case.make()) for case in CASES.values()}


def test_steps_on_a_fixed_batch_lower_the_loss(case):
    learner = case.make()
    optimiser = adam(learner)
    losses = [step(learner, optimiser, 0) for _ in range(15)]
    assert losses[-1] < 0.85 * losses[0]


def predictions(learner: Objective, case: Case, frames: Tensor) -> list[Tensor]:
    """What the predictor says of frames, taken where it is said."""
    taken: list[Tensor] = []
    part = learner.get_submodule(case.part)
    hook = part.register_forward_hook(lambda _m, _i, out: taken.append(out))
    with torch.no_grad():
        learner(frames, step=0, generator=seeded())
    hook.remove()
    assert taken
    return [case.predicted(outputs) for outputs in taken]


def stirred_alike(case: Case) -> Objective:
    """The objective with random weights everywhere, as many start at zero; its teacher too."""
    return stirred(case.make(), scale=0.1)


@pytest.mark.parametrize("training", [False, True])
def test_hidden_pixels_reach_nothing_but_targets(case, training):
    learner = stirred_alike(case).train(training)
    hidden = case.hidden(learner, FRAMES)
    changed = torch.where(hidden, 1 - FRAMES, FRAMES)
    before, after = (predictions(learner, case, x) for x in (FRAMES, changed))
    pairs = list(zip(before, after, strict=True))
    if training and case.shares_statistics:
        # If this fails because nothing moves any more, say so in docs/pretraining.md.
        assert not all(torch.allclose(a, b, atol=1e-3) for a, b in pairs)
    else:
        assert all(torch.equal(a, b) for a, b in pairs)
    losses = [learner(x, step=0, generator=seeded()).total.item() for x in (FRAMES, changed)]
    has_targets = "predictor" in case.part
    assert (losses[0] != losses[1]) == has_targets  # they move
    other = predictions(learner, case, torch.where(hidden, FRAMES, 1 - FRAMES))
    assert not all(torch.allclose(a, b, atol=1e-3) for a, b in zip(before, other, strict=True))


def test_in_training_no_clip_s_own_hidden_pixels_reach_its_prediction(case):
    """Where they are handed on to the next clip of the batch, its statistics stay what they are."""
    learner = stirred_alike(case).train()
    handed_on = torch.where(case.hidden(learner, FRAMES), FRAMES.roll(1, dims=0), FRAMES)
    before, after = (predictions(learner, case, x) for x in (FRAMES, handed_on))
    for a, b in zip(before, after, strict=True):
        assert torch.allclose(a, b, atol=1e-4)


def test_a_resumed_training_goes_on_with_the_same_numbers(case):
    learner = case.make()
    optimiser = adam(learner)
    for number in range(2):
        step(learner, optimiser, number)
    saved = copy.deepcopy((learner.state_dict(), optimiser.state_dict()))
    losses = [step(learner, optimiser, number) for number in (2, 3)]
    torch.manual_seed(7)
    other = case.make()
    optimiser = adam(other)
    other.load_state_dict(saved[0])
    optimiser.load_state_dict(saved[1])
    assert [step(other, optimiser, number) for number in (2, 3)] == losses
    for name, value in learner.state_dict().items():
        assert torch.equal(other.state_dict()[name], value), name


def told_apart(learner: Objective) -> float:
    """The share of clips known again under other noise, from latents rounded to a tenth.

    Rounded, because latents are to have a variance of one: what is far smaller is lost.
    """
    with torch.no_grad():
        seen, again = (
            learner.latents((FRAMES + 0.02 * noise(*FRAMES.shape, seed=seed)).clamp(0, 1))
            for seed in (5, 6)
        )
    rows, others = (
        rearrange((10 * x[..., : learner.predicted]).round(), "t m b d -> b (t m d)")
        for x in (seen, again)
    )
    nearest = torch.cdist(rows, others).argmin(1)
    return (nearest == torch.arange(CLIPS)).float().mean().item()


def alarm(learner: Objective) -> str | None:
    with torch.no_grad():
        return collapse.diagnose(learner.latents(FRAMES), predicted=learner.predicted).alarm


@pytest.mark.parametrize("scale", [1e-3, 0.0])
def test_a_collapsed_start_is_left_or_reported(case, scale):
    learner = case.make().eval()
    with torch.no_grad():
        first = next(p for p in learner.encoder.parameters() if p.ndim > 1)
        first.mul_(scale)  # of the pixels of a clip little is seen, or nothing
    assert alarm(learner) is not None
    optimiser = adam(learner, rate=1e-2)
    for number in range(10):
        step(learner, optimiser, number)
    learner.eval()
    assert told_apart(learner) == 1 or alarm(learner) is not None


def test_a_step_depends_on_its_generator_and_nothing_else(case):
    torch.manual_seed(0)
    learner = case.make()
    torch.manual_seed(0)
    twin = case.make()
    before = torch.get_rng_state()
    first = learner(FRAMES, step=3, generator=seeded(3)).total
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(first, twin(FRAMES, step=3, generator=seeded(3)).total)


def test_its_model_is_saved_loaded_and_encodes(case, tmp_path):
    learner = stirred_alike(case).eval()
    model = learner.world_model(SIDE)
    checkpoint.save(model, tmp_path / "model")
    clip = Clip.from_uint8((FRAMES * 255).byte())
    tokens = load(tmp_path / "model").encode(clip).tokens
    assert torch.equal(tokens, model.encode(clip).tokens)
    assert torch.equal(tokens, learner.encoder(clip.frames))  # what was trained
