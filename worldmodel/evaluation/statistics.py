"""How far a measured rate can be trusted: intervals for few samples.

Knows nothing of what was measured.
"""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from scipy.stats import binomtest, norm, rankdata

from worldmodel.errors import ConfigError


class Interval(NamedTuple):
    """An estimate with the bounds of its confidence interval."""

    value: float
    low: float
    high: float


_Z = float(norm.ppf(0.5 + 0.95 / 2))  # of intervals of 95 %


def wilson(successes: float, n: int) -> Interval:
    """A rate with its 95 % score interval (Wilson 1927, without continuity correction).

    Unlike the interval of the normal approximation it stays inside [0, 1] and says something at
    0 and n successes too.
    """
    if not (n >= 1 and 0 <= successes <= n):
        raise ConfigError(f"wilson needs 0 <= successes <= n and n >= 1, got {successes} of {n}")
    z = _Z
    rate = successes / n
    centre = (rate + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(rate * (1 - rate) / n + z**2 / (4 * n**2))
    # The bounds are exactly 0 and 1 there; rounding must not say otherwise.
    low = 0.0 if successes == 0 else max(0.0, centre - half)
    high = 1.0 if successes == n else min(1.0, centre + half)
    return Interval(rate, low, high)


def rate_results(name: str, successes: float, n: int) -> dict[str, float]:
    """A rate as `metrics.json` keeps it: `name`, `name.n`, `name.low`, `name.high` (95 %)."""
    value, low, high = wilson(successes, n)
    return {name: value, f"{name}.n": float(n), f"{name}.low": low, f"{name}.high": high}


def mcnemar(first: Sequence[bool], second: Sequence[bool]) -> float:
    """How likely a difference at least as large is, if both succeed equally often; two-sided.

    The exact test of McNemar (1947), of what two do on the same tasks: only those count in which
    one succeeds and the other does not.

    Raises:
        ConfigError: they are not of the same tasks.
    """
    if len(first) != len(second):
        raise ConfigError(f"mcnemar compares the same tasks, got {len(first)} and {len(second)}")
    pairs = list(zip(first, second, strict=True))
    alone = [sum(a and not b for a, b in pairs), sum(b and not a for a, b in pairs)]
    return float(binomtest(alone[0], sum(alone)).pvalue) if any(alone) else 1.0


def sign_flip_test(differences: Sequence[float] | np.ndarray) -> float:
    """How likely a sum at least as far from 0 is, if signs were tosses of a coin.

    The exact permutation test of Fisher (1935) for what two did on the same independent tasks. All
    sums are counted, by convolution, so the differences are multiples of a half. Where they are
    -1, 0 and 1 it is the test of McNemar.

    Raises:
        ConfigError: a difference is no multiple of a half.
    """
    steps = 2 * np.asarray(differences, dtype=np.float64).ravel()
    if not (np.isfinite(steps).all() and (steps == np.round(steps)).all()):
        raise ConfigError("sign_flip_test counts in halves: differences must be multiples of 0.5")
    sizes, observed = np.abs(steps).astype(int), abs(int(steps.sum()))
    chances = np.ones(1)  # of the sums -k, -k + 1, ..., k of the steps so far
    for size in sizes:
        grown = np.zeros(len(chances) + 2 * size)
        grown[: len(chances)] += chances / 2
        grown[2 * size :] += chances / 2
        chances = grown
    sums = np.arange(len(chances)) - len(chances) // 2
    return min(1.0, float(chances[np.abs(sums) >= observed].sum()))


def auroc(
    negatives: Sequence[float] | np.ndarray, positives: Sequence[float] | np.ndarray
) -> Interval:
    """How often a positive scores above a negative (ties count half), with its 95 % interval.

    The variance is that of DeLong, DeLong and Clarke-Pearson (1988); the interval is built on the
    logit scale, so that it stays inside [0, 1]. At 0 and 1, where that variance vanishes, the
    open side is the Wilson bound of the smaller sample.
    """
    negative, positive = (np.asarray(x, dtype=np.float64).ravel() for x in (negatives, positives))
    if min(len(negative), len(positive)) < 2 or not (
        np.isfinite(negative).all() and np.isfinite(positive).all()
    ):
        raise ConfigError(
            "auroc needs at least two finite scores of each kind, "
            f"got {len(negative)} negatives and {len(positive)} positives"
        )
    m, n = len(positive), len(negative)
    ranks = rankdata(np.concatenate([positive, negative]))
    # Each one's share of the other kind that it beats.
    of_positives = (ranks[:m] - rankdata(positive)) / n
    of_negatives = 1 - (ranks[m:] - rankdata(negative)) / m
    value = float(of_positives.mean())
    if value in (0.0, 1.0):
        bound = wilson(min(m, n) if value else 0, min(m, n))
        return Interval(value, bound.low, bound.high)
    deviation = math.sqrt(of_positives.var(ddof=1) / m + of_negatives.var(ddof=1) / n)
    logit = math.log(value / (1 - value))
    half = _Z * deviation / (value * (1 - value))
    return Interval(value, _sigmoid(logit - half), _sigmoid(logit + half))


def _sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x)) if x > -700 else 0.0
