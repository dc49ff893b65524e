"""The arithmetic of split conformal prediction: which of n scores is a threshold that keeps a rate.

With the k-th largest of n scores as threshold, a new one that is exchangeable with them lies above
it with probability at most k / (n + 1); with the k-th smallest, below it (Vovk et al. 2005; Lei et
al. 2018). Knows nothing of what was scored.
"""

import math

from worldmodel.errors import ConfigError

ROUNDING = 1e-9  # a rate of 0.29 of 100 is 29, though their product is a little less


def check_rate(name: str, rate: float) -> None:
    """Refuse what is no rate that a threshold can keep.

    Raises:
        ConfigError: it is not between 0 and 1.
    """
    if not 0 < rate < 1:
        raise ConfigError(f"{name} must lie between 0 and 1, got {rate:g}")


def threshold_rank(rate: float, n: int) -> int:
    """The largest k for which k / (n + 1) is at most `rate`; 0 where n are too few for the rate."""
    return math.floor(rate * (n + 1) + ROUNDING)


def fewest_scores(rate: float) -> int:
    """How many scores a rate needs, so that there is such a k."""
    return math.ceil(1 / rate - ROUNDING) - 1
