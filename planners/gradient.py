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
    other. Every step is projected into the allowed actions. A candidate that is safe follows the
    slope of its cost, one that is not the slope out of its violation alone (Polyak 1967), each
    slope in units of the steepest that it met: so no cost, however large, outweighs a guardrail.
    The answer is the best candidate ever scored, safe ones first.

    Args:
        horizon: Action blocks of a plan.
        starts: Candidates that descend in parallel.
        iterations: Steps of Adam; one more rollout scores the last step.
        learning_rate: Length of a first step, in the units of `Problem`: half-widths of the action
            space.
        init_std: Spread of the random starts, in the same units.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        starts: int = 16,
        iterations: int = 15,
        learning_rate: float = 0.15,
        init_std: float = 0.7,
    ) -> None:
        if min(horizon, iterations) < 1 or starts < 2:
            raise ConfigError(
                "Gradient needs horizon >= 1, iterations >= 1 and starts >= 2, got "
                f"{horizon}, {iterations} and {starts}"
            )
        if min(learning_rate, init_std) <= 0:
            raise ConfigError(
                f"Gradient needs learning_rate and init_std > 0, got {learning_rate} and {init_std}"
            )
        self.horizon, self.starts, self.iterations = horizon, starts, iterations
        self.learning_rate, self.init_std = learning_rate, init_std

    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`.

        Raises:
            ConfigError: actions are choices, which have no slope.
        """
        if problem.choices:
            raise ConfigError(
                "Gradient follows slopes, and choices among alternatives have none; take "
                "planner=categorical, beam or cem"
            )
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
        steepest = actions.new_zeros(2, len(actions))  # slope of cost and of violation met so far
        for step in range(1, self.iterations + 1):
            scored = search.score(actions)
            slope = _slope(scored, actions)
            if slope is None:  # nothing depends on the actions: nothing to follow
                return
            with torch.no_grad():
                kind = (~scored.safe).long()
                candidates = torch.arange(len(actions), device=actions.device)
                gradient = scale * slope.nan_to_num(nan=0.0, posinf=0.0, neginf=0.0)
                met = torch.maximum(steepest[kind, candidates], gradient.flatten(1).norm(dim=1))
                steepest[kind, candidates] = met
                gradient = gradient / met.clamp_min(1e-30)[:, None, None]
                change = _adam(gradient, mean, square, step=step)
                actions.copy_(
                    project(search.problem, actions - self.learning_rate * scale * change)
                )


def _adam(gradient: Tensor, mean: Tensor, square: Tensor, *, step: int) -> Tensor:
    """The direction of Adam's `step`-th step; updates its two moments in place.

    Not torch.optim: making an optimiser imports torch's compiler, which takes seconds in every
    worker and crashes the process where a software OpenGL driver has brought its own LLVM.
    """
    mean.lerp_(gradient, 1 - BETAS[0])
    square.lerp_(gradient.square(), 1 - BETAS[1])
    unbiased = mean / (1 - BETAS[0] ** step)
    return unbiased / ((square / (1 - BETAS[1] ** step)).sqrt() + EPSILON)


def _slope(scored: Candidates, actions: Tensor) -> Tensor | None:
    """Of the cost of safe candidates, and of the violations of the others: k t a.

    Summed over candidates, each one's gradient is its own.
    """
    followed = scored.safe & scored.cost.isfinite()
    loss = scored.cost[followed].sum()
    for margin in scored.margins.values():
        violation = (-margin).clamp_min(0).sum(dim=1)
        loss = loss + violation[~scored.safe].nan_to_num().sum()
    return torch.autograd.grad(loss, actions)[0] if loss.requires_grad else None
