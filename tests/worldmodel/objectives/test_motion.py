from functools import partial

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel import checkpoint
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.interop.load import load
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.flow import FlowHead
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.flow_losses import (
    cycle_error,
    dissimilarity,
    image_error,
    roughness,
)
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import AllButOne, MaskMixture, RandomTokens
from worldmodel.objectives.motion import FlowWeights, Motion
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.regularisers import NoRegulariser, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run
from worldmodel.storage.tensors import read_tensors
from worldmodel.training.loop import Learner, Optimisation, fit
from worldmodel.types import Clip

FRAMES = noise(6, 6, 3, 16, 16)  # three time steps of 2 x 2 tokens
MASKS = MaskMixture([AllButOne()], [1])
CONTENTS = {
    "time_steps": partial(TimeSteps, masks=MASKS, regulariser=VICReg()),
    "next_tokens": partial(NextTokens, regulariser=VICReg(), targets="ema", predictor_width=16),
    "masked_tokens": partial(MaskedTokens, masks=MASKS, regulariser=VICReg(), predictor_width=16),
}


def objective(content="time_steps", **settings):
    torch.manual_seed(0)
    return Motion(small(), content=CONTENTS[content], levels=2, width=8, **settings)


def flows(x, y, side=12):
    """A flow that is the same everywhere, for the first half of a batch, and its inverse."""
    there = torch.tensor([x, y])[:, None, None].expand(2, 2, side, side)
    return torch.cat([there, -there])


@pytest.mark.parametrize(("x", "y"), [(1.0, 0.0), (-2.0, 3.0), (0.3, -1.6)])
def test_flows_that_are_each_other_s_inverse_make_a_cycle(x, y):
    maps = noise(4, 5, 12, 12)
    assert cycle_error(maps, flows(x, y)) < 1e-9
    assert cycle_error(maps, flows(x, y).abs()) > 1e-3  # both ways lead away


def test_images_moved_by_the_true_flow_have_no_error_and_by_another_some():
    images = F.interpolate(noise(2, 3, 4, 4), size=12, mode="bicubic").clamp(0, 1)
    after = images.roll((1, 2), dims=(2, 3))
    true = torch.tensor([2.0, 1.0])[:, None, None].expand(2, 2, 12, 12)
    # Windows at the border hold what came in from outside.
    assert image_error(images, after, true) < 0.1 * image_error(images, after, 0 * true)
    assert image_error(images, after, true + 20) == 0  # nothing is left to compare


def test_dissimilarity_is_that_of_its_definition():
    first, second = noise(1, 1, 3, 3), noise(1, 1, 3, 3, seed=4)
    found = dissimilarity(first, second)[0, 0, 1, 1]
    (m, n), (s, t) = (
        (first.mean(), second.mean()), (first.var(unbiased=False), second.var(unbiased=False)),
    )  # fmt: skip
    both = ((first - m) * (second - n)).mean()
    alike = (2 * m * n + 1e-4) / (m**2 + n**2 + 1e-4) * (2 * both + 9e-4) / (s + t + 9e-4)
    assert torch.allclose(found, (1 - alike) / 2, atol=1e-5)
    assert torch.allclose(dissimilarity(first, first), torch.zeros(()), atol=1e-6)


def test_a_flow_may_change_at_the_edges_of_things_for_less():
    flow = torch.zeros(1, 2, 8, 8)
    flow[:, 0, :, 4:] = 1.0
    plain, edge = torch.zeros(1, 3, 8, 8), torch.zeros(1, 3, 8, 8)
    edge[..., 4:] = 1.0
    assert roughness(plain, flow) == pytest.approx(8 / (2 * 8 * 7))
    assert roughness(edge, flow) == pytest.approx(float(torch.exp(torch.tensor(-10.0))) / 14)
    assert roughness(plain, torch.ones(1, 2, 8, 8)) == 0


