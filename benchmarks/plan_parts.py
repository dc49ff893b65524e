"""The four parts of a decision, timed apart: encode, rollout, cost, update."""

import time
from collections.abc import Callable
from typing import Any

from torch import Generator, Tensor

from benchmarks.measure import synchronize
from benchmarks.table import Row
from worldmodel.planners import Cost, Planner, Problem
from worldmodel.types import History

PARTS = ("encode", "rollout", "cost", "update")


class Clock:
    """Adds up the seconds of what is called through it, by name.

    Args:
        device: Where the work is done; a GPU is waited for before and after each call.
    """

    def __init__(self, device: str) -> None:
        self.device = device
        self.seconds: dict[str, float] = {}

    def timed(self, name: str, function: Callable[..., Any], *arguments: Any) -> Any:
        """What the function returns; its time is added to that of `name`."""
        synchronize(self.device)
        start = time.perf_counter()
        result = function(*arguments)
        synchronize(self.device)
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
        return result


class TimedModel:
    """A model whose rollouts are timed; all else that a planner asks is the model's own."""

    def __init__(self, model: Any, clock: Clock) -> None:
        self.model, self.clock = model, clock

    def rollout(self, history: History, actions: Tensor) -> Tensor:
        """As the model does."""
        rolled: Tensor = self.clock.timed("rollout", self.model.rollout, history, actions)
        return rolled

    def __getattr__(self, name: str) -> Any:
        return getattr(self.model, name)


class TimedCost(Cost):
    """A cost whose time is counted."""

    def __init__(self, cost: Cost, clock: Clock) -> None:
        self.cost, self.clock = cost, clock

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """As the cost itself."""
        found: Tensor = self.clock.timed("cost", self.cost, states, actions)
        return found


def rows(
    name: str,
    planner: Planner,
    problem: Problem,
    encode: Callable[[], object],
    *,
    repeats: int,
    device: str,
) -> list[Row]:
    """The median milliseconds of each part, of so many decisions after one that warms up."""
    decisions = [decision(planner, problem, encode, device=device) for _ in range(repeats + 1)][1:]
    return [
        Row.median(f"{name}.{part}_ms", [1e3 * each[part] for each in decisions]) for part in PARTS
    ]


def decision(
    planner: Planner, problem: Problem, encode: Callable[[], object], *, device: str
) -> dict[str, float]:
    """Seconds of each part of one decision from a frame.

    `rollout` and `cost` are what the planner has the model and the costs do; `update` is all else:
    drawing candidates, guardrails, ranking, the step of the search, and, where a planner follows
    slopes, the way back through model and costs.

    Args:
        planner: Decides.
        problem: What it is asked.
        encode: Makes a state of a frame.
        device: Where all of it is done.
    """
    clock = Clock(device)
    clock.timed("encode", encode)
    timed = Problem(
        TimedModel(problem.model, clock),
        problem.history,
        costs=[TimedCost(cost, clock) for cost in problem.costs],
        guardrails=problem.guardrails,
    )
    generator = Generator(device).manual_seed(0)
    clock.timed("plan", lambda: planner.plan(timed, generator=generator))
    seconds = clock.seconds
    seconds["update"] = seconds["plan"] - seconds["rollout"] - seconds["cost"]
    return {part: seconds[part] for part in PARTS}
