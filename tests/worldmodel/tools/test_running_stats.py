"""Statistics in parts are those of the whole."""

import numpy as np
import pytest

from worldmodel.tools.conversion.running_stats import RunningStats


@pytest.mark.parametrize("cuts", [[], [1], [7, 8, 60]])
def test_parts_give_what_the_whole_gives(cuts):
    rows = np.random.default_rng(0).normal([0.0, 1e6, -3.0], [1.0, 1e-2, 9.0], (100, 3))
    running = RunningStats()
    for part in np.split(rows, cuts):
        running.add(part)
    stats = running.statistics()
    assert stats["count"] == [100]
    for key, wanted in (("min", rows.min(0)), ("max", rows.max(0)), ("mean", rows.mean(0))):
        assert np.allclose(stats[key], wanted, rtol=1e-12)
    assert np.allclose(stats["std"], rows.std(0), rtol=1e-6)