@pytest.mark.parametrize("content", CONTENTS)
def test_any_objective_can_be_the_content(content, tmp_path):
    learner = objective(content)
    alone = CONTENTS[content](small())
    losses = learner(FRAMES, step=3, generator=seeded())
    assert {"flow_pixels", "flow_features", "flow_cycle"} < losses.terms.keys()
    assert losses.numbers["flow_error_over_still"] == 1  # untrained
    losses.total.backward()
    for part in ("content", "flow_head"):
        found = [p.grad for n, p in learner.named_parameters() if n.startswith(part)]
        assert any(g is not None and g.abs().sum() > 0 for g in found), part
    assert learner.latents(FRAMES).shape == alone.latents(FRAMES).shape
    assert learner.predicted == alone.predicted

    stirred(learner.flow_head)
    model = learner.world_model(16).eval()
    checkpoint.save(model, tmp_path)
    again, clip = load(tmp_path), Clip.from_uint8((FRAMES * 255).byte())
    assert type(again.masked_predictor).__name__ == type(learner.content.predictor).__name__
    flow = again.flow(clip)
    assert flow.shape == (6, 2, 2, 16, 16) and flow.abs().max() > 0
    assert torch.equal(flow, model.flow(clip))


def test_the_content_s_losses_are_those_that_it_has_alone():
    torch.manual_seed(0)
    sizes = small()
    learner = Motion(sizes, content=CONTENTS["time_steps"])
    found = learner(FRAMES, step=3, generator=seeded(5)).terms
    alone = learner.content(FRAMES, step=3, generator=seeded(5)).terms
    assert {name: found[name].item() for name in alone} == {k: v.item() for k, v in alone.items()}


def test_the_encoder_is_kept_once_and_follows_into_the_content():
    learner = objective()
    names = [name for name in learner.state_dict() if "encoder" in name]
    assert names and all(name.startswith("content.encoder.") for name in names)
    assert learner.encoder is learner.content.encoder


@pytest.mark.parametrize("content", ["next_tokens"])
def test_the_content_s_teacher_follows(content):
    learner = objective(content)
    stirred(learner.content.encoder)
    before = learner.content.teacher.encoder.norm.weight.clone()
    learner.after_step(0.5)
    assert not torch.equal(before, learner.content.teacher.encoder.norm.weight)


def squares(count, seed, *, side=16, box=12, length=4):
    """Textured squares that move by a whole pixel a frame or not at all, over textured grounds.

    Returns:
        Frames n t c h w, velocities n 2 (x y, pixels a frame), where the square is, n t h w.
    """
    generator = seeded(seed)
    look = torch.rand(count, 3, 8, 8, generator=generator)
    ground = F.interpolate(look[..., :6], size=side, mode="bicubic").clamp(0, 1)
    square = F.interpolate(look[..., 2:6, :4], size=box, mode="bicubic").clamp(0, 1)
    velocity = torch.randint(-1, 2, (count, 2), generator=generator)
    frames = ground[:, None].repeat(1, length, 1, 1, 1)
    is_square = torch.zeros(count, length, side, side, dtype=torch.bool)
    for n, (x, y) in enumerate(velocity.tolist()):
        for t in range(length):
            left, top = ((length - 1) * (v < 0) + v * t for v in (x, y))
            place = (..., slice(top, top + box), slice(left, left + box))
            frames[n, t][place], is_square[n, t][place] = square[n], True
    return frames, velocity.float(), is_square


