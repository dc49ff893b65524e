import numpy as np
import pytest
from scipy.stats import bootstrap as reference

from worldmodel.evaluation.resampling import bootstrap, grouped_rate_results, resampled_results
from worldmodel.evaluation.statistics import rate_results


def test_the_bootstrap_of_a_mean_is_that_of_scipy():
    values = np.random.default_rng(0).exponential(size=40)
    value, low, high = bootstrap(lambda drawn: drawn @ values / 40, 40, times=4000)
    assert value == pytest.approx(values.mean())
    expected = reference((values,), np.mean, method="percentile", n_resamples=4000, rng=1)
    width = high - low
    assert low == pytest.approx(expected.confidence_interval.low, abs=0.05 * width)
    assert high == pytest.approx(expected.confidence_interval.high, abs=0.05 * width)


def test_every_resample_draws_as_many_groups_as_there_are():
    asked = []
    bootstrap(lambda drawn: asked.append(drawn) or np.zeros(len(drawn)), 7, times=250)
    drawn = np.concatenate(asked[:-1])
    assert drawn.shape == (250, 7) and (drawn.sum(axis=1) == 7).all()
    assert drawn.mean(axis=0) == pytest.approx(1, abs=0.2)
    assert (asked[-1] == 1).all()


def test_a_rate_of_groups_of_one_is_wilsons():
    found = grouped_rate_results("x", [1, 0, 0.5, 1], ["a", "b", "c", "d"])
    assert found == rate_results("x", 2.5, 4)


def test_groups_may_differ_in_size():
    found = grouped_rate_results("x", [1, 1, 0, 1, 0], ["b", "b", "b", "a", "c"])
    assert found["x"] == 0.6 and found["x.n"] == 5
    assert (found["x.low"], found["x.high"]) == (0.0, 1.0)  # c or a alone may be drawn


def test_one_group_or_groups_that_agree_are_not_certain():
    assert (
        grouped_rate_results("x", [1, 0], ["a", "a"])["x.low"] == rate_results("x", 0.5, 1)["x.low"]
    )
    found = resampled_results("x", lambda drawn: np.ones(len(drawn)), 30, n=120)
    assert found == rate_results("x", 30, 30) | {"x.n": 120.0}


@pytest.mark.parametrize(("scenes", "rate", "alike"), [(20, 0.5, 0.6), (40, 0.8, 0.3)])
def test_intervals_cover_the_true_rate_of_pairs_that_are_not_independent(scenes, rate, alike):
    random, covered, naive = np.random.default_rng(1), [], []
    names = [f"{i // 2}" for i in range(2 * scenes)]
    for seed in range(300):
        right = random.random((scenes, 2)) < rate
        right[:, 1] = np.where(random.random(scenes) < alike, right[:, 0], right[:, 1])
        found = grouped_rate_results("x", right.ravel(), names, seed=seed)
        covered.append(found["x.low"] <= rate <= found["x.high"])
        single = rate_results("x", int(right.sum()), right.size)
        naive.append(single["x.low"] <= rate <= single["x.high"])
    assert 0.91 <= np.mean(covered) <= 0.98
    assert np.mean(naive) < np.mean(covered)
