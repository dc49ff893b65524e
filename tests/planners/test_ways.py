"""Ways from starts to goals, whose truth is plain geometry."""

import numpy as np
import pytest

from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners.ways import Around, Passage

LEFTWARDS = Passage({"position": [[0.1, None]]}, {"position": [[None, 0.1], [-0.5, 0.5]]})
AROUND = Around("hand", "cup", 1.0, {"cup": 0.5, "turn": 0.1})


def places(*rows, name="position"):
    return {name: np.array(rows, np.float64)}


def at(*row):
    return {"position": np.array(row, np.float32)}


def test_a_passage_leads_from_one_region_into_another():
    starts = places((0.2, 0), (0.1, 9), (0.0, 0), (np.nan, 0))
    assert LEFTWARDS.leads(starts, at(-1, 0)).tolist() == [True, True, False, False]
    for elsewhere in (at(0.2, 0), at(-1, 0.6), at(np.nan, 0)):
        assert not LEFTWARDS.leads(starts, elsewhere).any()
    anywhere = Passage(end={"position": [None, [0, 1]]})
    assert anywhere.leads(starts, at(5, 0.5)).all()
    assert not anywhere.leads(starts, at(5, 2)).any()
    beginning = Passage(start={"position": [[0.1, None]]})
    assert beginning.leads(starts, at(5, 5)).tolist() == [True, True, False, False]


def test_regions_are_of_several_infos_and_of_numbers_without_axes():
    both = Passage({"open": [[1, 1]], "position": [[0, 1]]}, {"open": [[0, 0]]})
    starts = places((0.5, 0), (0.5, 0)) | {"open": np.array([True, False])}
    assert both.leads(starts, {"open": np.array(False)}).tolist() == [True, False]


@pytest.mark.parametrize(
    ("x", "frames"),
    [
        ((0.5, 0.3, 0.2), 3),  # nothing of it
        ((0.5, 0.3, 0.0, -0.5), 2),  # cut before it has arrived
        ((-0.5, 0.0, 0.09, 0.0), 4),  # turns round before it was there
        ((-0.5, 0.5, 0.5, 0.0), 3),  # there, and back
        ((0.1, 0.0), 0),  # both regions hold 0.1
    ],
)
def test_an_episode_ends_before_a_way_has_led_to_a_frame(x, frames):
    assert LEFTWARDS.frames_before(places(*((value, 0.0) for value in x))) == frames


def test_an_end_alone_is_nowhere_in_what_is_kept():
    far = Passage(end={"position": [[1, None]]})
    assert far.frames_before(places((0, 0), (0.5, 0), (1, 0), (0, 0))) == 2
    assert far.frames_before(places((2, 0), (0, 0))) == 0


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({}, "needs a region"),
        ({"end": {"position": 3}}, "limits of 'position' are"),
        ({"end": {"position": [0, 1]}}, "limits of 'position' are"),
        ({"end": {"position": [[1, 0]]}}, "limits of 'position' are"),
        ({"end": {"position": [[0, 1, 2]]}}, "limits of 'position' are"),
        ({"end": {"position": [["a", 1]]}}, "limits of 'position' are"),
        ({"start": {"position": []}}, "limits of 'position' are"),
    ],
)
def test_limits_that_are_none_are_refused(wrong, words):
    with pytest.raises(ConfigError, match=words) as caught:
        Passage(**wrong)
    assert "\n" not in str(caught.value)


def test_infos_that_are_not_told_or_are_too_narrow():
    with pytest.raises(EnvError, match="info 'position', which is not told: .*velocity"):
        LEFTWARDS.leads(places((0, 0), name="velocity"), places((0, 0), name="velocity"))
    with pytest.raises(EnvError, match="limits of 2 numbers of 'position', which has 1"):
        LEFTWARDS.leads({"position": np.ones((3, 1))}, {"position": np.ones(1)})
    with pytest.raises(EnvError, match=r"'hand' and 'cup' have shapes \(2,\) and \(3,\)"):
        AROUND.leads(
            {"hand": np.ones((1, 2)), "cup": np.ones((1, 3)), "turn": np.ones((1, 1))},
            {"hand": np.ones(2), "cup": np.ones(3), "turn": np.ones(1)},
        )


def scene(hand, cup=(0.0, 0.0), turn=0.0):
    found = {"hand": np.array(hand, float), "cup": np.array(cup, float), "turn": np.array(turn)}
    return found


@pytest.mark.parametrize(
    ("goal", "leads"),
    [
        (scene((3, 0)), True),  # straight through
        (scene((3, 1.9)), True),  # passes at 0.9
        (scene((3, 3)), False),  # passes at 1.3
        (scene((-1, 0)), False),  # ends before it
        (scene((-3, 0)), False),  # goes nowhere
        (scene((-9, 0)), False),  # away from it
        (scene((3, 0), cup=(0.0, 0.4)), True),  # moved less than counts
        (scene((3, 0), cup=(0.0, 0.6)), False),
        (scene((3, 0), turn=0.2), False),
    ],
)
def test_a_way_around_has_the_thing_in_between_where_it_was(goal, leads):
    starts = {name: value[None] for name, value in scene((-3, 0)).items()}
    assert AROUND.leads(starts, goal).tolist() == [leads]


def test_going_round_is_cut_where_the_other_side_is_reached():
    angles = np.linspace(0, np.pi, 13)
    hand = 3 * np.stack([np.cos(angles), np.sin(angles)], 1)
    infos = {"hand": hand, "cup": np.zeros((13, 2)), "turn": np.zeros((13, 1))}
    # A chord over the angle a passes the middle at 3 cos(a / 2).
    chords = 3 * np.cos(angles / 2)
    assert AROUND.frames_before(infos) == int(np.flatnonzero(chords <= 1)[0])
    assert Around("hand", "cup", 0.3, {"cup": 0.5}).frames_before(infos) == 12
    assert Around("hand", "cup", 0.3, {"cup": 0.5}).frames_before(
        {name: values[:12] for name, values in infos.items()}
    ) == 12  # fmt: skip


@pytest.mark.parametrize(("within", "still"), [(0, {"cup": 1}), (1, {}), (1, {"cup": -1})])
def test_a_way_around_needs_radii(within, still):
    with pytest.raises(ConfigError, match="a way around needs within > 0, and still="):
        Around("hand", "cup", within, still)


def test_words_tell_two_ways_apart():
    assert LEFTWARDS.words == (
        "passage from position in 0.1.. to position in ..0.1, -0.5..0.5"
    )  # fmt: skip
    assert Passage(end={"a": [None, [0, 1]]}).words == "passage from anywhere to a in any, 0..1"
    assert "around cup, 1 or less" in AROUND.words and "turn within 0.1" in AROUND.words
