"""What environments do to the arrays that they return, against what must have been recorded."""

import re

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces

from worldmodel.envs import PixelWorld
from worldmodel.envs.rendering import choose_gl
from worldmodel.planners.behaviours import Random, SmoothRandom
from worldmodel.planners.collect import folder_info, to_episode
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.infos import copy_info, stack_infos


class Reusing(gymnasium.Env):
    """Returns the same arrays at every step and writes into them, and into the action."""

    observation_space = spaces.Box(0, 255, (8, 8, 3), np.uint8)
    action_space = spaces.Box(-1, 1, (2,), np.float32)

    def __init__(self):
        self.image, self.qpos = np.zeros((8, 8, 3), np.uint8), np.zeros(2)
        self.taken = []

    def reset(self, *, seed=None, options=None):
        self.image[:], self.qpos[:], self.t = 0, 0, 0
        return self.image, {"qpos": self.qpos}

    def step(self, action):
        self.t += 1
        self.taken.append(action.copy())
        self.qpos += action
        self.image[:] = self.t
        action *= 100
        return self.image, 0.0, False, False, {"qpos": self.qpos}


class Greedy(Random):
    """Writes into the observation that it is given."""

    def __call__(self, observation, info):
        observation[:] = 99
        return super().__call__(observation, info)


@pytest.mark.parametrize("policy", [SmoothRandom(), Greedy()], ids=lambda p: type(p).__name__)
def test_arrays_that_are_reused_are_recorded_as_they_were(policy):
    env = Reusing()
    record = run_episode(env, policy, seed=0, max_steps=5)
    assert record.frames[:, 0, 0, 0].tolist() == [0, 1, 2, 3, 4, 5]
    np.testing.assert_array_equal(record.actions, np.stack(env.taken))
    assert np.abs(record.actions).max() <= 1
    expected = np.concatenate([np.zeros((1, 2)), np.cumsum(np.stack(env.taken), 0, np.float64)])
    np.testing.assert_allclose(record.infos["qpos"], expected)


class Positions(gymnasium.Wrapper):
    """Tells where MuJoCo's own arrays say that the joints are."""

    def reset(self, **settings):
        observation, info = super().reset(**settings)
        return observation, info | {"qpos": self.unwrapped.data.qpos}

    def step(self, action):
        *rest, info = super().step(action)
        self.truth.append(self.unwrapped.data.qpos.copy())
        return *rest, info | {"qpos": self.unwrapped.data.qpos}


def test_gymnasiums_own_reacher_is_recorded_as_it_moved():
    choose_gl()
    inner = Positions(gymnasium.make("Reacher-v5", render_mode="rgb_array"))
    inner.truth = []
    env = PixelWorld(inner, size=32)
    record = run_episode(env, Random(), seed=3, max_steps=6)
    env.close()
    assert record.infos["qpos"].shape == (7, 4)
    np.testing.assert_array_equal(record.infos["qpos"][1:], np.stack(inner.truth))
    assert np.ptp(record.infos["qpos"][:, :2], axis=0).min() > 0.01


def stacked(*infos):
    return stack_infos([copy_info(info) for info in infos])


def test_types_are_the_widest_that_were_told():
    found = stacked(
        {"distance": 0, "level": np.uint8(3), "on": False, "half": np.float16(1)},
        {"distance": 0.3, "level": 300, "on": True, "half": 2},
        {"distance": 0.6, "level": 4, "on": False, "half": 3},
    )
    assert found.arrays["distance"].tolist() == [0, 0.3, 0.6]
    assert found.arrays["level"].tolist() == [3, 300, 4]
    assert found.arrays["on"].dtype == bool and found.arrays["on"].tolist() == [False, True, False]
    assert found.arrays["half"].tolist() == [1, 2, 3] and not found.left_out


def test_what_is_not_told_is_nan_and_never_false_or_zero():
    found = stacked(
        {"always": 1, "mass": 2, "none": None},
        {"always": 2, "success": True, "pose": [1.5, 2.5]},
        {"always": 3, "pose": np.array([3, 4]), "none": 7},
    )
    nan = np.nan
    assert found.arrays["always"].dtype.kind == "i"
    np.testing.assert_array_equal(found.arrays["mass"], [2, nan, nan])
    np.testing.assert_array_equal(found.arrays["success"], [nan, 1, nan])
    np.testing.assert_array_equal(found.arrays["pose"], [[nan, nan], [1.5, 2.5], [3, 4]])
    np.testing.assert_array_equal(found.arrays["none"], [nan, nan, 7])
    assert not found.left_out


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        (["a", "b"], "of type str"),
        ([{"deep": 1}, {"deep": 2}], "of type dict"),
        ([np.zeros(3), np.zeros(5)], r"shape from \(3,\) to \(5,\)"),
        ([1, [1, 2]], r"shape from \(\) to \(2,\)"),
        ([[[1], [1, 2]], 3], "of type list"),
        ([2**70, 1], "of type int"),
        ([1j, 2j], "of type complex"),
        ([2**53 + 1, 0.5], "of 2..53 or more"),
        ([2**53 + 1, None], "of 2..53 or more"),
        ([1, "none"], "of type str"),
    ],
    ids=str,
)
def test_what_cannot_be_stored_is_named_and_the_rest_is_kept(values, reason):
    found = stacked(*({"odd": value, "kept": 1} for value in values))
    assert list(found.arrays) == ["kept"] and list(found.left_out) == ["odd"]
    assert re.search(reason, found.left_out["odd"])


def test_an_image_is_one_for_the_episode_and_says_so_if_it_changes():
    first, second = np.zeros((4, 4, 3), np.uint8), np.ones((4, 4, 3), np.uint8)
    found = stacked({"goal_image": first}, {"goal_image": first, "map_image": first})
    assert set(found.images) == {"goal_image", "map_image"} and not found.left_out
    found = stacked({"goal_image": first}, {"goal_image": second})
    np.testing.assert_array_equal(found.images["goal_image"], first)
    assert "only the first" in found.left_out["goal_image"]


@pytest.mark.parametrize("dtype", [">f8", ">i4", np.longdouble, np.float16, np.uint16, np.int8])
def test_all_types_of_numbers_reach_the_disk(dtype):
    class Typed(Reusing):
        def reset(self, **settings):
            return super().reset(**settings)[0], {"x": np.array([1, 2], dtype)}

        def step(self, action):
            return *super().step(action)[:4], {"x": np.array([3, 4], dtype)}

    record = run_episode(Typed(), Random(), seed=0, max_steps=1)
    episode = to_episode(record, folder_info(Typed(), "typed", labelled=True))
    assert episode.info["x"].tolist() == [[1, 2], [3, 4]]
