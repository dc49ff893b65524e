"""The improved cross-entropy method: noise of many lengths, elites that are kept."""

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from .planner import Plan, Planner, Search, beginnings, check_sampling, noise
from .problem import Problem


class ICEM(Planner):
    """iCEM (Pinneri et al. 2020, arXiv:2008.06389): the cross-entropy method for few samples.

    Noise is coloured: its power falls with the frequency along the plan, so that candidates go far
    and jitter too. A share of the elites is scored again among the candidates of the next
    iteration, and each iteration samples fewer. The same share of the last iteration is handed on
    to the next decision (`Plan.handed_on`), without the blocks that were done and with as many at
    the end, which are drawn as the first candidates are. What is added is as in `CEM`.

    Args:
        horizon: Action blocks of a plan.
        candidates: Sampled in the first iteration.
        iterations: Times that candidates are sampled; one more rollout scores the final mean.
        elites: Candidates that the next mean and spread are computed from.
        init_std: Spread of the first candidates, in the units of `Problem`: half-widths of the
            action space.
        momentum: Share of the old mean and spread that is kept, in [0, 1).
        colour: Power of the noise is `frequency ** -colour`: 0 is white, 2 is a random walk.
        kept: Share of the elites that are kept, to the next iteration and to the next decision, in
            [0, 1].
        shrink: Each iteration samples so many times fewer, at least twice the elites.
    """

    def __init__(
        self,
        horizon: int = 6,
        *,
        candidates: int = 128,
        iterations: int = 4,
        elites: int = 16,
        init_std: float = 0.7,
        momentum: float = 0.1,
        colour: float = 2.0,
        kept: float = 0.3,
        shrink: float = 1.25,
    ) -> None:
        check_sampling(
            "ICEM", horizon=horizon, iterations=iterations, candidates=candidates, elites=elites
        )
        if init_std <= 0 or shrink < 1 or colour < 0 or not (0 <= momentum < 1 and 0 <= kept <= 1):
            raise ConfigError(
                "ICEM needs init_std > 0, shrink >= 1, colour >= 0, momentum in [0, 1) and kept in "
                f"[0, 1], got {init_std}, {shrink}, {colour}, {momentum} and {kept}"
            )
        self.horizon, self.candidates = horizon, candidates
        self.iterations, self.elites = iterations, elites
        self.init_std, self.momentum = init_std, momentum
        self.colour, self.kept, self.shrink = colour, kept, shrink

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
        mean, *handed_on = beginnings(problem, warm_start, horizon=self.horizon)
        std = (self.init_std * problem.units.scale).expand_as(mean)
        known = torch.stack([mean, torch.zeros_like(mean), *handed_on])
        for iteration in range(self.iterations):
            fewer = round(self.candidates / self.shrink**iteration)
            count = min(self.candidates, max(2 * self.elites, fewer))
            drawn = coloured((count, *mean.shape), self.colour, generator, mean.device)
            scored = search.score(torch.cat([known, mean + std * drawn]))
            elites = scored.actions[scored.rank()[: self.elites]]
            mean = torch.lerp(elites.mean(dim=0), mean, self.momentum)
            std = torch.lerp(elites.std(dim=0), std, self.momentum)
            kept = elites[: round(self.kept * self.elites)]
            known = torch.cat([mean[None], search.best.actions, kept])
        search.score(mean[None])
        return search.finish(shown=scored, elites=self._gone_on(kept, problem, generator))

    def _gone_on(
        self, elites: Tensor, problem: Problem, generator: torch.Generator
    ) -> Tensor | None:
        """Elites (n t a) with blocks after them, drawn as the first candidates are: n (t + t) a."""
        if not len(elites):
            return None
        shape, units = (len(elites), self.horizon, problem.action_dim), problem.units
        drawn = coloured(shape, self.colour, generator, elites.device)
        return torch.cat([elites, units.centre + self.init_std * units.scale * drawn], dim=1)


def coloured(
    shape: tuple[int, int, int], colour: float, generator: torch.Generator, device: torch.device
) -> Tensor:
    """Normal numbers (k t a) of variance one whose power falls as `frequency ** -colour` along t.

    Timmer and Koenig 1995: white noise is shaped in frequency, the mean of a sequence counting as
    the slowest.
    """
    white = noise(shape, generator, device)
    t = shape[1]
    if not colour or t == 1:
        return white
    frequencies = torch.fft.rfftfreq(t, device=device)
    frequencies[0] = frequencies[1]
    power = frequencies**-colour
    # Each frequency but the first and, of an even length, the last one counts twice.
    counts = torch.full_like(power, 2.0)
    counts[0] = 1
    if t % 2 == 0:
        counts[-1] = 1
    gain = (power * t / (counts * power).sum()).sqrt()[:, None]
    return torch.fft.irfft(torch.fft.rfft(white, dim=1) * gain, n=t, dim=1)
