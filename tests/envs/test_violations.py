import functools

import numpy as np
import pytest

from worldmodel.envs.layout import AGENT_RADIUS, Layout, TaskError
from worldmodel.envs.simulation import NO_AGENT, Simulation
from worldmodel.envs.violations import KINDS, MIN_JUMP, pixel_change, violation_pairs

NUM_PAIRS = 10
METRES_PER_PIXEL = 2.12 / 64


@functools.cache
def pairs_of(kind):
    return violation_pairs(kind, NUM_PAIRS, seed=0, num_frames=12)


@functools.cache
def empty_world():
    simulation = Simulation(Layout())
    return simulation.frame(64, groups=NO_AGENT).astype(int)


def agents(clip):
    """Centre of what is not the empty world, `t 2` in metres; NaN where there is nothing."""
    shown = np.abs(clip.astype(int) - empty_world()).sum(-1).astype(float)
    mass = shown.sum((1, 2))
    ticks = (np.arange(64) - 31.5) * METRES_PER_PIXEL
    with np.errstate(invalid="ignore"):
        return np.stack([shown.sum(1) @ ticks, -(shown.sum(2) @ ticks)], 1) / mass[:, None]


@pytest.mark.parametrize("kind", KINDS)
def test_clips_of_a_pair_are_the_same_up_to_the_step_and_differ_at_it(kind):
    possible, impossible, steps = pairs_of(kind)
    assert possible.shape == impossible.shape == (NUM_PAIRS, 12, 64, 64, 3)
    assert possible.dtype == impossible.dtype == np.uint8
    for a, b, step in zip(possible, impossible, steps, strict=True):
        differs = (a != b).any(axis=(1, 2, 3))
        assert not differs[:step].any()
        assert differs[step]
        assert 6 <= step <= 10


def test_possible_clips_never_jump():
    for kind in KINDS:
        for clip in pairs_of(kind).possible:
            moved = np.linalg.norm(np.diff(agents(clip), axis=0), axis=1)
            assert moved.max() < 0.28  # top speed along the diagonal is 0.24


def test_a_teleport_is_a_jump_and_the_motion_goes_on():
    possible, impossible, steps = pairs_of("teleport")
    for a, b, step in zip(possible, impossible, steps, strict=True):
        there, here = agents(b), agents(a)
        assert np.linalg.norm(there[step] - there[step - 1]) > MIN_JUMP - 0.03
        assert np.linalg.norm(there[step] - here[step]) > MIN_JUMP - 0.03
        after = np.linalg.norm(np.diff(there[step:], axis=0), axis=1)
        assert after.max() < 0.28 and after.sum() > 0.01


def test_a_vanished_agent_stays_away():
    possible, impossible, steps = pairs_of("vanish")
    for a, b, step in zip(possible, impossible, steps, strict=True):
        assert np.isfinite(agents(a)).all()
        np.testing.assert_array_equal(b[step:], np.broadcast_to(empty_world(), b[step:].shape))


def test_a_changed_colour_stays_and_the_path_is_the_same():
    possible, impossible, steps = pairs_of("colour")
    for a, b, step in zip(possible, impossible, steps, strict=True):
        np.testing.assert_allclose(agents(b), agents(a), atol=0.01)
        excess = b[step:].astype(int) - a[step:]  # less blue, more red
        assert (excess[..., 0].max((1, 2)) > 100).all() and (
            excess[..., 2].min((1, 2)) < -100
        ).all()


@pytest.mark.parametrize("kind", KINDS)
def test_both_clips_of_a_pair_show_motion_by_a_whole_diameter(kind):
    for clip, step in zip(pairs_of(kind).impossible, pairs_of(kind).step, strict=True):
        before = np.linalg.norm(np.diff(agents(clip[:step]), axis=0), axis=1)
        assert before.max() > 2 * AGENT_RADIUS - 0.02


@pytest.mark.parametrize("statistic", [np.mean, np.max])
@pytest.mark.parametrize("kind", KINDS)
def test_counting_changed_pixels_does_not_tell_the_clips_apart(kind, statistic):
    possible, impossible, _ = pairs_of(kind)
    wins = np.sign(
        statistic(pixel_change(impossible), axis=1) - statistic(pixel_change(possible), axis=1)
    )
    assert abs(wins.sum()) <= 1  # of NUM_PAIRS: accuracy 0.5 up to half a pair


def test_the_seed_decides_the_clips():
    first, same, other = (
        violation_pairs("teleport", 2, seed=seed, num_frames=8) for seed in (3, 3, 4)
    )
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert (first.possible != other.possible).any()


def test_frames_can_be_further_apart_and_larger():
    pairs = violation_pairs("vanish", 2, seed=0, num_frames=8, stride=2, size=96, door=0.3)
    assert pairs.possible.shape == (2, 8, 96, 96, 3)


def test_pixel_change_is_the_mean_absolute_difference():
    frames = np.zeros((1, 3, 2, 2, 3), np.uint8)
    frames[0, 1, 0, 0] = 255
    frames[0, 2] = 100
    expected = [255 / 4, (155 + 3 * 100) / 4]
    np.testing.assert_allclose(pixel_change(frames), [expected])


@pytest.mark.parametrize(
    ("kind", "kwargs", "message"),
    [
        ("telport", {}, "did you mean 'teleport'"),
        ("vanish", {"n": 0}, "n must be at least 1"),
        ("vanish", {"num_frames": 4}, "num_frames must be at least 8"),
        ("vanish", {"stride": 0}, "stride must be at least 1"),
    ],
)
def test_impossible_requests_are_refused(kind, kwargs, message):
    with pytest.raises(TaskError, match=message):  # which the command line says in one line
        violation_pairs(kind, **({"n": 1, "seed": 0} | kwargs))
