"""Model predictive path integral control: all candidates count, the better the more."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .candidates import Candidates
from .planner import Plan, Planner, Search, first_guess, noise
from .problem import Problem


class MPPI(Planner):
    """MPPI (Williams et al. 2017, arXiv:1707.02342), repeated from a narrower spread.

    The next mean is that of all candidates, weighted by the exponential of how little they cost.
    Only safe candidates count where there are any, otherwise the least unsafe one does. The answer
    is the best candidate ever scored, of which the final mean is one.

    Args:
        horizon: Action blocks of a plan.
        candidates: Sampled in an iteration.
        iterations: Times that candidates are sampled; one more rollout scores the final mean.
        init_std: Spread of the first candidates, in the units of `Problem`: half-widths of the
            action space.
        narrowing: Factor of the spread from one iteration to the next, in (0, 1].
        temperature: Of the weights, in deviations of the candidates' costs: lower is greedier.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        candidates: int = 128,
        iterations: int = 4,
        init_std: float = 0.7,
        narrowing: float = 0.7,
        temperature: float = 0.3,
    ) -> None:
        if min(horizon, iterations) < 1 or candidates < 2:
            raise ConfigError(
                "MPPI needs horizon >= 1, iterations >= 1 and candidates >= 2, got "
                f"{horizon}, {iterations} and {candidates}"
            )
        if min(init_std, temperature) <= 0 or not 0 < narrowing <= 1:
            raise ConfigError(
                "MPPI needs init_std > 0, temperature > 0 and narrowing in (0, 1], got "
                f"{init_std}, {temperature} and {narrowing}"
            )
        self.horizon, self.candidates, self.iterations = horizon, candidates, iterations
        self.init_std, self.narrowing, self.temperature = init_std, narrowing, temperature

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`."""
        search = Search(problem)
        mean = first_guess(problem, warm_start, horizon=self.horizon)
        std = self.init_std * problem.units.scale
        known = torch.stack([mean, torch.zeros_like(mean)])
        for _ in range(self.iterations):
            drawn = noise((self.candidates, *mean.shape), generator, mean.device)
            scored = search.score(torch.cat([known, mean + std * drawn]))
            mean = torch.einsum("k,kta->ta", self._weights(scored), scored.actions)
            std = self.narrowing * std
            known = torch.stack([mean, search.best.actions[0]])
        search.score(mean[None])
        return search.finish(shown=scored)

    def _weights(self, scored: Candidates) -> Tensor:
        """How much each candidate counts (k), in all 1."""
        counted = scored.safe & scored.cost.isfinite()
        if not counted.any():
            best = torch.zeros_like(scored.cost)
            best[scored.rank()[0]] = 1
            return best
        costs = scored.cost.masked_fill(~counted, float("inf"))
        spread = scored.cost[counted].std(correction=0).clamp_min(1e-12)
        return torch.softmax(-(costs - costs.min()) / (self.temperature * spread), dim=0)
