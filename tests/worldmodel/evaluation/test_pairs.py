import numpy as np
import pytest

from worldmodel.evaluation.pairs import pair_results, pairs_right


def test_a_tie_counts_half():
    possible = np.array([1.0, 2.0, 3.0, 4.0])
    assert pairs_right(possible, np.array([2.0, 2.0, 1.0, 5.0])) == 2.5
    assert pairs_right(possible, possible) == 2.0


def test_pairs_are_compared_by_their_mean_and_by_their_largest():
    # The largest score of the second pair comes before its violation, so that pair ties.
    possible = np.array([[0.0, 0.0, 0.0], [9.0, 0.0, 0.0], [5.0, 5.0, 5.0]])
    impossible = np.array([[0.0, 3.0, 0.0], [9.0, 3.0, 0.0], [6.0, 0.0, 0.0]])
    results = pair_results("vanish.pixel_", possible, impossible)
    assert results["vanish.pixel_pair_accuracy"] == pytest.approx(2 / 3)
    assert results["vanish.pixel_pair_accuracy_max"] == pytest.approx(2.5 / 3)
    assert results["vanish.pixel_pair_accuracy.n"] == 3
    # Of nine comparisons of 3, 9, 6 with 0, 9, 5: five are won, one ties.
    assert results["vanish.pixel_auroc"] == pytest.approx(5.5 / 9)
    assert results["vanish.pixel_auroc.low"] < 5.5 / 9 < results["vanish.pixel_auroc.high"]
