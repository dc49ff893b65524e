import itertools
import math

import numpy as np
import pytest

from worldmodel.errors import ConfigError
from worldmodel.evaluation.statistics import auroc, mcnemar, rate_results, sign_flip_test, wilson


@pytest.mark.parametrize(
    ("successes", "n", "low", "high"),
    [
        # Newcombe, Statistics in Medicine 17 (1998), table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_equals_published_values(successes, n, low, high):
    interval = wilson(successes, n)
    assert interval.value == successes / n
    assert interval.low == pytest.approx(low, abs=5e-5)
    assert interval.high == pytest.approx(high, abs=5e-5)


def test_wilson_mirrors_and_stays_inside():
    for n in (1, 7, 100):
        for successes in range(n + 1):
            value, low, high = wilson(successes, n)
            mirrored = wilson(n - successes, n)
            assert 0 <= low <= value <= high <= 1
            assert low == pytest.approx(1 - mirrored.high)
    assert wilson(5, 5).high == 1.0
    assert wilson(0, 5).low == 0.0


def test_wilson_covers_the_true_rate():
    generator = np.random.default_rng(0)
    hits = generator.binomial(60, 0.9, size=2000)
    covered = [wilson(int(k), 60).low <= 0.9 <= wilson(int(k), 60).high for k in hits]
    assert 0.92 <= np.mean(covered) <= 0.98


def test_rate_results_has_the_four_names():
    results = rate_results("plan.success", 3, 4)
    assert set(results) == {"plan.success", "plan.success.n", "plan.success.low"} | {
        "plan.success.high"
    }
    assert results["plan.success"] == 0.75 and results["plan.success.n"] == 4


@pytest.mark.parametrize(("successes", "n"), [(1, 0), (-1, 3), (4, 3)])
def test_wilson_refuses_what_is_no_rate(successes, n):
    with pytest.raises(ConfigError, match="0 <= successes <= n"):
        wilson(successes, n)


def test_auroc_equals_the_count_of_pairs():
    generator = np.random.default_rng(1)
    negatives = generator.integers(0, 6, 40)
    positives = generator.integers(2, 8, 30)
    above = (positives[:, None] > negatives).mean() + (positives[:, None] == negatives).mean() / 2
    assert auroc(negatives, positives).value == pytest.approx(above)
    assert auroc(positives, negatives).value == pytest.approx(1 - above)


def test_auroc_interval_covers_the_true_value():
    # Two unit normals 1 apart: P(positive > negative) = Phi(1 / sqrt 2) = 0.7602.
    generator = np.random.default_rng(2)
    covered = []
    for _ in range(400):
        interval = auroc(generator.normal(size=60), generator.normal(1.0, size=60))
        covered.append(interval.low <= 0.7602 <= interval.high)
    assert 0.92 <= np.mean(covered) <= 0.98


def test_auroc_of_separated_scores_is_not_certain():
    value, low, high = auroc([0, 1, 2], [3, 4, 5])
    assert (value, high) == (1.0, 1.0) and 0.3 < low < 0.6
    assert auroc([3, 4, 5], [0, 1, 2]).value == 0.0


def test_auroc_refuses_too_few_scores():
    with pytest.raises(ConfigError, match="two finite scores"):
        auroc([1.0], [1.0, 2.0])
    with pytest.raises(ConfigError, match="two finite scores"):
        auroc([1.0, float("nan")], [1.0, 2.0])


def test_mcnemar_counts_the_tasks_that_one_alone_solves():
    first = [True] * 9 + [False] * 1 + [True] * 20 + [False] * 20
    second = [False] * 9 + [True] * 1 + [True] * 20 + [False] * 20
    expected = 2 * sum(math.comb(10, k) for k in (0, 1)) / 2**10
    assert mcnemar(first, second) == mcnemar(second, first) == pytest.approx(expected)
    assert mcnemar(first, first) == 1.0
    with pytest.raises(ConfigError, match="the same tasks, got 2 and 1"):
        mcnemar([True, False], [True])


@pytest.mark.parametrize(
    "differences", [[1, 1, 0.5, -1, 2], [0.5, -0.5, 1.5], [2, 2, 2, -1, 0, 0], [-3, 1, 1, 0.5, 0.5]]
)
def test_the_sign_flip_test_counts_every_choice_of_signs(differences):
    sums = [sum(sign * x for sign, x in zip(signs, differences, strict=True))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    expected = np.mean([abs(x) >= abs(sum(differences)) for x in sums])
    assert sign_flip_test(differences) == pytest.approx(expected)
    assert sign_flip_test([-x for x in differences]) == pytest.approx(expected)


def test_the_sign_flip_test_of_single_tasks_is_that_of_mcnemar():
    random = np.random.default_rng(0)
    for rate in (0.5, 0.7, 0.9):
        first, second = random.random((2, 300)) < np.array([[rate], [0.5]])
        differences = first.astype(float) - second
        expected = mcnemar(first.tolist(), second.tolist())
        assert sign_flip_test(differences) == pytest.approx(expected, rel=1e-9)
    assert sign_flip_test([]) == sign_flip_test([0, 0, 0]) == 1


def test_the_sign_flip_test_errs_no_more_often_than_it_says():
    random = np.random.default_rng(1)
    sizes = random.choice([0.5, 1, 2], size=(400, 15)) * random.choice([-1, 1], size=(400, 15))
    found = np.array([sign_flip_test(x) for x in sizes])
    assert np.mean(found <= 0.05) <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)
    assert np.mean(found <= 0.5) == pytest.approx(0.5, abs=0.12)


@pytest.mark.parametrize("differences", [[0.25], [1, float("nan")], [float("inf")]])
def test_the_sign_flip_test_refuses_what_it_cannot_count(differences):
    with pytest.raises(ConfigError, match="multiples of 0.5"):
        sign_flip_test(differences)
