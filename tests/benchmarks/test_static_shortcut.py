"""What moves over grounds of many kinds: the videos, and how outcomes and alarms are counted."""

import numpy as np
import pytest
from sklearn.linear_model import Ridge

from benchmarks.static_shortcut import LENGTH, SIZE, WORLDS, outcome, overview, rows, videos
from worldmodel.evaluation.statistics import wilson


def record(case, seed, after, *, before=0.3, alarm=0.0):
    read = {"tokens": after, "states": after - 0.1}
    return {
        "case": case, "seed": seed, "untrained": {"tokens": before, "states": before},
        "trained": read, "static_shortcut": alarm, "between_clips": 0.5,
        "prediction_over_copying": 0.4,
    }  # fmt: skip


@pytest.mark.parametrize("world", [world for world in WORLDS if world != "real"])
def test_the_disc_is_where_its_place_says(world):
    frames, places = videos(world, 3, np.random.default_rng(0), None)
    assert frames.shape == (3, LENGTH, 3, SIZE, SIZE) and places.shape == (3, LENGTH, 2)
    for video, path in zip(frames.numpy(), places, strict=True):
        for frame, (x, y) in zip(video, path, strict=True):
            at = frame[:, round(float(y)), round(float(x))]
            assert at.min() == at.max() >= (150 if world == "flicker" else 255)


def test_grounds_of_their_own_stand_still_and_differ():
    own, _ = videos("own", 2, np.random.default_rng(0), None)
    changed = (own.diff(dim=1).abs().amax(2) > 0).float().mean((0, 2, 3))
    assert changed.max() < 0.05  # the edge of a disc
    assert (own[0, 0] != own[1, 0]).float().mean() > 0.8
    camera, _ = videos("camera", 2, np.random.default_rng(1), None)
    assert (camera.diff(dim=1).abs().amax(2) > 0).float().mean() > 0.1


def test_places_cannot_be_read_from_the_ground():
    """Of two worlds of the same paths, the one without a disc would tell nothing."""
    random = np.random.default_rng(0)
    frames, places = videos("own", 60, random, None)
    ground = frames[:, 0, :, ::8, ::8].flatten(1).numpy() / 255
    end = places[:, -1]
    score = Ridge(10).fit(ground[:40], end[:40]).score(ground[40:], end[40:])
    assert score < 0.3


def test_an_outcome_is_learned_or_a_shortcut_or_between():
    assert outcome(record("own.none.sigreg", 1, 0.9)) == "learned"
    assert outcome(record("own.none.sigreg", 1, 0.1)) == "shortcut"
    assert outcome(record("own.none.sigreg", 1, 0.5)) == "between"


def test_the_alarm_errs_where_it_rings_at_what_was_learned_or_not_at_a_shortcut():
    records = [
        record("own.none.sigreg", 1, 0.1, alarm=1.0), record("own.none.sigreg", 2, 0.1),
        record("own.episode.sigreg", 1, 0.9), record("own.episode.sigreg", 2, 0.9, alarm=1.0),
        record("own.clip.sigreg", 1, 0.5),
    ]  # fmt: skip
    found = {row["key"]: row for row in rows(records)}
    assert (found["alarm.false"]["value"], found["alarm.false"]["n"]) == (0.5, 2)
    assert (found["alarm.missed"]["value"], found["alarm.missed"]["n"]) == (0.5, 2)
    assert found["alarm.missed"]["low"] == pytest.approx(wilson(1, 2).low)
    assert found["alarm.neither"]["value"] == pytest.approx(0.2)
    assert found["own.none.sigreg.tokens_r2"]["value"] == pytest.approx(0.1)


def test_the_overview_has_a_line_for_each_world():
    records = [
        record("own.none.sigreg", 1, 0.1, alarm=1.0), record("own.none.sigreg", 2, 0.3),
        record("own.episode.sigreg", 1, 0.9), record("plain.none.sigreg", 1, 1.0),
    ]  # fmt: skip
    assert overview(records) == [
        ["own", "0.300 / 0.300", "0.200 / 0.100, alarm", "", "0.900 / 0.800", ""],
        ["plain", "0.300 / 0.300", "1.000 / 0.900", "", "", ""],
    ]
