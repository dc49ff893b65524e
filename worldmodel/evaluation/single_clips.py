"""How well the scores of single clips tell impossible ones from possible ones, over scenes.

Clips of a scene are not independent: every measure takes how often each scene counts, so that
scenes can be resampled (`resampling.bootstrap`). Knows scores, not who gave them.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from worldmodel.evaluation.conformal import ROUNDING


@dataclass(frozen=True)
class SingleClips:
    """A score for each clip; each scene has clips of both kinds.

    The measures take `weights` (r g): how often each of the g scenes counts, r times over. They
    give r numbers.

    Attributes:
        scores: n, finite.
        impossible: n, bool.
        scenes: n, numbers of scenes from 0 to g - 1.
    """

    scores: np.ndarray
    impossible: np.ndarray
    scenes: np.ndarray

    def auroc(self, weights: np.ndarray) -> np.ndarray:
        """How often an impossible clip scores above a possible one, ties counting half."""
        impossible, possible = self._at_levels(weights)
        below = possible.sum(axis=1, keepdims=True) - possible.cumsum(axis=1)
        won = (impossible * (below + possible / 2)).sum(axis=1)
        return won / (impossible.sum(axis=1) * possible.sum(axis=1))

    def auprc(self, weights: np.ndarray) -> np.ndarray:
        """Average precision, without interpolation; scores that tie are one threshold.

        Guessing gives the share of impossible clips.
        """
        impossible, possible = self._at_levels(weights)
        found = impossible.cumsum(axis=1)
        flagged = found + possible.cumsum(axis=1)
        # Nothing is flagged yet where the highest scores are of scenes that do not count.
        precision = found / np.where(flagged > 0, flagged, 1)
        return (impossible * precision).sum(axis=1) / impossible.sum(axis=1)

    def accuracy(self, weights: np.ndarray, *, false_alarms: float) -> np.ndarray:
        """The share of clips judged right by thresholds that other scenes' possible clips set.

        A clip is called impossible where (1 + e) / g is at most the rate: g is the number of
        scenes, and e sums, over the *other* scenes, the shares of their possible clips that score
        as high. If scenes are exchangeable, at most that share of possible clips is called
        impossible, however alike the clips of a scene are (conformal risk control, Angelopoulos et
        al. 2024). With one possible clip a scene it is the split conformal threshold. The scene
        that is judged never sets its own.

        Resampled scenes set thresholds of their own, so an interval knows how uncertain those are:
        in simulations it held the expected accuracy in .89 to .99 of the cases from twenty scenes
        on, in .84 to .95 with ten or twelve; with the thresholds kept it was .64 to .86.
        """
        alarms, counted = self.alarms(weights, rate=false_alarms), weights[:, self.scenes]
        return (counted * (alarms == self.impossible)).sum(axis=1) / counted.sum(axis=1)

    def alarms(self, weights: np.ndarray, *, rate: float) -> np.ndarray:
        """Which clips are called impossible at that rate of false alarms, r n (see `accuracy`)."""
        as_high = self._sum_levels(weights, self._shares).cumsum(axis=1)[:, self._levels]
        counted, scenes = weights[:, self.scenes], weights.shape[1]
        others = np.maximum(weights.sum(axis=1, keepdims=True) - counted, 1)
        # A scene that was drawn twice is left out twice; the others stand for as many as there are.
        expected = (scenes - 1) * (as_high - counted * self._own) / others
        return 1 + expected <= rate * scenes + ROUNDING

    @cached_property
    def _shares(self) -> np.ndarray:
        """The share of its scene's possible clips that each of them is; 0 of the others."""
        return ~self.impossible / np.bincount(self.scenes, ~self.impossible)[self.scenes]

    @cached_property
    def _own(self) -> np.ndarray:
        """The share of the possible clips of a clip's own scene that score as high as it."""
        each = zip(self.scenes, self.scores, strict=True)
        return np.array(
            [self._shares[(self.scenes == s) & (self.scores >= score)].sum() for s, score in each]
        )

    @cached_property
    def _levels(self) -> np.ndarray:
        """The rank of each score, the highest first; equal scores share one."""
        return np.unique(-self.scores, return_inverse=True)[1]

    def _at_levels(self, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How many impossible and how many possible clips have each score, r l each."""
        return (
            self._sum_levels(weights, self.impossible),
            self._sum_levels(weights, ~self.impossible),
        )

    def _sum_levels(self, weights: np.ndarray, clips: np.ndarray) -> np.ndarray:
        order = np.argsort(self._levels, kind="stable")
        starts = np.flatnonzero(np.diff(self._levels[order], prepend=-1))
        counted = weights[:, self.scenes[order]] * clips[order]
        return np.add.reduceat(counted, starts, axis=1)
