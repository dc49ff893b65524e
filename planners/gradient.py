"""Planning by gradient: follow the cost's slope through the model, from many starts at once."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .candidates import project
from .descent import Adam, Steepest, require_slopes, slopes, starts
from .planner import Plan, Planner, Search
from .problem import Problem


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

    @property
    def follows_slopes(self) -> bool:
        """It does."""
        return True

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
        require_slopes("Gradient", problem)
        search = Search(problem)
        begun = starts(
            problem, warm_start, generator, horizon=self.horizon, number=self.starts,
            init_std=self.init_std,
        )  # fmt: skip
        with torch.enable_grad():
            actions = project(problem, begun).detach().requires_grad_()
            self._descend(search, actions)
        with torch.no_grad():
            search.score(actions.detach())
        return search.finish()

    def _descend(self, search: Search, actions: Tensor) -> None:
        adam, steepest = Adam(actions.detach()), Steepest(actions.detach())
        scale = search.problem.units.scale
        for _ in range(self.iterations):
            scored = search.score(actions)
            slope = slopes(scored, [actions])
            if slope is None:  # nothing depends on the actions: nothing to follow
                return
            with torch.no_grad():
                (gradient,) = steepest.measured([scale * slope[0]], scored.safe)
                change = self.learning_rate * scale * adam.direction(gradient)
                actions.copy_(project(search.problem, actions - change))
