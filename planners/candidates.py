"""Candidate plans: the one place where they are rolled out, scored and ranked.

Knows nothing of how candidates are proposed; that is what planners differ in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from worldmodel.errors import ShapeError

from .costs.cost import Cost
from .guardrails.guardrail import Guardrail
from .problem import Problem

Part = TypeVar("Part", Cost, Guardrail)


@dataclass(frozen=True)
class Candidates:
    """Action sequences, the states that the model predicts for them, and their scores."""

    actions: Tensor  # k t a: action blocks, in the environment's units
    states: Tensor  # k t d: predicted, after each block
    costs: dict[str, Tensor]  # name -> k
    cost: Tensor  # k: their sum; +inf where it is not a number
    margins: dict[str, Tensor]  # name -> k t
    margin: Tensor  # k: the worst over guardrails and time; +inf without guardrails

    def __len__(self) -> int:
        return len(self.actions)

    @property
    def safe(self) -> Tensor:
        """True (k, bool) for the candidates that keep every guardrail."""
        return self.margin >= 0

    def rank(self) -> Tensor:
        """Indices (k), best first: safe ones by cost, then the others, smallest violation first.

        Lexicographic, so that no cost, however large, buys a violation.
        """
        key = torch.where(self.safe, self.cost, -self.margin)
        order = key.argsort(stable=True)
        return order[(~self.safe)[order].to(torch.uint8).argsort(stable=True)]

    def take(self, index: Tensor) -> "Candidates":
        """The candidates at `index`, without gradients."""
        return Candidates(
            self.actions[index].detach(),
            self.states[index].detach(),
            {name: cost[index].detach() for name, cost in self.costs.items()},
            self.cost[index].detach(),
            {name: margin[index].detach() for name, margin in self.margins.items()},
            self.margin[index].detach(),
        )

    def detach(self) -> "Candidates":
        """All of them, copied and without gradients."""
        return self.take(torch.arange(len(self), device=self.actions.device))

    def best(self) -> "Candidates":
        """The best candidate alone."""
        return self.take(self.rank()[:1])

    def beats(self, other: "Candidates") -> bool:
        """True if the single candidate here ranks before the single one in `other`."""
        mine, theirs = (c.margin.item() for c in (self, other))
        if mine >= 0 and theirs >= 0:
            return self.cost.item() < other.cost.item()
        return mine > theirs


def project(problem: Problem, actions: Tensor) -> Tensor:
    """The nearest actions (k t a) that every guardrail on actions allows."""
    for guardrail in problem.guardrails:
        actions = guardrail.project(actions)
    return actions


def score(problem: Problem, actions: Tensor) -> Candidates:
    """Roll out `actions` (k t a) as they are, add up their costs and take their worst margins."""
    states = problem.model.rollout(problem.history, actions)
    if states.shape[:2] != actions.shape[:2]:
        raise ShapeError(
            f"rollout must return k t d for actions {tuple(actions.shape)}, "
            f"got {tuple(states.shape)}"
        )
    return weigh(problem, actions, states)


def weigh(problem: Problem, actions: Tensor, states: Tensor) -> Candidates:
    """Add up what `actions` (k t a) and the states that follow (k t d) cost, and take margins."""
    k, t = states.shape[:2]
    costs = {name: cost(states, actions) for name, cost in _named(problem.costs).items()}
    total = states.new_zeros(k)
    for name, cost in costs.items():
        _require_shape(f"cost '{name}' must return k", (k,), cost)
        total = total + cost
    guardrails = _named(problem.guardrails)
    margins = {name: g.margin(states, actions) for name, g in guardrails.items()}
    worst = states.new_full((k,), float("inf"))
    for name, margin in margins.items():
        _require_shape(f"margin of '{name}' must be k t", (k, t), margin)
        worst = torch.minimum(worst, margin.amin(dim=1))
    # A prediction that overflowed must never win.
    total = torch.where(total.isnan(), float("inf"), total)
    worst = torch.where(worst.isnan(), float("-inf"), worst)
    return Candidates(actions, states, costs, total, margins, worst)


def _require_shape(rule: str, shape: tuple[int, ...], got: Tensor) -> None:
    if got.shape != shape:
        raise ShapeError(f"{rule} = {shape}, got {tuple(got.shape)}")


def _named(parts: Sequence[Part]) -> dict[str, Part]:
    """Costs or guardrails by class name; the second of a class gets a number."""
    named: dict[str, Part] = {}
    for part in parts:
        name, count = type(part).__name__, 2
        while name in named:
            name, count = f"{type(part).__name__}_{count}", count + 1
        named[name] = part
    return named
