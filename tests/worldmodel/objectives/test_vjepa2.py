"""V-JEPA 2's training step, once more from its equations in plain torch (arXiv:2506.09985)."""

import math

import pytest
import torch

from tests.worldmodel.toys import noise, stirred
from worldmodel.cli.compose import settle
from worldmodel.cli.runner import build
from worldmodel.runs.run import Run
from worldmodel.training.loop import Learner, fit

GRID, HEADS = (8, 4, 4), {"encoder": 2, "predictor": 4}  # tokens in 16 frames of 64 x 64 pixels
BASE = {"vjepa2": 10_000, "default": 100}


def linear(held, name, x):
    return x @ held[f"{name}.weight"].T + held[f"{name}.bias"]


def normed(x, eps):
    centred = x - x.mean(-1, keepdim=True)
    return centred / (centred.square().mean(-1, keepdim=True) + eps).sqrt()


def norm(held, name, x):
    return normed(x, 1e-6) * held[f"{name}.weight"] + held[f"{name}.bias"]


def turned(x, ids, rope):
    """Queries or keys b a n c, a third of the channels rotated by each coordinate of `ids` b n."""
    _, h, w = GRID
    part = x.shape[-1] // 6 * 2
    frequency = BASE[rope] ** (-torch.arange(0, part, 2) / part)
    out = []
    for axis, place in enumerate((ids // (h * w), ids // w % h, ids % w)):
        angle = place[:, None, :, None] * frequency
        # The published code repeats frequencies where it meant to repeat each of them.
        angle = angle.repeat(1, 1, 1, 2) if rope == "vjepa2" else angle.repeat_interleave(2, -1)
        own = x[..., axis * part : (axis + 1) * part]
        other = torch.stack([-own[..., 1::2], own[..., 0::2]], dim=-1).flatten(-2)
        out.append(own * angle.cos() + other * angle.sin())
    return torch.cat([*out, x[..., 3 * part :]], dim=-1)


def blocks(held, network, x, ids, rope):
    heads, (b, n, d) = HEADS[network], x.shape
    count = len({name.split(".")[2] for name in held if name.startswith(f"{network}.blocks.")})
    for number in range(count):
        name = f"{network}.blocks.{number}"
        qkv = linear(held, f"{name}.attention.qkv", norm(held, f"{name}.norm1", x))
        q, k, v = qkv.view(b, n, 3, heads, d // heads).permute(2, 0, 3, 1, 4)
        scores = turned(q, ids, rope) @ turned(k, ids, rope).transpose(2, 3)
        seen = (scores / math.sqrt(d // heads)).softmax(-1) @ v
        x = x + linear(held, f"{name}.attention.out", seen.transpose(1, 2).reshape(b, n, d))
        inner = linear(held, f"{name}.mlp.0", norm(held, f"{name}.norm2", x))
        inner = inner * 0.5 * (1 + torch.erf(inner / math.sqrt(2)))
        x = x + linear(held, f"{name}.mlp.2", inner)
    return norm(held, f"{network}.norm", x)


def picked(x, ids):
    return torch.stack([row[places] for row, places in zip(x, ids, strict=True)])


def encoded(held, frames, ids, rope):
    (t, h, w), b = GRID, len(frames)
    mean, std = frames.new_tensor([[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]])
    pixels = (frames - mean[:, None, None]) / std[:, None, None]
    tubes = pixels.view(b, t, 2, 3, h, 16, w, 16).permute(0, 1, 4, 6, 2, 5, 7, 3)
    tokens = linear(held, "encoder.tubelets.embed", tubes.reshape(b, t * h * w, -1))
    return blocks(held, "encoder", picked(tokens, ids), ids, rope)


def published_loss(held, slow, frames, masks, rope):
    """Equation 1: the mean over masks of the L1 distance to the normed tokens of the teacher."""
    everything = torch.arange(math.prod(GRID)).expand(len(frames), -1)
    targets = normed(encoded(slow, frames, everything, rope), 1e-5).detach()
    losses = []
    for number, (context, hidden) in enumerate(masks):
        x = linear(held, "predictor.embed", encoded(held, frames, context, rope))
        filler = held["predictor.mask_tokens"][number].expand(*hidden.shape, -1)
        x = torch.cat([x, filler], dim=1)
        x = blocks(held, "predictor", x, torch.cat([context, hidden], dim=1), rope)
        predicted = linear(held, "predictor.project", x[:, context.shape[1] :])
        losses.append((predicted - picked(targets, hidden)).abs().mean())
    return sum(losses) / len(losses)


class Published:
    """The weights of student and teacher, and AdamW's moments."""

    def __init__(self, objective, rope):
        self.rope, self.count = rope, 0
        found = objective.named_parameters()
        self.held = {n: p.detach().clone().requires_grad_() for n, p in found if p.requires_grad}
        self.slow = {
            name.removeprefix("teacher."): p.detach().clone()
            for name, p in objective.named_parameters()
            if name.startswith("teacher")
        }
        self.first = {name: torch.zeros_like(p) for name, p in self.held.items()}
        self.second = {name: torch.zeros_like(p) for name, p in self.held.items()}

    def step(self, frames, masks):
        loss = published_loss(self.held, self.slow, frames, masks, self.rope)
        grads = torch.autograd.grad(loss, list(self.held.values()))
        self.count += 1
        for (name, p), g in zip(self.held.items(), grads, strict=True):
            m = self.first[name] = 0.9 * self.first[name] + 0.1 * g
            v = self.second[name] = 0.999 * self.second[name] + 0.001 * g.square()
            m, v = m / (1 - 0.9**self.count), v / (1 - 0.999**self.count)
            decay = 0.0 if "bias" in name or p.ndim == 1 else 0.04
            with torch.no_grad():
                p.mul_(1 - 5.25e-4 * decay).sub_(5.25e-4 * m / (v.sqrt() + 1e-8))
        for name, slow in self.slow.items():
            slow.mul_(0.99925).add_(self.held[name].detach() * (1 - 0.99925))
        return loss.detach(), dict(zip(self.held, grads, strict=True))


class Compared(Learner):
    """The recipe's objective on fixed frames, and beside it the published step."""

    def __init__(self, objective, rope):
        super().__init__()
        self.objective, self.published = objective, Published(objective, rope)
        self.frames = noise(2, 3, 16, 3, 64, 64).double()  # a batch for each step

    def losses(self, step, generator):
        twin = torch.Generator().set_state(generator.get_state())
        masks = self.objective.masks
        drawn = [masks.tokens(kind, 3, GRID, twin) for kind in masks.kinds]
        assert [kind.blocks for kind in masks.kinds] == [8, 2]
        found = self.objective(self.frames[step], step=step, generator=generator)
        self.expected = self.published.step(
            self.frames[step], [(mask.context, mask.targets) for mask in drawn]
        )
        close(found.total, self.expected[0])
        return found

    def after_step(self, progress):
        self.objective.after_step(progress)
        named = dict(self.objective.named_parameters())
        for name, expected in self.expected[1].items():
            close(named[name].grad, expected, name)
            close(named[name], self.published.held[name], name)
        for name, expected in self.published.slow.items():
            close(named[f"teacher.{name}"], expected, name)


def close(found, expected, name=""):
    assert torch.allclose(found, expected, rtol=0, atol=1e-7), name


@pytest.mark.parametrize("rope", ["vjepa2", "default"])
def test_two_steps_of_the_recipe_are_those_that_were_published(rope, tmp_path):
    """Loss, gradients, weights and those of the EMA teacher, to 1e-7."""
    words = [
        "recipe=vjepa2", "model=smoke", f"model.encoder.rope={rope}", "optimisation.steps=2",
        "model.encoder.pixels=imagenet", "model.encoder.norm_eps=1e-6", "optimisation.warmup=0",
        "objective.predictor_width=32",
    ]  # fmt: skip
    settings = settle("pretrain", words, checked=False)
    torch.manual_seed(0)
    objective = build("objective", settings["objective"])(build("model", settings["model"]))
    for network in (objective.encoder, objective.predictor):  # away from its teacher
        stirred(network, scale=0.05)
    learner = Compared(objective.double(), rope)
    before = learner.published.slow["encoder.norm.weight"].clone()
    run = Run.open(tmp_path / "run", verb="pretrain", config={}, seed=0)
    assert fit(learner, run, build("optimisation", settings["optimisation"]), description="") == 2
    run.close()
    assert not torch.equal(learner.published.slow["encoder.norm.weight"], before)


def test_the_schedules_are_those_that_were_published():
    """Shares of the training; rates rise from zero, not from a fifth or a third of the highest."""
    two, one = (
        build("optimisation", settle("pretrain", [f"recipe={name}"], checked=False)["optimisation"])
        for name in ("vjepa2", "vjepa")
    )
    assert [two.rate(x) for x in (0.048, 0.5, 1.0)] == [5.25e-4] * 3
    assert [two.decay(x) for x in (0.0, 0.5, 1.0)] == [0.04] * 3 and two.clip == math.inf
    assert one.rate(12_000 / 90_000) == pytest.approx(6.25e-4, rel=1e-3) and one.clip == 10
    for x in (0.0, 0.3, 1.0):
        assert one.decay(x) == pytest.approx(0.4 - 0.36 * 0.5 * (1 + math.cos(math.pi * x)))
