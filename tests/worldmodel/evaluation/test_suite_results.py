"""Scores whose results are known."""

import numpy as np
import pytest

from worldmodel.evaluation.suite_results import ScoredClip, suite_results


def scene(name, scores, *, condition="occluded", what="permanence"):
    """Two pairs: possible and impossible in turn, by the mean of their scores."""
    return [
        ScoredClip(name, what, condition, i // 2, i % 2 == 0, np.array([0.0, 2 * score]))
        for i, score in enumerate(scores)
    ]


def test_pairs_are_counted_by_condition_and_property():
    clips = [*scene("a", (1, 2, 2, 1)), *scene("b", (1, 1, 1, 2)),
             *scene("a", (1, 2, 1, 2), condition="", what="shape")]  # fmt: skip
    results = suite_results(clips)
    assert results["occluded.permanence.pair_accuracy"] == pytest.approx(2.5 / 4)
    assert results["occluded.permanence.pair_accuracy.n"] == 4
    assert results["shape.pair_accuracy"] == 1
