import numpy as np
import pytest

from worldmodel.envs.suites.quadruplet import PAIRS, differing, hidden_cut, spliced


def clip(*values):
    """Frames of one grey level each, t 2 2 3."""
    return np.stack([np.full((2, 2, 3), value, np.uint8) for value in values])


FIRST, SECOND = clip(0, 1, 2, 5, 5, 5, 5, 3, 4), clip(0, 7, 8, 5, 5, 5, 5, 9, 6)


def levels(clips):
    return clips[..., 0, 0, 0].tolist()


def test_the_spliced_clips_begin_as_the_one_and_end_as_the_other():
    found = spliced(FIRST, SECOND, 5)
    assert levels(found.clips) == [
        [0, 1, 2, 5, 5, 5, 5, 3, 4],
        [0, 7, 8, 5, 5, 5, 5, 9, 6],
        [0, 1, 2, 5, 5, 5, 5, 9, 6],
        [0, 7, 8, 5, 5, 5, 5, 3, 4],
    ]
    assert (found.cut, found.event, found.run) == (5, 7, 4)
    for own, other in PAIRS:  # a spliced clip parts from the one it began as at the event
        assert np.flatnonzero(differing(found.clips[own], found.clips[other]))[0] == found.event


def test_a_cut_where_the_clips_differ_is_the_event_and_has_no_run():
    found = spliced(FIRST, SECOND, 2)
    assert (found.event, found.run) == (2, 0)


def test_the_hidden_cut_is_in_the_middle_of_what_is_the_same():
    assert hidden_cut(FIRST, SECOND, seen=2) == 5


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (clip(1, 1, 1, 1), clip(1, 1, 1, 1)),  # never part
        (clip(1, 1, 2, 2), clip(1, 1, 3, 3)),  # part once
        (clip(2, 1, 1, 2, 2), clip(3, 1, 1, 3, 3)),  # only one frame before
        (clip(2, 2, 1, 2, 2, 1, 2, 2), clip(3, 3, 1, 3, 3, 1, 3, 3)),  # agree twice
    ],
)
def test_clips_that_do_not_part_agree_and_part_again_have_none(first, second):
    assert hidden_cut(first, second, seen=2) is None
