"""How well numbers are read out: R² on held-out episodes, with its interval.

Knows only predictions and targets, not who predicted.
"""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Readout:
    """How well a target is read out of features.

    Attributes:
        r2: share of the variance explained on held-out episodes, the mean over its dimensions.
        low, high: 95 % interval, resampling held-out episodes.
        n: held-out time steps.
    """

    r2: float
    low: float
    high: float
    n: int

    def results(self, key: str) -> dict[str, float]:
        """The numbers as `metrics.json` keeps them."""
        return {key: self.r2, f"{key}.n": self.n, f"{key}.low": self.low, f"{key}.high": self.high}


def scored(predicted: np.ndarray, y: np.ndarray, groups: np.ndarray, *, seed: int = 0) -> Readout:
    """The share of the variance of targets that predictions explain.

    Args:
        predicted: n k.
        y: n k, the targets.
        groups: n, the episode of each row: what is resampled.
        seed: of the resampling.
    """
    error = (predicted.reshape(y.shape) - y) ** 2
    spread = (y - y.mean(axis=0)) ** 2
    episodes = np.unique(groups)
    sums = np.stack([[m[groups == e].sum(axis=0) for e in episodes] for m in (error, spread)])
    r2 = _r2(sums.sum(axis=1))
    draws = np.random.default_rng(seed).integers(len(episodes), size=(500, len(episodes)))
    resampled = [_r2(sums[:, draw].sum(axis=1)) for draw in draws]
    low, high = np.quantile(resampled, [0.025, 0.975])
    return Readout(r2, float(low), float(high), len(y))


def _r2(sums: np.ndarray) -> float:
    return float(np.mean(1 - sums[0] / np.maximum(sums[1], 1e-12)))
