"""Scores whose results are known."""

import itertools

import numpy as np
import pytest

from worldmodel.errors import ConfigError
from worldmodel.evaluation.resampling import bootstrap
from worldmodel.evaluation.statistics import mcnemar, wilson
from worldmodel.evaluation.suite_results import ScoredClip, compared, suite_results


def scene(name, scores, *, condition="occluded", what="permanence"):
    """Pairs: possible and impossible in turn, by the mean of their scores."""
    return [
        ScoredClip(name, what, condition, i // 2, i % 2 == 0, np.array([0.0, 2 * score]))
        for i, score in enumerate(scores)
    ]


def pairs_by_scene(right, **words):
    """Scenes of as many pairs as each has numbers: 1 where a pair is right, 0.5 where it ties."""
    return [
        clip
        for i, pairs in enumerate(right)
        for clip in scene(f"s{i}", [x for one in pairs for x in (1, 0.5 + one)], **words)
    ]


def interval(results, key):
    return tuple(results[f"{key}{end}"] for end in ("", ".low", ".high"))


def test_pairs_are_counted_by_condition_and_property():
    clips = [*scene("a", (1, 2, 2, 1)), *scene("b", (1, 1, 1, 2)),
             *scene("a", (1, 2, 1, 2), condition="", what="shape")]  # fmt: skip
    results = suite_results(clips)
    assert results["occluded.permanence.pair_accuracy"] == pytest.approx(2.5 / 4)
    assert results["occluded.permanence.pair_accuracy.n"] == 4
    assert results["shape.pair_accuracy"] == 1


def test_quadruplets_cancel_how_hard_the_frames_are():
    # An object that reappears is harder to predict than an empty floor, whether it may or not.
    results = suite_results([*scene("a", (1, 4, 3, 2)), *scene("b", (5, 3, 1, 4))])
    assert results["occluded.permanence.pair_accuracy"] == 0.5
    assert results["occluded.permanence.quad_accuracy"] == 1
    assert results["occluded.permanence.quad_accuracy.n"] == 2
    assert interval(results, "occluded.permanence.quad_accuracy") == wilson(2, 2)


def test_means_and_maxima_are_told_apart():
    def clip(possible, pair, scores):
        return ScoredClip("a", "shape", "", pair, possible, np.array(scores))

    clips = [clip(True, 0, [0, 9.0, 0]), clip(False, 0, [4, 4, 4.0]),
             clip(True, 1, [1, 1, 1.0]), clip(False, 1, [0, 2.5, 0])]  # fmt: skip
    results = suite_results(clips)
    assert results["shape.pair_accuracy"] == 0.5  # 3 < 4, 1 > 2.5 / 3
    assert results["shape.pair_accuracy_max"] == 0.5  # 9 > 4, 1 < 2.5
    assert results["shape.quad_accuracy"] == 1  # 4 < 4 + 2.5 / 3
    assert results["shape.quad_accuracy_max"] == 0  # 10 > 6.5
    # Maxima of the impossible ones, 4 and 2.5, against 9 and 1.
    assert results["shape.auroc"] == 0.5
    assert results["shape.auprc"] == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert results["shape.auroc.n"] == results["shape.auprc.n"] == 4


def test_spliced_clips_of_the_same_frames_tie():
    random, clips = np.random.default_rng(0), []
    for i in range(200):
        a, b, c, d = random.random((4, 7))
        spliced = [np.concatenate(x) for x in ((a, b), (a, d), (c, d), (c, b))]
        clips += [ScoredClip(f"{i}", "x", "", j // 2, j % 2 == 0, s) for j, s in enumerate(spliced)]
    # By `.mean()` half of them would be decided by rounding.
    results = suite_results(clips)
    assert results["x.quad_accuracy"] == 0.5
    sums = np.array([c.scores.mean() for c in clips]).reshape(200, 2, 2).sum(axis=1)
    assert (sums[:, 0] != sums[:, 1]).any()


def test_scenes_of_one_pair_have_wilsons_interval_and_no_quadruplets():
    results = suite_results(pairs_by_scene([[1]] * 7 + [[0]] * 3 + [[0.5]] * 2))
    assert interval(results, "occluded.permanence.pair_accuracy") == wilson(8, 12)
    assert not [key for key in results if "quad" in key]


def test_pairs_of_a_scene_are_not_counted_as_independent():
    right = np.array([1] * 14 + [0] * 6)
    alike = suite_results(pairs_by_scene([[x, x] for x in right]), seed=3)
    alone = bootstrap(lambda drawn: drawn @ right / 20, 20, seed=3)
    found = interval(alike, "occluded.permanence.pair_accuracy")
    assert found == pytest.approx(alone)
    assert found[2] - found[1] > 1.2 * (wilson(28, 40).high - wilson(28, 40).low)


def test_where_all_scenes_agree_each_is_one_trial():
    for right, successes in (([1, 1], 9), ([0, 0], 0), ([1, 0], 4.5)):
        results = suite_results(pairs_by_scene([right] * 9))
        assert interval(results, "occluded.permanence.pair_accuracy") == wilson(successes, 9)
        assert results["occluded.permanence.pair_accuracy.n"] == 18


def test_a_condition_is_counted_over_its_properties():
    clips = [*scene("a", (1, 2, 1, 2), condition="control"),
             *scene("b", (2, 1, 2, 1), condition="control", what="shape"),
             *scene("c", (1, 2, 1, 2), condition="control", what="shape"),
             *scene("a", (1, 2, 1, 2))]  # fmt: skip
    results = suite_results(clips)
    assert results["control.pair_accuracy"] == pytest.approx(4 / 6)
    assert results["control.pair_accuracy.n"] == 6
    assert results["control.quad_accuracy.n"] == 3
    assert results["control.shape.pair_accuracy"] == 0.5
    assert results["occluded.pair_accuracy"] == results["occluded.permanence.pair_accuracy"] == 1


def test_a_suite_without_conditions_has_totals_without_a_name():
    clips = [*scene("a", (1, 2), condition=""), *scene("b", (2, 1), condition="", what="shape")]
    assert suite_results(clips)["pair_accuracy"] == 0.5


def test_a_property_named_like_a_condition_is_refused():
    clips = [*scene("a", (1, 2)), *scene("b", (1, 2), condition="", what="occluded")]
    with pytest.raises(ConfigError, match="a property occluded and a condition occluded"):
        suite_results(clips)


def test_accuracy_at_false_alarms_takes_enough_scenes():
    key = "occluded.permanence.accuracy_at_false_alarms"
    assert key not in suite_results(pairs_by_scene([[1]] * 9))
    # The highest of ten possible clips is above all others, so it alone is a false alarm.
    clips = [c for i in range(10) for c in scene(f"s{i}", (i, 20 + i))]
    results = suite_results(clips)
    assert results[key] == pytest.approx(19 / 20) and results[f"{key}.n"] == 20
    assert results[f"{key}.low"] < 19 / 20 <= results[f"{key}.high"]
    assert suite_results(clips, false_alarms=0.5)[key] == pytest.approx(15 / 20)
    for rate in (0, 1, float("nan")):
        with pytest.raises(ConfigError, match="false_alarms must lie between 0 and 1"):
            suite_results(clips, false_alarms=rate)


def test_results_are_those_of_their_seed_and_not_of_the_order_of_clips():
    random = np.random.default_rng(0)
    clips = [c for i in range(20) for c in scene(f"s{i:02}", random.random(4))]
    results = suite_results(clips, seed=1)
    assert results == suite_results(clips, seed=1) != suite_results(clips, seed=2)
    assert results == pytest.approx(suite_results(clips[::-1], seed=1))


def test_a_pair_is_one_possible_and_one_impossible_clip():
    clips = [*scene("a", (1, 2)), *scene("b", (1, 2))]
    with pytest.raises(ConfigError, match="scene b, pair 0 of occluded.permanence: the impossible"):
        suite_results(clips[:3])
    with pytest.raises(ConfigError, match="scene b.*: two clips are possible"):
        suite_results([*clips, scene("b", (3,))[0]])
    with pytest.raises(ConfigError, match="scene a.*: two clips are impossible"):
        suite_results([*clips, clips[1]])
    with pytest.raises(ConfigError, match="needs scored clips, got none"):
        suite_results([])


@pytest.mark.parametrize(
    ("scores", "said"),
    [([1.0, np.nan], "finite, got nan at step 1"), ([np.inf], "inf at step 0"), ([], r"\(0,\)"),
     ([[1.0]], r"one number a step, got shape \(1, 1\)")],
)  # fmt: skip
def test_scores_must_be_finite(scores, said):
    bad = ScoredClip("b", "permanence", "occluded", 0, False, np.array(scores))
    with pytest.raises(ConfigError, match=f"scene b, pair 0 of occluded.permanence: .*{said}"):
        suite_results([*scene("a", (1, 2)), *scene("b", (1,)), bad])


def by_all_signs(differences):
    """The two-sided p of a sum, from every choice of signs."""
    sums = [sum(s * d for s, d in zip(signs, differences, strict=True))
            for signs in itertools.product((-1, 1), repeat=len(differences))]  # fmt: skip
    return np.mean([abs(x) >= abs(sum(differences)) for x in sums])


def test_a_model_is_compared_with_a_baseline_by_scene():
    ours = [[1, 1], [1, 0.5], [1, 1], [0, 1], [1, 1], [0, 0]]
    theirs = [[0, 0], [0.5, 0.5], [1, 0], [1, 1], [0, 0.5], [0, 0]]
    leads = [sum(a) - sum(b) for a, b in zip(ours, theirs, strict=True)]
    both = pairs_by_scene(ours), pairs_by_scene(theirs)
    results = compared(*both, "pixel")
    assert results["occluded.permanence.p_against_pixel"] == pytest.approx(by_all_signs(leads))
    assert results["occluded.p_against_pixel"] == pytest.approx(by_all_signs(leads))
    assert compared(*both[::-1], "pixel") == pytest.approx(results)
    assert compared(both[0], both[0], "copy") == dict.fromkeys(
        ("occluded.permanence.p_against_copy", "occluded.p_against_copy"), 1.0
    )


def test_with_one_pair_a_scene_it_is_mcnemars_test():
    random = np.random.default_rng(0)
    ours, theirs = random.random((2, 60)) < np.array([[0.8], [0.65]])
    results = compared(*(pairs_by_scene([[int(x)] for x in y]) for y in (ours, theirs)), "pixel")
    expected = mcnemar(ours.tolist(), theirs.tolist())
    assert 0.001 < expected < 0.5
    assert results["occluded.permanence.p_against_pixel"] == pytest.approx(expected)


def test_a_scene_counts_once_over_all_properties():
    # Two properties of the same six scenes are no twelve scenes.
    both = [[*pairs_by_scene([[x]] * 6), *pairs_by_scene([[x]] * 6, what="shape")] for x in (1, 0)]
    results = compared(*both, "pixel")
    assert results["occluded.p_against_pixel"] == pytest.approx(2 / 2**6)
    assert results["occluded.shape.p_against_pixel"] == pytest.approx(2 / 2**6)


def test_only_the_same_clips_are_compared():
    clips = pairs_by_scene([[1]] * 3)
    with pytest.raises(ConfigError, match="scene s2.*: the model has scored it, copy has not"):
        compared(clips, clips[:4], "copy")
    with pytest.raises(ConfigError, match="scene s2.*: copy has scored it, the model has not"):
        compared(clips[:4], clips, "copy")
