"""Pair accuracy: how often the impossible clip of a matched pair is the more surprising one.

Knows scores only, not who gave them: the model and its baselines are compared by the same rule.
"""

import numpy as np

from worldmodel.evaluation.statistics import auroc, rate_results


def pair_results(name: str, possible: np.ndarray, impossible: np.ndarray) -> dict[str, float]:
    """Pair accuracy (a tie counts half) and AUROC of scores, with their intervals.

    As in Garrido et al. 2025 (arXiv:2502.11831), clips of a pair are compared by their mean
    surprise, single clips by their largest. `pair_accuracy_max` compares pairs by the largest too:
    there a pair ties when the largest came before the violation.

    Args:
        name: what the results' names begin with, such as `vanish.` or `vanish.pixel_`.
        possible: n t, scores of the possible clips.
        impossible: n t, scores of the impossible ones, in the same order.
    """
    means, largest = ([f(x, axis=1) for x in (possible, impossible)] for f in (np.mean, np.max))
    n, area, key = len(possible), auroc(*largest), f"{name}auroc"
    return {
        **rate_results(f"{name}pair_accuracy", pairs_right(*means), n),
        **rate_results(f"{name}pair_accuracy_max", pairs_right(*largest), n),
        key: area.value,
        f"{key}.n": float(n),
        f"{key}.low": area.low,
        f"{key}.high": area.high,
    }


def pairs_right(possible: np.ndarray, impossible: np.ndarray) -> float:
    """The number of pairs in which the impossible clip scores higher, a tie counting half."""
    return float(each_right(possible, impossible).sum())


def each_right(possible: np.ndarray, impossible: np.ndarray) -> np.ndarray:
    """Of each pair 1 where the impossible clip scores higher, a half where they tie, else 0.

    So a baseline that sees no difference is right half of the time, as by tossing a coin.
    """
    return (impossible > possible) + 0.5 * (impossible == possible)
