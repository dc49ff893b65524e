"""What the scores of a suite of matched clips come to.

Knows scores, and which clip is of which scene; not who gave them: the model and its baselines are
compared by the same rule.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.evaluation.pairs import pairs_right
from worldmodel.evaluation.statistics import rate_results


@dataclass(frozen=True)
class ScoredClip:
    """A clip of a suite, and how surprising each step of it was.

    Attributes:
        scene: its clips are matched with one another, and are not independent.
        property: what is violated in the impossible ones, such as `permanence`.
        condition: `visible`, `occluded`, or `control` where both clips of a pair are possible;
            empty where a suite does not tell.
        pair: clips of a scene with the same number are compared: one of them is possible. Of a
            control, the one that is not `possible` stands for the impossible one.
        possible: whether it can happen.
        scores: t, of each step.
    """

    scene: str
    property: str
    condition: str
    pair: int
    possible: bool
    scores: np.ndarray


def suite_results(clips: Sequence[ScoredClip]) -> dict[str, float]:
    """Pair accuracy by condition and property, as `occluded.permanence.pair_accuracy`.

    Clips of a pair are compared by their mean, as in Garrido et al. 2025 (arXiv:2502.11831).
    """
    results: dict[str, float] = {}
    for condition, what in dict.fromkeys((clip.condition, clip.property) for clip in clips):
        found = [c for c in clips if (c.condition, c.property) == (condition, what)]
        key = ".".join(word for word in (condition, what) if word)
        means = {(c.scene, c.pair, c.possible): float(c.scores.mean()) for c in found}
        pairs = [(scene, pair) for scene, pair, possible in means if possible]
        both = (np.array([means[*one, kind] for one in pairs]) for kind in (True, False))
        results |= rate_results(f"{key}.pair_accuracy", pairs_right(*both), len(pairs))
    return results
