"""How well numbers are read out: R² on held-out episodes, with its interval.

Knows only predictions and targets, not who predicted.
"""

from dataclasses import dataclass

import numpy as np

from worldmodel.evaluation.resampling import bootstrap


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

    def r2(drawn: np.ndarray) -> np.ndarray:
        errors, spreads = (drawn @ part for part in sums)  # r k each
        return (1 - errors / np.maximum(spreads, 1e-12)).mean(axis=1)

    return Readout(*bootstrap(r2, len(episodes), times=500, seed=seed), len(y))
