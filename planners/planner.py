"""Planners: their contract, the `Plan` that they return, and the search that they share.

A planner is a function of a `Problem`. Its randomness is a generator that the caller supplies, and
nothing is kept from one decision to the next but what the caller passes on.
"""

import time
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from .action_units import ActionUnits
from .candidates import Candidates, project, score
from .problem import Problem


@dataclass(frozen=True)
class Plan:
    """The actions to take, and how they were found."""

    actions: Tensor  # t a: action blocks, in the environment's units
    states: Tensor  # t d: predicted, after each block
    cost: float  # sum of the costs
    costs: dict[str, float]
    margin: float  # worst over guardrails and time; >= 0 is safe, +inf without guardrails
    candidates: Candidates  # those of the last iteration, to look at
    trace: tuple[float, ...]  # cost of the best candidate so far, after each iteration
    model_calls: int  # rollouts
    model_steps: int  # blocks rolled out, summed over candidates
    seconds: float  # wall clock
    units: ActionUnits  # that it was searched in
    # n (t + t) a: the elites that the planner hands on to its next decision, the best first, with
    # blocks after their ends. None of most planners.
    elites: Tensor | None = None

    def better_than(self, other: "Plan") -> bool:
        """True if it is safer or, where both are safe, costs less."""
        if self.safe and other.safe:
            return self.cost < other.cost
        return self.margin > other.margin

    @property
    def safe(self) -> bool:
        """True if the model predicts that every guardrail is kept."""
        return self.margin >= 0

    def warm_start(self, done: int = 1) -> Tensor:
        """The first guess (t a) for the next plan: what is left after `done` blocks.

        The blocks after that are in the middle of what can be done.
        """
        return torch.cat([self.actions[done:], self.units.centre.expand_as(self.actions[:done])])

    def handed_on(self, done: int = 1) -> Tensor:
        """What the next plan begins with: `warm_start` (t a), and the elites behind it (n t a).

        Of a planner that keeps no elites it is the warm start alone, t a.
        """
        first = self.warm_start(done)
        if self.elites is None:
            return first
        return torch.cat([first[None], self.elites[:, done : done + len(first)]])


class Planner(ABC):
    """Finds actions whose predicted states cost little and keep every guardrail."""

    @property
    def follows_slopes(self) -> bool:
        """True if it asks for the slope of a cost through the model; a simulator has none."""
        return False

    @abstractmethod
    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found. Where none is safe, the one that is least unsafe; see `Plan.safe`.

        Args:
            problem: What to plan.
            generator: All the randomness; the same state of it gives the same plan.
            warm_start: Actions (t a) to begin with, such as `Plan.warm_start` of the last plan; or
                several (n t a), such as `Plan.handed_on`, the first of which is the guess.
        """


class Search:
    """One planner's search: scores candidates, keeps the best, counts, and makes the plan."""

    def __init__(self, problem: Problem) -> None:
        self.problem = problem
        self._start = time.perf_counter()
        self._best: Candidates | None = None
        self._last: Candidates | None = None
        self._trace: list[float] = []
        self._steps = self._looks = 0

    @property
    def best(self) -> Candidates:
        """The best candidate so far, alone."""
        assert self._best is not None
        return self._best

    def score(self, actions: Tensor) -> Candidates:
        """Project and score one iteration's candidates (k t a)."""
        self._last = scored = score(self.problem, project(self.problem, actions))
        self._steps += actions.shape[0] * actions.shape[1]
        best = scored.best()
        if self._best is None or best.beats(self._best):
            self._best = best
        self._trace.append(self.best.cost.item())
        return scored

    def look(self, actions: Tensor) -> Candidates:
        """Project and score beginnings of plans (k t a), none of which is an answer."""
        self.count(actions.shape[0] * actions.shape[1])
        return score(self.problem, project(self.problem, actions))

    def count(self, steps: int) -> None:
        """Note that the model was asked for so many steps in another way, in one call."""
        self._steps += steps
        self._looks += 1

    def finish(self, shown: Candidates | None = None, *, elites: Tensor | None = None) -> Plan:
        """The best candidate of all iterations as a plan, with the last or the `shown` ones.

        `elites`: see `Plan`.
        """
        best, last = self.best, shown or self._last
        assert last is not None
        return Plan(
            actions=best.actions[0],
            states=best.states[0],
            cost=best.cost.item(),
            costs={name: cost.item() for name, cost in best.costs.items()},
            margin=best.margin.item(),
            candidates=last.detach(),
            trace=tuple(self._trace),
            model_calls=len(self._trace) + self._looks,
            model_steps=self._steps,
            seconds=time.perf_counter() - self._start,
            units=self.problem.units,
            elites=elites,
        )


def check_sampling(
    planner: str, *, horizon: int, iterations: int, candidates: int, elites: int
) -> None:
    """Refuse sizes with which nothing can be sampled and kept.

    Raises:
        ConfigError: naming the planner and what it needs.
    """
    if min(horizon, iterations) < 1 or not 2 <= elites < candidates:
        raise ConfigError(
            f"{planner} needs horizon >= 1, iterations >= 1 and 2 <= elites < candidates, got "
            f"{horizon}, {iterations}, {elites} and {candidates}"
        )


def first_guess(problem: Problem, warm_start: Tensor | None, *, horizon: int) -> Tensor:
    """The actions (t a) that a search begins with: `warm_start`, or the middle of the units.

    Raises:
        ShapeError: the warm start is of another planner or another model.
    """
    return beginnings(problem, warm_start, horizon=horizon)[0]


def beginnings(problem: Problem, warm_start: Tensor | None, *, horizon: int) -> Tensor:
    """All actions (n t a) that a search may begin with, the first guess first.

    Raises:
        ShapeError: the warm start is of another planner or another model.
    """
    shape, device = (horizon, problem.action_dim), problem.history.states.device
    if warm_start is None:
        return problem.units.centre.expand(1, *shape).clone()
    several = warm_start[None] if warm_start.ndim == 2 else warm_start
    if several.ndim != 3 or not len(several) or several.shape[1:] != shape:
        raise ShapeError(
            f"warm_start must be t a = {shape}, or several of them, got {tuple(warm_start.shape)}"
        )
    return several.to(device)


def noise(shape: tuple[int, ...], generator: torch.Generator, device: torch.device) -> Tensor:
    """Standard normal numbers, drawn where the generator lives."""
    return torch.randn(shape, generator=generator, device=generator.device).to(device)
