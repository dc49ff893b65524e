"""What a planner is, and what it returns.

A planner is a function over a model that the caller supplies: randomness is a generator, and what
the next decision starts from is a value that is returned.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.types import History

from .candidates import Candidates, Scorer
from .costs.cost import Cost
from .dynamics import Dynamics
from .guardrails.guardrail import Guardrail


@dataclass(frozen=True)
class Plan:
    """The actions to take, and how they were found."""

    actions: Tensor  # t a: action blocks, in the environment's units
    states: Tensor  # t d: predicted, after each block
    cost: float  # sum of the costs
    costs: dict[str, float]
    margin: float  # worst over guardrails and time; >= 0 is safe, +inf without guardrails
    candidates: Candidates  # those of the last iteration, for looking at
    warm_start: Tensor  # t a: the actions one block later, then nothing; for the next decision
    trace: tuple[float, ...]  # cost of the best candidate so far, after each iteration
    model_calls: int  # rollouts
    model_steps: int  # blocks rolled out, summed over candidates
    seconds: float  # wall clock

    @property
    def safe(self) -> bool:
        """Whether the model predicts that every guardrail is kept."""
        return self.margin >= 0


class Planner(ABC):
    """Finds actions whose predicted states cost little and keep every guardrail."""

    @abstractmethod
    def plan(
        self,
        model: Dynamics,
        history: History,
        *,
        costs: Sequence[Cost],
        guardrails: Sequence[Guardrail] = (),
        action_dim: int,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found. Where nothing safe was found, the least bad; see `Plan.safe`.

        Args:
            model: Predicts states; is not changed.
            history: What was seen and done so far.
            costs: Bound to the model; summed.
            guardrails: Bound to the model; enforced.
            action_dim: Numbers of an action block.
            generator: All the randomness; the same state of it gives the same plan.
            warm_start: Actions (t a) to start from, `Plan.warm_start` of the last decision.
        """


class Search:
    """The bookkeeping that every planner shares: projection, scoring, and the plan at the end."""

    def __init__(
        self,
        model: Dynamics,
        history: History,
        *,
        costs: Sequence[Cost],
        guardrails: Sequence[Guardrail],
    ) -> None:
        self._start = time.perf_counter()
        self._scorer = Scorer(model, history, costs=costs, guardrails=guardrails)
        self._trace: list[float] = []
        self._last: Candidates | None = None

    @property
    def best(self) -> Candidates:
        """The best candidate so far, as the only one."""
        assert self._scorer.best is not None
        return self._scorer.best

    def project(self, actions: Tensor) -> Tensor:
        """Actions (k t a) that every guardrail on actions allows."""
        return self._scorer.project(actions)

    def score(self, actions: Tensor) -> Candidates:
        """Project and score one iteration's candidates (k t a)."""
        self._last = self._scorer(self.project(actions))
        self._trace.append(self.best.cost.item())
        return self._last

    def finish(self, shown: Candidates | None = None) -> Plan:
        """The best candidate of all iterations as a plan, with the last or the `shown` ones."""
        best, last = self.best, shown or self._last
        assert last is not None
        actions = best.actions[0]
        return Plan(
            actions=actions,
            states=best.states[0],
            cost=best.cost.item(),
            costs={name: cost.item() for name, cost in best.costs.items()},
            margin=best.margin.item(),
            candidates=last.detach(),
            warm_start=torch.cat([actions[1:], torch.zeros_like(actions[:1])]),
            trace=tuple(self._trace),
            model_calls=self._scorer.calls,
            model_steps=self._scorer.steps,
            seconds=time.perf_counter() - self._start,
        )


def start_from(
    warm_start: Tensor | None, *, horizon: int, action_dim: int, device: torch.device
) -> Tensor:
    """The first guess (t a): `warm_start`, or nothing done.

    Raises:
        ShapeError: the warm start is of another planner or another model.
    """
    if warm_start is None:
        return torch.zeros(horizon, action_dim, device=device)
    if warm_start.shape != (horizon, action_dim):
        raise ShapeError(
            f"warm_start must be t a = {(horizon, action_dim)}, got {tuple(warm_start.shape)}"
        )
    return warm_start.to(device)


def noise(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers, drawn where the generator lives."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
