"""The cross-entropy method over choices: how often each alternative is drawn."""

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ConfigError

from .planner import Plan, Planner, Search, beginnings, check_sampling
from .problem import Problem


class CategoricalCEM(Planner):
    """Cross-entropy method over actions that are choices (Rubinstein and Kroese 2004).

    Each choice of each block has probabilities of its own, which move towards how often the elites
    took each alternative. The answer is the best candidate ever scored; the most probable
    sequence is scored last.

    Args:
        horizon: Action blocks of a plan.
        candidates: Sampled in an iteration.
        iterations: Times that candidates are sampled.
        elites: Candidates that the next probabilities are computed from.
        momentum: Share of the old probabilities that is kept, in [0, 1).
        least: Share of the draws that are spread over all alternatives, so that none is ever lost.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        candidates: int = 128,
        iterations: int = 4,
        elites: int = 16,
        momentum: float = 0.1,
        least: float = 0.1,
    ) -> None:
        check_sampling(
            "CategoricalCEM",
            horizon=horizon,
            iterations=iterations,
            candidates=candidates,
            elites=elites,
        )
        if not (0 <= momentum < 1 and 0 <= least < 0.5):
            raise ConfigError(
                "CategoricalCEM needs momentum in [0, 1) and least in [0, 0.5), got "
                f"{momentum} and {least}"
            )
        self.horizon, self.candidates = horizon, candidates
        self.iterations, self.elites = iterations, elites
        self.momentum, self.least = momentum, least

    @torch.no_grad()
    def plan(
        self,
        problem: Problem,
        *,
        generator: torch.Generator,
        warm_start: Tensor | None = None,
    ) -> Plan:
        """The best plan found; see `Planner.plan`.

        Raises:
            ConfigError: actions are numbers.
        """
        counts = require_choices(problem, "CategoricalCEM")
        search, device = Search(problem), problem.history.states.device
        shares = [torch.full((self.horizon, n), 1 / n, device=device) for n in counts]
        known = torch.zeros(0, self.horizon, problem.action_dim, device=device)
        if warm_start is not None:
            known = beginnings(problem, warm_start, horizon=self.horizon)
        for _ in range(self.iterations):
            drawn = self._draw(shares, generator).to(device)
            scored = search.score(torch.cat([known, drawn]))
            elites = scored.actions[scored.rank()[: self.elites]]
            taken = elites.mean(dim=0).split(list(counts), dim=-1)
            shares = [
                self._above_least(torch.lerp(now, before, self.momentum))
                for now, before in zip(taken, shares, strict=True)
            ]
            known = search.best.actions
        likeliest = [F.one_hot(share.argmax(-1), share.shape[-1]) for share in shares]
        search.score(torch.cat(likeliest, dim=-1)[None].float())
        return search.finish(shown=scored)

    def _above_least(self, share: Tensor) -> Tensor:
        """The share (t n) mixed with an even one, so that none is below `least / n`."""
        return self.least / share.shape[-1] + (1 - self.least) * share

    def _draw(self, shares: list[Tensor], generator: torch.Generator) -> Tensor:
        """Candidates (k t a), each alternative as often as its share (t n) says."""
        chosen = []
        for share in shares:
            index = torch.multinomial(
                share.to(generator.device), self.candidates, replacement=True, generator=generator
            )
            chosen.append(F.one_hot(index.T, share.shape[-1]))
        return torch.cat(chosen, dim=-1).float()


def require_choices(problem: Problem, planner: str) -> tuple[int, ...]:
    """How many alternatives each choice of an action block has.

    Raises:
        ConfigError: actions are numbers.
    """
    if not problem.choices:
        raise ConfigError(
            f"{planner} chooses among alternatives, and this environment's actions are numbers; "
            "take planner=cem, icem, mppi or gradient"
        )
    return problem.choices
