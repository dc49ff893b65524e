"""Planning by gradient: follow the cost's slope through the model, from many starts at once."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .candidates import Candidates, project
from .planner import Plan, Planner, Search, first_guess, noise
from .problem import Problem

BETAS, EPSILON = (0.9, 0.999), 1e-8


class Gradient(Planner):
    """Adam (Kingma and Ba 2015) on the actions of several candidates in parallel.

    The starts are the warm start, doing nothing, and random actions; they do not influence each
    other. Every step is projected into the allowed actions. A predicted violation is pushed out
    by a penalty that grows with each iteration that it lasts, so that no cost outweighs it for
    long; the answer is the best candidate ever scored, safe ones first, so the penalty only
    guides the search and decides nothing.

    Args:
        horizon: Action blocks of a plan.
        starts: Candidates that descend in parallel.
        iterations: Steps of Adam; one more rollout scores the last step.
        learning_rate: Length of a first step, in the units of `Problem`: half-widths of the action
            space.
        init_std: Spread of the random starts, in the same units.
        penalty: Weight of a violation in the iteration in which it first appears.
        penalty_growth: Factor by which it grows with each iteration of violation.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        starts: int = 16,
        iterations: int = 15,
        learning_rate: float = 0.15,
        init_std: float = 0.7,
        penalty: float = 10.0,
        penalty_growth: float = 1.5,
    ) -> None:
        if min(horizon, iterations) < 1 or starts < 2:
            raise ConfigError(
                "Gradient needs horizon >= 1, iterations >= 1 and starts >= 2, got "
                f"{horizon}, {iterations} and {starts}"
            )
        if min(learning_rate, init_std, penalty) <= 0 or penalty_growth < 1:
            raise ConfigError(
                "Gradient needs learning_rate, init_std and penalty > 0 and penalty_growth >= 1, "
                f"got {learning_rate}, {init_std}, {penalty} and {penalty_growth}"
            )
        self.horizon, self.starts, self.iterations = horizon, starts, iterations
        self.learning_rate, self.init_std = learning_rate, init_std
        self.penalty, self.penalty_growth = penalty, penalty_growth

    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`."""
        search = Search(problem)
        first = first_guess(problem, warm_start, horizon=self.horizon)
        spread = noise((self.starts - 2, *first.shape), generator, first.device)
        spread = self.init_std * problem.units.scale * spread
        starts = torch.cat([first[None], torch.zeros_like(first)[None], first + spread])
        with torch.enable_grad():
            actions = project(problem, starts).detach().requires_grad_()
            self._descend(search, actions)
        with torch.no_grad():
            search.score(actions.detach())
        return search.finish()

    def _descend(self, search: Search, actions: Tensor) -> None:
        mean, square = torch.zeros_like(actions), torch.zeros_like(actions)
        scale = search.problem.units.scale
        weight = actions.new_full((len(actions),), self.penalty)
        for step in range(1, self.iterations + 1):
            scored = search.score(actions)
            loss = _loss(scored, weight)
            if not loss.requires_grad:  # nothing depends on the actions: nothing to follow
                return
            (gradient,) = torch.autograd.grad(loss, actions)
            gradient = scale * gradient.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
            with torch.no_grad():
                change = _adam(gradient, mean, square, step=step)
                actions.copy_(
                    project(search.problem, actions - self.learning_rate * scale * change)
                )
                weight = torch.where(scored.safe, self.penalty, weight * self.penalty_growth)


def _adam(gradient: Tensor, mean: Tensor, square: Tensor, *, step: int) -> Tensor:
    """The direction of Adam's `step`-th step; updates its two moments in place.

    Not torch.optim: making an optimiser imports torch's compiler, which takes seconds in every
    worker and crashes the process where a software OpenGL driver has brought its own LLVM.
    """
    mean.lerp_(gradient, 1 - BETAS[0])
    square.lerp_(gradient.square(), 1 - BETAS[1])
    unbiased = mean / (1 - BETAS[0] ** step)
    return unbiased / ((square / (1 - BETAS[1] ** step)).sqrt() + EPSILON)


def _loss(scored: Candidates, weight: Tensor) -> Tensor:
    """Summed over candidates, so that each one's gradient is its own."""
    loss = scored.cost[scored.cost.isfinite()].sum()
    for margin in scored.margins.values():
        loss = loss + (weight * (-margin).clamp_min(0).sum(dim=1)).nan_to_num().sum()
    return loss
