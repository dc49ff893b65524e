"""The cross-entropy method: sample, keep the best, sample around them."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .planner import Plan, Planner, Search, check_sampling, first_guess, noise
from .problem import Problem


class CEM(Planner):
    """Cross-entropy method over action blocks (Rubinstein and Kroese 2004).

    What is added: candidates are projected into the allowed actions before they are rolled out;
    elites are ranked safe first; the first iteration also tries the warm start and doing nothing,
    later ones the mean and the best so far; the answer is the best candidate ever scored, and the
    final mean is only one of them.

    Args:
        horizon: Action blocks of a plan.
        candidates: Sampled in an iteration.
        iterations: Times that candidates are sampled; one more rollout scores the final mean.
        elites: Candidates that the next mean and spread are computed from.
        init_std: Spread of the first candidates, in the units of `Problem`: half-widths of the
            action space.
        min_std: The spread never falls below this, in the same units.
        momentum: Share of the old mean and spread that is kept, in [0, 1).
        correlation: Between the noise of neighbouring blocks, in [0, 1): smooth candidates go far.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        candidates: int = 128,
        iterations: int = 4,
        elites: int = 16,
        init_std: float = 0.7,
        min_std: float = 0.0,
        momentum: float = 0.1,
        correlation: float = 0.3,
    ) -> None:
        check_sampling(
            "CEM", horizon=horizon, iterations=iterations, candidates=candidates, elites=elites
        )
        if init_std <= 0 or min_std < 0 or not (0 <= momentum < 1 and 0 <= correlation < 1):
            raise ConfigError(
                "CEM needs init_std > 0, min_std >= 0, momentum and correlation in [0, 1), got "
                f"{init_std}, {min_std}, {momentum} and {correlation}"
            )
        self.horizon, self.candidates = horizon, candidates
        self.iterations, self.elites = iterations, elites
        self.init_std, self.min_std = init_std, min_std
        self.momentum, self.correlation = momentum, correlation

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
        scale = problem.units.scale
        std = (self.init_std * scale).expand_as(mean)
        known = torch.stack([mean, torch.zeros_like(mean)])
        for _ in range(self.iterations):
            sampled = mean + std * self._noise(problem.action_dim, generator, mean.device)
            scored = search.score(torch.cat([known, sampled]))
            elites = scored.actions[scored.rank()[: self.elites]]
            mean = torch.lerp(elites.mean(dim=0), mean, self.momentum)
            std = torch.lerp(elites.std(dim=0), std, self.momentum)
            std = torch.maximum(std, self.min_std * scale)
            known = torch.stack([mean, search.best.actions[0]])
        search.score(mean[None])
        return search.finish(shown=scored)

    def _noise(self, action_dim: int, generator: torch.Generator, device: torch.device) -> Tensor:
        """Standard normal numbers (k t a), correlated along t as a first-order process."""
        fresh = noise((self.candidates, self.horizon, action_dim), generator, device)
        if not self.correlation:
            return fresh
        blocks = [fresh[:, 0]]
        for t in range(1, self.horizon):
            innovation = (1 - self.correlation**2) ** 0.5 * fresh[:, t]
            blocks.append(self.correlation * blocks[-1] + innovation)
        return torch.stack(blocks, dim=1)
