"""The only place where candidate plans are rolled out, costed and guarded.

Knows nothing of how candidates are proposed; that is what planners differ in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.types import History

from .costs.cost import Cost
from .dynamics import Dynamics
from .guardrails.guardrail import Guardrail

Part = TypeVar("Part", Cost, Guardrail)


@dataclass(frozen=True)
class Candidates:
    """Action sequences with what the model predicts of them and what that is worth."""

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
        """Which candidates (k, bool) keep every guardrail."""
        return self.margin >= 0

    def rank(self) -> Tensor:
        """Indices (k), best first: the safe by cost, then the others by margin, least bad first.

        Lexicographic, so that no cost, however large, buys a violation.
        """
        key = torch.where(self.safe, self.cost, -self.margin)
        order = key.argsort(stable=True)
        return order[(~self.safe)[order].to(torch.uint8).argsort(stable=True)]

    def take(self, index: Tensor) -> "Candidates":
        """Those at `index`, without gradients."""
        return Candidates(
            self.actions[index].detach(),
            self.states[index].detach(),
            {name: cost[index].detach() for name, cost in self.costs.items()},
            self.cost[index].detach(),
            {name: margin[index].detach() for name, margin in self.margins.items()},
            self.margin[index].detach(),
        )

    def detach(self) -> "Candidates":
        """All of them, without gradients and on memory of their own."""
        return self.take(torch.arange(len(self), device=self.actions.device))

    def best(self) -> "Candidates":
        """The best one, as the only candidate."""
        return self.take(self.rank()[:1])

    def beats(self, other: "Candidates") -> bool:
        """Whether the only candidate here ranks before the only one there."""
        mine, theirs = (c.margin.item() for c in (self, other))
        if mine >= 0 and theirs >= 0:
            return self.cost.item() < other.cost.item()
        return mine > theirs


class Scorer:
    """Scores candidates of one decision, counts the model calls, and keeps the best seen.

    Args:
        model: Predicts the states.
        history: What was seen and done so far.
        costs: Summed.
        guardrails: Enforced: actions are projected before they are rolled out, states judged.
    """

    def __init__(
        self,
        model: Dynamics,
        history: History,
        *,
        costs: Sequence[Cost],
        guardrails: Sequence[Guardrail] = (),
    ) -> None:
        self._model, self._history = model, history
        self._costs, self._guardrails = _named(costs), _named(guardrails)
        self.calls = 0  # of model.rollout
        self.steps = 0  # blocks that were rolled out, summed over candidates
        self.best: Candidates | None = None  # of all that were scored

    def project(self, actions: Tensor) -> Tensor:
        """Actions (k t a) that every guardrail on actions allows."""
        for guardrail in self._guardrails.values():
            actions = guardrail.project(actions)
        return actions

    def __call__(self, actions: Tensor) -> Candidates:
        """Roll out and score `actions` (k t a), as they are: project them before."""
        states = self._model.rollout(self._history, actions)
        self.calls += 1
        self.steps += actions.shape[0] * actions.shape[1]
        if states.shape[:2] != actions.shape[:2]:
            raise ShapeError(
                f"rollout must return k t d for actions {tuple(actions.shape)}, "
                f"got {tuple(states.shape)}"
            )
        costs = {name: cost(states, actions) for name, cost in self._costs.items()}
        margins = {name: g.margin(states, actions) for name, g in self._guardrails.items()}
        scored = Candidates(
            actions, states, costs, _total(costs, states), margins, _worst(margins, states)
        )
        best = scored.best()
        if self.best is None or best.beats(self.best):
            self.best = best
        return scored


def _total(costs: dict[str, Tensor], states: Tensor) -> Tensor:
    for name, cost in costs.items():
        if cost.shape != states.shape[:1]:
            raise ShapeError(
                f"cost '{name}' must return k = {tuple(states.shape[:1])}, got {tuple(cost.shape)}"
            )
    total = sum(costs.values(), start=states.new_zeros(len(states)))
    # A prediction that overflowed must never win.
    return torch.where(total.isnan(), float("inf"), total)


def _worst(margins: dict[str, Tensor], states: Tensor) -> Tensor:
    worst = states.new_full(states.shape[:1], float("inf"))
    for name, margin in margins.items():
        if margin.shape != states.shape[:2]:
            raise ShapeError(
                f"margin of '{name}' must be k t = {tuple(states.shape[:2])}, "
                f"got {tuple(margin.shape)}"
            )
        worst = torch.minimum(worst, margin.amin(dim=1))
    return torch.where(worst.isnan(), float("-inf"), worst)


def _named(parts: Sequence[Part]) -> dict[str, Part]:
    """By class name; a second of the same class is numbered."""
    named: dict[str, Part] = {}
    for part in parts:
        name, count = type(part).__name__, 2
        while name in named:
            name, count = f"{type(part).__name__}_{count}", count + 1
        named[name] = part
    return named
