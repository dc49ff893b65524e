"""One planner after another: the second begins with what the first has found."""

from dataclasses import replace

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .planner import Plan, Planner
from .problem import Problem


class Refined(Planner):
    """The better of a plan and of what a second planner makes of it, such as CEM, then gradient.

    Args:
        first: Searches widely.
        second: Begins with the first one's plan; of the same horizon.

    Raises:
        ConfigError: the horizons differ.
    """

    def __init__(self, first: Planner, second: Planner) -> None:
        horizons = [getattr(planner, "horizon", None) for planner in (first, second)]
        if None not in horizons and horizons[0] != horizons[1]:
            raise ConfigError(
                "Refined hands the first planner's plan to the second, so both are of one horizon; "
                f"got first.horizon={horizons[0]} and second.horizon={horizons[1]}"
            )
        self.first, self.second = first, second

    @property
    def follows_slopes(self) -> bool:
        """True if one of the two does."""
        return self.first.follows_slopes or self.second.follows_slopes

    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`."""
        found = self.first.plan(problem, generator=generator, warm_start=warm_start)
        refined = self.second.plan(problem, generator=generator, warm_start=found.actions)
        return replace(
            refined if refined.better_than(found) else found,
            candidates=refined.candidates,
            trace=(*found.trace, *(min(cost, found.trace[-1]) for cost in refined.trace)),
            model_calls=found.model_calls + refined.model_calls,
            model_steps=found.model_steps + refined.model_steps,
            seconds=found.seconds + refined.seconds,
            elites=found.elites,  # the first one begins the next decision
        )
