"""The border to environments of others: how they are made, and what they do wrong."""

import sys

import numpy as np
import pytest

from tests.planners.fakes import POINT_WORLD, PointWorld
from worldmodel.envs import TWO_ROOM, View
from worldmodel.errors import EnvError
from worldmodel.planners.behaviours import NoOp
from worldmodel.planners.environment import make_env, reset
from worldmodel.planners.episode_loop import run_episode


def test_a_seed_decides_what_a_world_draws_from_numpy_and_nothing_of_the_caller_s():
    class Drawing(PointWorld):
        def reset(self, *, seed=None, options=None):
            image, info = super().reset(seed=seed, options=options)
            return image, info | {"drawn": np.random.random()}

    np.random.seed(5)
    expected = np.random.random(2)
    np.random.seed(5)
    drawn = [reset(Drawing(), seed=seed)[1]["drawn"] for seed in (1, 2, 1)]
    assert drawn[0] == drawn[2] != drawn[1]
    assert np.array_equal(np.random.random(2), expected)


@pytest.mark.parametrize("shape", [(8, 8, 3), (16, 16), (16, 16, 3)])
def test_observations_that_change_are_refused(shape):
    class Changing(PointWorld):
        def step(self, action):
            dtype = np.float32 if shape == (16, 16, 3) else np.uint8
            return np.zeros(shape, dtype), *super().step(action)[1:]

    with pytest.raises(EnvError, match="of one size"):
        run_episode(Changing(), NoOp(), seed=0)


def test_make_env_passes_options_and_names_what_is_wrong(monkeypatch):
    env = make_env(POINT_WORLD, {"speed": 0.5})
    assert env.unwrapped.speed == 0.5
    with pytest.raises(EnvError, match="cannot make environment 'no/Such-v0'.*before a colon"):
        make_env("no/Such-v0")
    with pytest.raises(EnvError, match="No module named 'no_such'.*PYTHONPATH="):
        make_env("no_such:no/Such-v0")
    with pytest.raises(EnvError, match="does not take {'wings': 2}"):
        make_env(POINT_WORLD, {"wings": 2})
    with pytest.raises(EnvError, match=r"does not take \{'size': 4\}: size must be at least 16"):
        make_env(TWO_ROOM, {"size": 4})
    with pytest.raises(EnvError, match="not images.*worldmodel.envs.View"):
        make_env("Pendulum-v1")
    monkeypatch.setitem(sys.modules, "gym_pusht", None)
    with pytest.raises(EnvError, match=r"gym_pusht.*install gym-pusht.*worldmodel\[worlds\]"):
        make_env("gym_pusht:gym_pusht/PushT-v0")


def test_a_view_that_changes_nothing_is_refused():
    assert make_env(POINT_WORLD, view=View(), size=32).observation_space.shape == (16, 16, 3)
    with pytest.raises(EnvError, match=r"observes images by itself, so view.size= changes nothing"):
        make_env(POINT_WORLD, view=View(size=32))


class Wrong(PointWorld):
    """Does one thing wrong."""

    def __init__(self, what):
        super().__init__()
        self.what = what

    def reset(self, **settings):
        observation, info = super().reset(**settings)
        if self.what == "reset dies":
            raise ZeroDivisionError
        return observation if self.what == "no info" else (observation, info)

    def step(self, action):
        found = super().step(action)
        if self.what == "step dies":
            raise RuntimeError("out of paper\nand ink")
        return found[:4] if self.what == "four values" else found


@pytest.mark.parametrize(
    ("what", "message"),
    [
        ("no info", r"reset of environment 'Wrong' must return \(observation, info\).*ndarray"),
        ("reset dies", "'Wrong' failed in its reset with seed 3: ZeroDivisionError"),
        ("four values", "a step of environment 'Wrong' must return.*a tuple of 4"),
        ("step dies", "'Wrong' failed in step 1: RuntimeError: out of paper$"),
    ],
)
def test_what_an_environment_does_wrong_is_one_line(what, message):
    with pytest.raises(EnvError, match=message):
        run_episode(Wrong(what), NoOp(), seed=3)


@pytest.mark.parametrize("reward", [None, np.zeros(2), float("nan"), "much"])
def test_a_reward_that_is_no_number_is_refused(reward):
    class Paying(PointWorld):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, reward, *rest

    with pytest.raises(EnvError, match="reward of environment 'Paying' must be a finite number"):
        run_episode(Paying(), NoOp(), seed=0, max_steps=2)


def test_a_limit_of_time_can_be_raised():
    env = make_env("CartPole-v1", view=View(size=16), steps=900)
    assert env.spec.max_episode_steps == 900
    assert make_env("CartPole-v1", view=View(size=16), steps=9).spec.max_episode_steps == 500
