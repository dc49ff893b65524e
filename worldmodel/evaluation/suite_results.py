"""What the scores of a suite of matched clips come to.

Knows scores, and which clip is of which scene; not who gave them: the model and its baselines are
compared by the same rule.
"""

import math
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from worldmodel.errors import ConfigError
from worldmodel.evaluation.conformal import check_rate, fewest_scores
from worldmodel.evaluation.pairs import each_right
from worldmodel.evaluation.resampling import Statistic, grouped_rate_results, resampled_results
from worldmodel.evaluation.scores import checked_scores
from worldmodel.evaluation.single_clips import SingleClips
from worldmodel.evaluation.statistics import sign_flip_test


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


@dataclass(frozen=True)
class _Match:
    """Clips of a scene that are compared: a pair, or the four of a quadruplet."""

    possible: tuple[ScoredClip, ...]
    impossible: tuple[ScoredClip, ...]

    @property
    def scene(self) -> str:
        return self.possible[0].scene


def suite_results(
    clips: Sequence[ScoredClip], *, false_alarms: float = 0.1, seed: int = 0
) -> dict[str, float]:
    """Pairs, quadruplets and single clips told apart, by condition and property.

    Keys are `CONDITION.PROPERTY.measure`, and `CONDITION.measure` for all properties of a
    condition together; an empty condition is left out of both. The measures, each with `.n`, and
    with `.low` and `.high`, its 95 % interval over scenes:

    - `pair_accuracy`: the impossible clip of a pair has the higher mean (Garrido et al. 2025,
      arXiv:2502.11831); a tie counts half. `pair_accuracy_max`: the higher maximum.
    - `quad_accuracy`: the means of both impossible clips of a scene add up to more than those of
      both possible ones, which cancels how hard the frames are to predict; of scenes with two
      pairs, and left out where none has. `quad_accuracy_max`: the maxima do.
    - `auroc`, `auprc`: of single clips (`.n` counts both kinds), by their maxima.
    - `accuracy_at_false_alarms`: of single clips, by their maxima and a threshold that other
      scenes' possible clips set (see `SingleClips.accuracy`); left out where scenes are too few
      for the rate: it takes 1 / rate of them.

    Intervals are Wilson's where a scene is one trial, or where all scenes agree, and otherwise the
    percentiles of a bootstrap that draws scenes. A name is the same scene in every property.

    Args:
        clips: of all conditions and properties, in any order.
        false_alarms: the largest share of possible clips that may be called impossible.
        seed: of the bootstrap.

    Raises:
        ConfigError: a pair is not one possible and one impossible clip, scores are not finite, or
            the rate is none.
    """
    check_rate("false_alarms", false_alarms)
    results: dict[str, float] = {}
    for key, pairs in _groups(_matched(clips)):
        results |= _compared_clips(key, pairs, seed)
        results |= _single_clips(key, pairs, false_alarms, seed)
    return results


def compared(
    clips: Sequence[ScoredClip], baseline_clips: Sequence[ScoredClip], name: str
) -> dict[str, float]:
    """How likely the model's lead or lag in `pair_accuracy` is, if it and a baseline are alike.

    The exact two-sided test of `sign_flip_test`, by scene: each gives the pairs that the model has
    right less those that the baseline has. With one pair a scene it is McNemar's test. Properties
    are tested one by one; nothing corrects for their number.

    Args:
        clips: as scored by the model.
        baseline_clips: the same clips, as scored by the baseline.
        name: of the baseline.

    Returns:
        `CONDITION.PROPERTY.p_against_NAME`, and `CONDITION.p_against_NAME` of all properties.

    Raises:
        ConfigError: as of `suite_results`, or the clips are not the same.
    """
    model, baseline = _matched(clips), _matched(baseline_clips)
    for place in sorted(model.keys() ^ baseline.keys()):
        scored, lacks = ("the model", name) if place in model else (name, "the model")
        raise ConfigError(f"{_named(place)}: {scored} has scored it, {lacks} has not")
    results: dict[str, float] = {}
    others = dict(_groups({place: baseline[place] for place in model}))
    for key, pairs in _groups(model):
        leads: defaultdict[str, float] = defaultdict(float)
        both = _right(pairs, _mean), _right(others[key], _mean)
        for pair, ours, theirs in zip(pairs, *both, strict=True):
            leads[pair.scene] += ours - theirs
        results[f"{key}p_against_{name}"] = sign_flip_test(list(leads.values()))
    return results


_Place = tuple[str, str, str, int]  # condition, property, scene, pair


