"""What planners that follow slopes share: which slope a candidate follows, and Adam's steps."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .candidates import Candidates
from .planner import first_guess, noise
from .problem import Problem

BETAS, EPSILON = (0.9, 0.999), 1e-8


def require_slopes(planner: str, problem: Problem) -> None:
    """Refuse a problem whose actions are choices, which have no slope.

    Raises:
        ConfigError: naming the planner and those that choose.
    """
    if problem.choices:
        raise ConfigError(
            f"{planner} follows slopes, and choices among alternatives have none; take "
            "planner=categorical, beam or cem"
        )


def starts(
    problem: Problem, warm_start: Tensor | None, generator: torch.Generator, *, horizon: int,
    number: int, init_std: float,
) -> Tensor:  # fmt: skip
    """The warm start, doing nothing, and random actions around the first: k t a."""
    first = first_guess(problem, warm_start, horizon=horizon)
    spread = noise((number - 2, *first.shape), generator, first.device)
    spread = init_std * problem.units.scale * spread
    return torch.cat([first[None], torch.zeros_like(first)[None], first + spread])


def slopes(scored: Candidates, of: Sequence[Tensor]) -> Sequence[Tensor] | None:
    """Of the cost of safe candidates, and of the violations of the others: shaped as `of`.

    An unsafe candidate follows the slope out of its violation alone (Polyak 1967). Summed over
    candidates, each one's slope is its own. None where nothing depends on `of`.
    """
    followed = scored.safe & scored.cost.isfinite()
    loss = scored.cost[followed].sum()
    for margin in scored.margins.values():
        violation = (-margin).clamp_min(0).sum(dim=1)
        loss = loss + violation[~scored.safe].nan_to_num().sum()
    if not loss.requires_grad:
        return None
    found = torch.autograd.grad(loss, of, allow_unused=True)
    return [
        torch.zeros_like(x) if slope is None else slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
        for slope, x in zip(found, of, strict=True)
    ]


class Steepest:
    """Slopes in units of the steepest that a candidate met, of its cost or of its violation.

    So neither the unit of a cost nor that of a guardrail matters.
    """

    def __init__(self, candidates: Tensor) -> None:
        self._met = candidates.new_zeros(2, len(candidates))  # of cost, and of violation

    def measured(self, slopes: Sequence[Tensor], safe: Tensor) -> list[Tensor]:
        """Slopes (k ... each) of candidates, of which some are safe (k, bool), at most 1 long."""
        kind, index = (~safe).long(), torch.arange(len(safe), device=safe.device)
        length = torch.cat([slope.flatten(1) for slope in slopes], dim=1).norm(dim=1)
        self._met[kind, index] = met = torch.maximum(self._met[kind, index], length)
        unit = met.clamp_min(1e-30)
        return [slope / unit.view(-1, *[1] * (slope.dim() - 1)) for slope in slopes]


class Adam:
    """The direction of Adam's next step (Kingma and Ba 2015).

    Not torch.optim: making an optimiser imports torch's compiler, which takes seconds in every
    worker and crashes the process where a software OpenGL driver has brought its own LLVM.
    """

    def __init__(self, variable: Tensor) -> None:
        self._mean, self._square = torch.zeros_like(variable), torch.zeros_like(variable)
        self._step = 0

    def direction(self, slope: Tensor) -> Tensor:
        """Downhill is against it."""
        self._step += 1
        self._mean.lerp_(slope, 1 - BETAS[0])
        self._square.lerp_(slope.square(), 1 - BETAS[1])
        unbiased = self._mean / (1 - BETAS[0] ** self._step)
        return unbiased / ((self._square / (1 - BETAS[1] ** self._step)).sqrt() + EPSILON)
