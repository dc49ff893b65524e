from functools import partial

import numpy as np
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from worldmodel.evaluation.resampling import bootstrap
from worldmodel.evaluation.single_clips import SingleClips


def clips(random, scenes, *, pairs=2, shift=1.0, scene_effect=1.0):
    """Scores of scenes: each has an effect of its own; impossible clips are `shift` higher."""
    impossible = np.tile([False, True], (scenes, pairs))
    scores = scene_effect * random.normal(size=(scenes, 1)) + random.normal(size=impossible.shape)
    number = np.repeat(np.arange(scenes), 2 * pairs)
    return SingleClips((scores + shift * impossible).ravel(), impossible.ravel(), number)


def test_areas_equal_those_of_scikit_learn_with_and_without_weights():
    random = np.random.default_rng(0)
    single = clips(random, 20)
    single = SingleClips(single.scores.round(), single.impossible, single.scenes)  # many ties
    weights = np.concatenate([np.ones((1, 20)), random.integers(0, 4, size=(5, 20))])
    areas, precisions = single.auroc(weights), single.auprc(weights)
    for weight, area, precision in zip(weights, areas, precisions, strict=True):
        told = dict(y_true=single.impossible, y_score=single.scores)
        counted = weight[single.scenes]
        assert area == pytest.approx(roc_auc_score(**told, sample_weight=counted))
        assert precision == pytest.approx(average_precision_score(**told, sample_weight=counted))


def by_hand(single, weight, rate):
    """The share of clips judged right, scene by scene, with the others copied out one by one."""
    right = counted = 0
    for scene in np.flatnonzero(weight):
        others = [j for j, w in enumerate(weight) for _ in range(w) if j != scene]
        for i in np.flatnonzero(single.scenes == scene):
            shares = [
                (
                    single.scores[(single.scenes == j) & ~single.impossible] >= single.scores[i]
                ).mean()
                for j in others
            ]
            # The others stand for all scenes but the one, however many copies were drawn.
            alarm = (1 + np.mean(shares) * (len(weight) - 1)) / len(weight) <= rate + 1e-9
            right += weight[scene] * (alarm == single.impossible[i])
            counted += weight[scene]
    return right / counted


@pytest.mark.parametrize("pairs", [1, 3])
def test_accuracy_is_that_of_thresholds_from_the_other_scenes(pairs):
    random = np.random.default_rng(1)
    single = clips(random, 12, pairs=pairs)
    weights = np.concatenate([np.ones((1, 12), dtype=int), random.integers(0, 3, size=(4, 12))])
    found = single.accuracy(weights, false_alarms=0.2)
    assert found == pytest.approx([by_hand(single, weight, 0.2) for weight in weights])


@pytest.mark.parametrize("scene_effect", [0.0, 3.0])
def test_possible_clips_raise_no_more_false_alarms_than_asked(scene_effect):
    random, rates = np.random.default_rng(2), []
    for _ in range(300):
        single = clips(random, 25, scene_effect=scene_effect)
        alarms = single.alarms(np.ones((1, 25)), rate=0.1)[0]
        rates.append(alarms[~single.impossible].mean())
    assert 0.05 < np.mean(rates) <= 0.1


def test_with_one_possible_clip_a_scene_the_rate_is_exact():
    random = np.random.default_rng(3)
    for scenes, count in ((10, 1), (25, 2), (40, 4)):
        single = clips(random, scenes, pairs=1)
        alarms = single.alarms(np.ones((1, scenes)), rate=0.1)[0]
        assert alarms[~single.impossible].sum() == count


def test_intervals_over_scenes_cover_the_true_values():
    # Impossible clips are 1 higher, noise of two clips has variance 2 (1 + 1): Phi(1 / 2) = 0.6915,
    # but for the share 1 / 40 of comparisons within a scene, Phi(1 / sqrt 2) = 0.7602.
    truth, random, found = 0.6915 + (0.7602 - 0.6915) / 40, np.random.default_rng(4), []
    for seed in range(300):
        low, high = bootstrap(clips(random, 40).auroc, 40, times=300, seed=seed)[1:]
        found.append(low <= truth <= high)
    assert 0.91 <= np.mean(found) <= 0.98


def test_intervals_of_accuracy_know_how_uncertain_thresholds_are():
    random, once = np.random.default_rng(5), np.ones((1, 25))

    def accuracy(single, weights=once):
        return single.accuracy(weights, false_alarms=0.1)

    def sample():
        return clips(random, 25, shift=3.0)

    truth, covered = np.mean([accuracy(sample()) for _ in range(1000)]), []
    for seed in range(150):
        single = sample()
        low, high = bootstrap(partial(accuracy, single), 25, times=200, seed=seed)[1:]
        covered.append(low <= truth <= high)
    assert 0.89 <= np.mean(covered) <= 0.995
