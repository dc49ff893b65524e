"""Four clips of one scene: two that can happen, and two spliced from them that cannot.

Knows frames only, not what they show.
"""

from dataclasses import dataclass

import numpy as np

PAIRS = ((0, 2), (1, 3))  # clips that begin alike: the possible one, then the other


@dataclass(frozen=True)
class Quadruplet:
    """A scene's clips A, B, A-then-B and B-then-A.

    All four hold the same frames as A and B do. Where A and B are the same in `run` frames around
    the cut, the spliced clips hold the same sequences of up to `run` + 1 frames too, so that
    nothing that looks at fewer frames than that can tell which two were spliced.

    Attributes:
        clips: 4 t h w c, uint8.
        cut: the first frame that the spliced clips take from the other one.
        event: the first frame, counted from 0, in which a spliced clip differs from the clip that
            it began as.
        run: how many frames around the cut are the same in A and B.
    """

    clips: np.ndarray
    cut: int
    event: int
    run: int


def differing(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """In which frames two clips differ: t bool."""
    return np.asarray((first != second).reshape(len(first), -1).any(axis=1))


def spliced(first: np.ndarray, second: np.ndarray, cut: int) -> Quadruplet:
    """Splice two clips `t h w c` at frame `cut`, where they need not be the same."""
    clips = np.stack(
        [
            first,
            second,
            np.concatenate([first[:cut], second[cut:]]),
            np.concatenate([second[:cut], first[cut:]]),
        ]
    )
    differ = np.flatnonzero(differing(first, second))
    after, before = differ[differ >= cut], differ[differ < cut]
    run = int(after[0] - before[-1] - 1) if len(after) and len(before) else 0
    return Quadruplet(clips, cut, int(after[0]) if len(after) else cut, run)


def hidden_cut(first: np.ndarray, second: np.ndarray, *, seen: int) -> int | None:
    """The middle of the frames that are the same in both clips, between others that differ.

    Args:
        first: a clip, t h w c.
        second: the other one.
        seen: so many frames have to differ before and after, at least.

    Returns:
        The frame, or None where the clips don't part, agree and part again, just once.
    """
    differ = differing(first, second)
    edges = np.flatnonzero(np.diff(np.concatenate([[False], differ, [False]]).astype(np.int8)))
    if len(edges) != 4 or min(edges[1] - edges[0], edges[3] - edges[2]) < seen:
        return None
    return int(edges[1] + edges[2] + 1) // 2
