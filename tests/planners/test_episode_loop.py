"""The one loop, and the policies without a model."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Discrete

from tests.planners.fakes import POINT_WORLD, SPEED, PointWorld, Towards
from worldmodel.envs import TWO_ROOM
from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners.behaviours import NoOp, Random, SmoothRandom
from worldmodel.planners.episode_loop import make_env, run_episode

SPACE = Box(-1.0, 1.0, (2,), np.float32)


def test_record_is_aligned():
    policy = Towards([0.0, 0.5])
    record = run_episode(PointWorld(), policy, seed=7, max_steps=5)
    assert record.steps == 5 and not record.success and record.seed == 7
    assert record.frames.shape == (6, 16, 16, 3) and record.frames.dtype == np.uint8
    position = record.infos["position"]
    assert position.shape == (6, 2)
    # actions[t] leads from frame t to frame t + 1.
    moved = np.clip(position[:-1] + SPEED * record.actions, -1, 1)
    np.testing.assert_allclose(position[1:], moved, atol=1e-6)
    seen = record.frames[:, 0, 0, :2] / 127.5 - 1
    np.testing.assert_allclose(seen, position, atol=1 / 127)
    # The policy saw the frames before each action.
    np.testing.assert_array_equal(policy.seen[1:], position[:-1])
    assert record.seconds.shape == (5,) and (record.seconds >= 0).all()
    assert record.numbers == {"seen": 5.0}


def test_infos_have_an_entry_for_each_frame_and_images_one_for_the_episode():
    record = run_episode(PointWorld(), Towards([0, 0]), seed=0, max_steps=2)
    assert set(record.infos) == {"position", "success", "hazard_contact"}
    assert set(record.images) == {"goal_image"}
    assert record.infos["success"].dtype == bool
    assert record.ever("hazard_contact") == record.infos["hazard_contact"].any()
    assert record.ever("no such info") is None
    assert list(record.left_out) == ["label"]  # a text


class Telling(PointWorld):
    """Tells only what it is asked to: names and values for the reset and for each step."""

    def __init__(self, *told):
        super().__init__()
        self.told = told

    def reset(self, **settings):
        observation, _ = super().reset(**settings)
        return observation, self.told[0]

    def step(self, action):
        observation, *_ = super().step(action)
        return observation, 0.0, False, False, self.told[len(self.taken)]


@pytest.mark.parametrize(
    ("told", "success"),
    [
        ([{}, {}, {}], None),
        ([{}, {"success": False}, {}], False),
        ([{}, {}, {"success": True}], True),
        ([{}, {"is_success": 0.0}, {"is_success": 1.0}], True),
        ([{"success": False}, {"is_success": True}, {}], True),
        ([{"success": None}, {"success": float("nan")}, {}], None),
        ([{}, {"success": "yes"}, {}], None),
    ],
)
def test_success_is_what_any_step_told_and_none_where_no_step_did(told, success):
    record = run_episode(Telling(*told), NoOp(), seed=0, max_steps=2)
    assert record.success is success
    assert record.ever("hazard_contact") is None


@pytest.mark.parametrize("shape", [(8, 8, 3), (16, 16), (16, 16, 3)])
def test_observations_that_change_are_refused(shape):
    class Changing(PointWorld):
        def step(self, action):
            dtype = np.float32 if shape == (16, 16, 3) else np.uint8
            return np.zeros(shape, dtype), *super().step(action)[1:]

    with pytest.raises(EnvError, match="of one size"):
        run_episode(Changing(), NoOp(), seed=0)


def test_ends_with_success_and_starts_with_the_seed():
    options = {"task": "hazard"}
    record = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=1, options=options, max_steps=50)
    assert record.success and record.steps == 14
    assert record.infos["success"].tolist() == [False] * 14 + [True]
    again = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=1, max_steps=3)
    other = run_episode(PointWorld(), Towards([1.0, 0.0]), seed=2, max_steps=3)
    assert not np.array_equal(again.frames, other.frames)


def test_actions_are_clipped_as_the_world_takes_them():
    record = run_episode(PointWorld(), Towards([3.0, -0.5]), seed=0, max_steps=2)
    assert record.actions.tolist() == [[1.0, -0.5]] * 2
    assert record.actions.dtype == np.float32


def test_truncation_ends_the_episode():
    env = gymnasium.wrappers.TimeLimit(PointWorld(), 3)
    assert run_episode(env, Towards([0, 0]), seed=0, max_steps=9).steps == 3


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0]])
def test_actions_that_are_none_are_refused(action):
    with pytest.raises(EnvError, match="policy must return"):
        run_episode(PointWorld(), Towards(action), seed=0)


def test_without_frames_only_the_images_go():
    record = run_episode(PointWorld(), Towards([0, 0]), seed=0, max_steps=4)
    slim = record.without_frames()
    assert slim.frames.shape == (0, 16, 16, 3) and slim.steps == 4 and len(record.frames) == 5


def test_make_env_passes_options_and_names_what_is_wrong():
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
    with pytest.raises(EnvError, match="not images.*PixelWorld"):
        make_env("Pendulum-v1")


def test_discrete_actions_are_refused():
    env = PointWorld()
    env.action_space = Discrete(3)
    with pytest.raises(EnvError, match="Box of one axis"):
        run_episode(env, NoOp(), seed=0)


# Behaviours


def draws(policy, n, *, seed=0, space=SPACE):
    policy.reset(space, {}, seed=seed)
    return np.stack([policy(np.zeros((2, 2, 3), np.uint8), {}) for _ in range(n)])


@pytest.mark.parametrize(
    "policy", [NoOp(), Random(), SmoothRandom()], ids=lambda p: type(p).__name__
)
def test_behaviours_keep_to_the_space_and_the_seed(policy):
    space = Box(np.array([0.5, -3.0], np.float32), np.array([1.0, 5.0], np.float32))
    first = draws(policy, 300, space=space)
    assert all(space.contains(action) for action in first)
    assert np.array_equal(first, draws(policy, 300, space=space))


def test_noop_does_nothing_where_that_is_allowed():
    assert not draws(NoOp(), 3).any()


def test_random_is_uniform_and_uncorrelated():
    actions = draws(Random(), 4000)
    assert np.abs(actions.mean(0)).max() < 0.05
    assert actions.var(0) == pytest.approx([1 / 3, 1 / 3], rel=0.05)
    assert abs(np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1]) < 0.05


@pytest.mark.parametrize("steps", [1.0, 8.0])
def test_smooth_random_persists_as_long_as_it_says(steps):
    actions = draws(SmoothRandom((steps, steps), std=0.2), 20_000)
    correlation = np.corrcoef(actions[1:, 0], actions[:-1, 0])[0, 1]
    assert correlation == pytest.approx(np.exp(-1 / steps), abs=0.03)
    assert actions.std(0) == pytest.approx([0.2, 0.2], rel=0.1)


def test_smooth_random_starts_in_its_stationary_state():
    first = np.stack([draws(SmoothRandom(std=0.3), 1, seed=s)[0] for s in range(1500)])
    assert first.std(0) == pytest.approx([0.3, 0.3], rel=0.08)


def test_behaviours_refuse_what_they_cannot_do():
    unbounded = Box(-np.inf, np.inf, (2,), np.float32)
    for policy in (Random(), SmoothRandom()):
        with pytest.raises(ConfigError, match="bounded action space"):
            policy.reset(unbounded, {}, seed=0)
    with pytest.raises(ConfigError, match="SmoothRandom needs"):
        SmoothRandom((5.0, 1.0))
    with pytest.raises(ConfigError, match=r"SmoothRandom needs .*\[shortest,longest\].*got 3"):
        SmoothRandom(3)