def _matched(clips: Sequence[ScoredClip]) -> dict[_Place, _Match]:
    """The pairs of a suite, checked."""
    if not clips:
        raise ConfigError("a suite needs scored clips, got none")
    found: dict[_Place, dict[bool, ScoredClip]] = {}
    for clip in clips:
        place = (clip.condition, clip.property, clip.scene, clip.pair)
        checked_scores(_named(place), clip.scores)
        pair, possible = found.setdefault(place, {}), bool(clip.possible)
        if possible in pair:
            raise ConfigError(f"{_named(place)}: two clips are {_kind(possible)}")
        pair[possible] = clip
    for place, pair in found.items():
        for possible in {True, False} - pair.keys():
            raise ConfigError(f"{_named(place)}: the {_kind(possible)} clip is missing")
    return {place: _Match((pair[True],), (pair[False],)) for place, pair in found.items()}


def _named(place: _Place) -> str:
    condition, what, scene, pair = place
    return f"scene {scene}, pair {pair} of {_key(condition, what).rstrip('.')}"


def _kind(possible: bool) -> str:
    return "possible" if possible else "impossible"


def _key(*words: str) -> str:
    return "".join(f"{word}." for word in words if word)


def _groups(matched: dict[_Place, _Match]) -> Iterator[tuple[str, list[_Match]]]:
    """Pairs by condition and property, then those of each condition together, with their key."""
    found: defaultdict[str, list[_Match]] = defaultdict(list)
    conditions = {place[0] for place in matched}
    for (condition, what, _, _), pair in matched.items():
        if what and not condition and what in conditions:
            raise ConfigError(f"a suite has a property {what} and a condition {what}: rename one")
        found[_key(condition, what)].append(pair)
    for condition in dict.fromkeys(place[0] for place in matched):
        found[_key(condition)] = [pair for place, pair in matched.items() if place[0] == condition]
    yield from found.items()


def _compared_clips(key: str, pairs: Sequence[_Match], seed: int) -> dict[str, float]:
    """Accuracies of pairs and quadruplets."""
    results: dict[str, float] = {}
    for what, matches in (("pair", pairs), ("quad", _quads(pairs))):
        scenes = [match.scene for match in matches]
        for measure, of in ((f"{what}_accuracy", _mean), (f"{what}_accuracy_max", _largest)):
            if matches:
                right = _right(matches, of)
                results |= grouped_rate_results(f"{key}{measure}", right, scenes, seed=seed)
    return results


def _quads(pairs: Sequence[_Match]) -> list[_Match]:
    """Both pairs of each scene of a property together, where it has two."""
    found: defaultdict[tuple[str, str], list[_Match]] = defaultdict(list)
    for pair in pairs:
        found[pair.possible[0].property, pair.scene].append(pair)
    return [
        _Match(both[0].possible + both[1].possible, both[0].impossible + both[1].impossible)
        for both in found.values()
        if len(both) == 2
    ]


def _right(matches: Sequence[_Match], of: Callable[[Sequence[ScoredClip]], float]) -> np.ndarray:
    possible, impossible = (
        np.array([of(clips) for clips in kind])
        for kind in ([m.possible for m in matches], [m.impossible for m in matches])
    )
    return each_right(possible, impossible)


def _mean(clips: Sequence[ScoredClip]) -> float:
    """The means of clips, added up and rounded once.

    So the same scores in another order tie, as where a baseline adds up what changes between
    frames and the clips of a quadruplet are spliced from the same frames.
    """
    parts = [np.asarray(clip.scores, dtype=np.float64) / len(clip.scores) for clip in clips]
    return math.fsum(np.concatenate(parts).tolist())


def _largest(clips: Sequence[ScoredClip]) -> float:
    """The maxima of clips, added up."""
    return math.fsum(float(np.max(clip.scores)) for clip in clips)


def _single_clips(
    key: str, pairs: Sequence[_Match], false_alarms: float, seed: int
) -> dict[str, float]:
    """Measures of single clips, by their maxima."""
    clips = [clip for pair in pairs for clip in (*pair.possible, *pair.impossible)]
    names, scenes = np.unique([clip.scene for clip in clips], return_inverse=True)
    maxima = np.array([_largest([clip]) for clip in clips])
    single = SingleClips(maxima, np.array([not clip.possible for clip in clips]), scenes)
    measures: dict[str, Statistic] = {"auroc": single.auroc, "auprc": single.auprc}
    if len(names) > fewest_scores(false_alarms):
        judged = partial(single.accuracy, false_alarms=false_alarms)
        measures["accuracy_at_false_alarms"] = judged
    results: dict[str, float] = {}
    for measure, of in measures.items():
        results |= resampled_results(f"{key}{measure}", of, len(names), n=len(clips), seed=seed)
    return results
