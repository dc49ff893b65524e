"""Mean, spread and bounds of rows that come in parts, none of which is kept."""

from typing import Any

import numpy as np


class RunningStats:
    """Statistics of rows n k, as LeRobot states them.

    Parts are joined by the pairwise update of Chan, Golub and LeVeque (1979), which loses no
    digits where a plain sum of squares does.
    """

    def __init__(self) -> None:
        self.count = 0
        self._mean = self._squares = np.zeros(())  # k; squares: of the differences to the mean
        self._low, self._high = np.array(np.inf), np.array(-np.inf)

    def add(self, rows: np.ndarray) -> None:
        """Take a part in: n k, float64, at least one row."""
        mean, count = rows.mean(axis=0), self.count + len(rows)
        gap = mean - self._mean
        self._squares = (
            self._squares + rows.var(axis=0) * len(rows) + gap**2 * (self.count * len(rows) / count)
        )
        self._mean = self._mean + gap * (len(rows) / count)
        self._low = np.minimum(self._low, rows.min(axis=0))
        self._high = np.maximum(self._high, rows.max(axis=0))
        self.count = count

    def statistics(self) -> dict[str, Any]:
        """`min`, `max`, `mean` and `std` of each column, and the `count` of rows."""
        std = np.sqrt(self._squares / max(self.count, 1))
        return {
            "min": self._low.tolist(), "max": self._high.tolist(), "mean": self._mean.tolist(),
            "std": std.tolist(), "count": [self.count],
        }  # fmt: skip
