"""Which clips of a scene are compared with each other, where only their frames tell.

Two possible and two impossible clips of a scene of IntPhys are recombinations of the same parts:
each impossible clip begins as one of the possible ones and ends as the other. It is compared with
the one that it begins as.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np

from worldmodel.errors import VideoError
from worldmodel.evaluation.suites.suite import CONTROL, SuiteClip
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_BLOCK = 16  # frames that are read at once
_Pairs = list[tuple[SuiteClip, SuiteClip]]


@dataclass(frozen=True)
class MatchedPair:
    """Two clips that are compared.

    Attributes:
        number: of the pair in its scene.
        possible: the one that can happen.
        other: the one that cannot; of a control one that stands for it.
    """

    number: int
    possible: SuiteClip
    other: SuiteClip


def matched(clips: Sequence[SuiteClip], decoding: Decoding) -> Iterator[MatchedPair]:
    """The pairs of a suite, scene by scene, in the order of the clips.

    Where the suite numbers its pairs, those are taken and no frame is read. Otherwise, of the two
    ways to match a scene's two possible with its two impossible clips, the one is taken whose pairs
    are alike for longer, counted in frames until the first one with a different pixel and summed
    over both pairs. Of a control scene whose clips are all possible, the same is done with all ways
    to divide them into pairs; in each the clip that comes later stands for the impossible one.

    Args:
        clips: with labels; each has a counterpart (`require_pairs`).
        decoding: how files are read; pixels are compared at their own size.

    Raises:
        VideoError: both ways are as good, or a scene has more clips than this is defined for.
    """
    scenes: dict[tuple[str, str, str], list[SuiteClip]] = {}
    for clip in clips:
        scenes.setdefault(clip.group(), []).append(clip)
    for found in scenes.values():
        if all(clip.pair is None for clip in found):
            yield from _by_frames(found, decoding)
        else:
            yield from _by_number(found)


def _by_number(scene: Sequence[SuiteClip]) -> Iterator[MatchedPair]:
    for number in dict.fromkeys(clip.pair for clip in scene):
        both = [clip for clip in scene if clip.pair == number]
        # Possible ones first; sorting keeps the order where both are.
        possible, other = sorted(both, key=lambda clip: not clip.possible)
        yield MatchedPair(int(number or 0), possible, other)


def _by_frames(scene: Sequence[SuiteClip], decoding: Decoding) -> Iterator[MatchedPair]:
    ways = _ways(scene)
    chosen = ways[0]
    if len(ways) > 1:
        alike = _counting(decoding)
        frames = [sum(alike(a, b) for a, b in way) for way in ways]
        order = np.argsort(frames)[::-1]
        if frames[order[0]] == frames[order[1]]:
            raise VideoError(
                f"{scene[0].scene}: cannot be told which clips belong together: two ways to pair "
                f"{', '.join(clip.name for clip in scene)} are alike for {frames[order[0]]} frames "
                "in all; pairs of this layout begin alike"
            )
        chosen = ways[order[0]]
    for number, (possible, other) in enumerate(chosen):
        yield MatchedPair(number, possible, other)


def _ways(scene: Sequence[SuiteClip]) -> list[_Pairs]:
    """All ways to pair the clips of a scene."""
    possible = [clip for clip in scene if clip.possible]
    others = [clip for clip in scene if not clip.possible]
    if len(scene) not in (2, 4):
        raise VideoError(
            f"{scene[0].scene}: has {len(scene)} clips ({scene[0].name}, ...); a scene whose pairs "
            "are found by their frames has two or four"
        )
    if others:
        swapped = list(reversed(others))
        ways = [list(zip(possible, some, strict=True)) for some in (others, swapped)]
        return ways[: len(others)]
    assert scene[0].condition == CONTROL
    if len(scene) == 2:
        return [[(scene[0], scene[1])]]
    a, b, c, d = scene
    return [[(a, b), (c, d)], [(a, c), (b, d)], [(a, d), (b, c)]]


def _counting(decoding: Decoding) -> Callable[[SuiteClip, SuiteClip], int]:
    """Counts the first frames that two clips share; opens each clip once."""

    @cache
    def opened(clip: SuiteClip) -> Video:
        return clip.read.open(decoding)

    def alike(first: SuiteClip, second: SuiteClip) -> int:
        return first_difference(opened(first), opened(second))

    return alike


def first_difference(first: Video, second: Video) -> int:
    """The first frame in which two videos have a different pixel; their shorter length if none.

    Raises:
        VideoError: their frames are of different sizes, or cannot be read.
    """
    shared = min(first.num_frames, second.num_frames)
    for start in range(0, shared, _BLOCK):
        numbers = np.arange(start, min(start + _BLOCK, shared))
        a, b = first.read(numbers), second.read(numbers)
        if a.shape != b.shape:
            raise VideoError(
                f"{first.name} and {second.name}: have frames of different sizes "
                f"({tuple(a.shape[2:])} and {tuple(b.shape[2:])}), so they are no pair; fetch them "
                "again"
            )
        differs = (a != b).flatten(1).any(dim=1)
        if differs.any():
            return start + int(differs.int().argmax())
    return shared