def test_it_learns_how_squares_move():
    seen, (frames, velocity, is_square) = squares(600, 0)[0], squares(100, 1)
    torch.manual_seed(0)
    sizes = Architecture(
        VideoViT(32, 1, heads=2, patch=4), size=16, latent_width=16, extra_width=8,
        predictor_width=32,
    )  # fmt: skip
    learner = Motion(sizes, content=CONTENTS["time_steps"], levels=2, width=16, reach=1)
    optimiser = torch.optim.AdamW(learner.parameters(), lr=4e-3)
    losses = []
    for step in range(70):
        optimiser.param_groups[0]["lr"] = 4e-3 * min(1, (step + 1) / 20)
        drawn = torch.randint(600, (24,), generator=seeded(step))
        loss = learner(seen[drawn], step=step, generator=seeded(step)).total
        losses.append(loss.item())
        optimiser.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(learner.parameters(), 1.0)
        optimiser.step()
    assert sum(losses[-10:]) < sum(losses[:10])
    with torch.inference_mode():
        found = learner.world_model(16).eval().flow(Clip(frames, torch.arange(4.0).expand(100, 4)))
    moving = is_square[:, 1]  # in the last frame of the first time step
    true = torch.where(moving[:, None], velocity[..., None, None], 0.0)
    error, length = (x.norm(dim=1) for x in (found[:, 0] - true, true))
    assert error[moving].mean() < 0.6 * length[moving].mean()
    assert error.mean() < 0.85 * length.mean()


class Stop(Exception):
    """What ends a training from outside."""


class Steps(Learner):
    """Learns from batches that are a function of the step."""

    def __init__(self, stop_at=None):
        super().__init__()
        self.objective, self.stop_at = objective("next_tokens"), stop_at

    def losses(self, step, generator):
        if step == self.stop_at:
            raise Stop
        return self.objective(noise(4, 4, 3, 16, 16, seed=step), step=step, generator=generator)

    def after_step(self, progress):
        self.objective.after_step(progress)


def test_an_interrupted_training_ends_with_the_same_weights(tmp_path):
    whole, broken = (Run.open(tmp_path / n, verb="toy", config={}, seed=0) for n in "ab")
    how = Optimisation(3, learning_rate=2e-3, save_seconds=-1)
    fit(Steps(), whole, how, description="toy")
    with pytest.raises(Stop):
        fit(Steps(stop_at=1), broken, how, description="toy")
    fit(Steps(), broken, how, description="toy")
    a, b = (read_tensors(run.checkpoints / "training.safetensors") for run in (whole, broken))
    assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
    assert any("flow_head" in name for name in a) and any("teacher" in name for name in a)
    whole.close(), broken.close()


def test_a_timm_backbone_learns_flow_too():
    torch.manual_seed(0)
    encoder = FrameEncoder("test_vit", size=64)
    sizes = Architecture(encoder, size=64, latent_width=8, extra_width=4, predictor_width=16)
    learner = Motion(sizes, content=CONTENTS["time_steps"], levels=2)
    learner(noise(2, 4, 3, 64, 64), step=0, generator=seeded()).total.backward()
    assert any(p.grad is not None and p.grad.any() for p in encoder.backbone.parameters())
    assert learner.flow_head.flow(encoder, noise(2, 4, 3, 64, 64)).shape == (2, 1, 2, 64, 64)


def test_weights_and_clips_that_make_no_sense_are_refused():
    with pytest.raises(ConfigError, match="levels, width, hidden and reach are at least 1, got 0"):
        FlowHead(24, levels=0)
    with pytest.raises(ConfigError, match="VideoViT makes one of 16 x 16 pixels; say a larger"):
        Motion(Architecture(VideoViT(24, 1, heads=2), size=16), content=CONTENTS["time_steps"])
    with pytest.raises(ConfigError, match="weights.cycle must be 0 or more, got -1"):
        FlowWeights(cycle=-1)
    with pytest.raises(ConfigError, match="num_frames=2 is one alone; say num_frames=4 or more"):
        objective().check(2)
    with pytest.raises(ShapeError, match="a clip needs 4, 6 or more frames"):
        masks = MaskMixture([RandomTokens(0.5)], [1])
        content = partial(TimeSteps, masks=masks, regulariser=NoRegulariser())
        Motion(small(), content=content)(FRAMES[:, :2], step=0, generator=seeded())
