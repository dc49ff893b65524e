import warnings

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces
from gymnasium.utils.env_checker import check_env

from worldmodel.envs import TWO_ROOM
from worldmodel.envs.wrappers import PixelWorld


class Counter(gymnasium.Env):
    """A world whose image is its state: black, and one more white row after each step."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    observation_space = spaces.Box(-1, 1, (1,), np.float32)
    action_space = spaces.Discrete(2)

    def __init__(self, render_mode=None, *, shape=(40, 60, 3), dtype=np.uint8):
        self.render_mode, self.shape, self.dtype = render_mode, shape, dtype
        self.rows = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.rows = 0
        return np.zeros(1, np.float32), {"rows": self.rows}

    def step(self, action):
        self.rows += 1
        return np.zeros(1, np.float32), 0.5, False, False, {"rows": self.rows}

    def render(self):
        image = np.zeros(self.shape, self.dtype)
        image[: self.rows] = 255
        return image


def test_observations_are_area_means_of_the_image():
    env = PixelWorld(Counter("rgb_array"), size=20)
    observation, info = env.reset(seed=0)
    assert not observation.any() and "goal_image" not in info
    observation, reward, *_, info = env.step(0)
    # 40 rows become 20: one white row is half of the first.
    assert set(np.unique(observation[0])) <= {127, 128}
    assert not observation[1:].any()
    assert (reward, info["rows"]) == (0.5, 1)
    observation, *_ = env.step(0)
    assert (observation[0] == 255).all() and not observation[1:].any()


def test_a_goal_image_is_resized_and_given_at_reset_only():
    goal = np.full((33, 77, 3), 200, np.uint8)
    env = PixelWorld(Counter("rgb_array"), size=16, goal=goal)
    _, info = env.reset()
    np.testing.assert_array_equal(info["goal_image"], np.full((16, 16, 3), 200))
    assert "goal_image" not in env.step(0)[-1]


def test_a_goal_function_sees_the_environment_after_each_reset():
    seen = []

    def goal(env):
        seen.append(env.unwrapped.rows)
        return np.full((8, 8, 3), len(seen), np.uint8)

    env = PixelWorld(Counter("rgb_array"), size=8, goal=goal)
    images = []
    for _ in range(2):
        images.append(env.reset()[1]["goal_image"][0, 0, 0])
        env.step(0)
    assert seen == [0, 0] and images == [1, 2]


def test_an_environments_own_goal_image_follows_the_size():
    env = PixelWorld(gymnasium.make(TWO_ROOM, render_mode="rgb_array"), size=32)
    observation, info = env.reset(seed=3)
    assert observation.shape == info["goal_image"].shape == (32, 32, 3)
    assert (observation != info["goal_image"]).any()


def two_room():
    return gymnasium.make(TWO_ROOM, render_mode="rgb_array")


def reacher():
    return gymnasium.make("Reacher-v5", render_mode="rgb_array")


@pytest.mark.parametrize("make", [lambda: Counter("rgb_array"), two_room, reacher])
def test_check_env_passes_around_other_worlds(make):
    env = PixelWorld(make(), size=32)
    with warnings.catch_warnings():
        # The checker says of every wrapper that it is one.
        warnings.filterwarnings("ignore", ".*different from the unwrapped version.*")
        check_env(env, skip_render_check=True)
    env.close()


def test_an_environment_that_does_not_draw_is_refused():
    with pytest.raises(ValueError, match="render_mode='rgb_array'"):
        PixelWorld(Counter())


@pytest.mark.parametrize("size", [0, -3])
def test_a_size_must_be_positive(size):
    with pytest.raises(ValueError, match="size must be"):
        PixelWorld(Counter("rgb_array"), size=size)


@pytest.mark.parametrize(("shape", "dtype"), [((40, 60), np.uint8), ((40, 60, 3), np.float32)])
def test_a_image_that_is_none_is_refused(shape, dtype):
    env = PixelWorld(Counter("rgb_array", shape=shape, dtype=dtype))
    with pytest.raises(ValueError, match="must be h w 3 uint8"):
        env.reset()


def test_a_goal_that_is_no_image_is_refused():
    env = PixelWorld(Counter("rgb_array"), goal=lambda _: np.zeros((4, 4), np.uint8))
    with pytest.raises(ValueError, match="the goal must be"):
        env.reset()


def test_the_wrapper_is_part_of_the_spec():
    env = PixelWorld(gymnasium.make(TWO_ROOM, render_mode="rgb_array"), size=24)
    again = gymnasium.make(env.spec)
    np.testing.assert_array_equal(env.reset(seed=5)[0], again.reset(seed=5)[0])
