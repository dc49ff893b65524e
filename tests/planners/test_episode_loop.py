"""The one loop, and the policies without a model."""

import sys

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text

from tests.planners.fakes import POINT_WORLD, SPEED, PointWorld, Towards, draw
from worldmodel.envs import TWO_ROOM, View
from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.behaviours import NoOp, Random, SmoothRandom
from worldmodel.planners.environment import make_env
from worldmodel.planners.episode_loop import _require_shown, run_episode

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


# Actions of every kind


BIASED = Box(np.array([0.5, -3.0], np.float32), np.array([1.0, 5.0], np.float32))
SPACES = {
    "biased": BIASED,
    "float64": Box(0.1, 0.3, (3,), np.float64),
    "float16": Box(-0.7, 512.3, (2,), np.float16),
    "bytes": Box(0, 255, (4,), np.uint8),
    "whole": Box(-3, 2, (2,), np.int64),
    "two axes": Box(-1.0, 1.0, (2, 3), np.float32),
    "one number": Box(-1.0, 1.0, (), np.float32),
    "no bounds": Box(-np.inf, np.inf, (2,), np.float32),
    "one bound": Box(2.0, np.inf, (2,), np.float32),
    "as good as none": Box(-3e38, 3e38, (2,), np.float32),
    "choice": Discrete(5),
    "choice from two on": Discrete(3, start=2),
    "choices": MultiDiscrete([2, 5]),
    "switches": MultiBinary(4),
}
every_space = pytest.mark.parametrize("space", SPACES.values(), ids=SPACES)


class Taking(PointWorld):
    """Takes actions of any space, keeps what it was given, and spoils it."""

    def __init__(self, space):
        super().__init__()
        self.action_space, self.given = space, []

    def step(self, action):
        assert self.action_space.contains(action), f"{action!r} is not in {self.action_space}"
        self.given.append(np.array(action))
        if isinstance(action, np.ndarray) and action.ndim:
            action[...] = 0
        return draw(self.position), 0.5, False, False, {}


every_behaviour = pytest.mark.parametrize(
    "policy", [NoOp(), Random(), SmoothRandom()], ids=lambda p: type(p).__name__
)


@every_space
@every_behaviour
def test_a_world_is_given_what_its_space_holds_and_exactly_that_is_recorded(space, policy):
    env = Taking(space)
    record = run_episode(env, policy, seed=0, max_steps=40)
    assert record.actions.dtype == np.float32 and record.rewards.tolist() == [0.5] * 40
    given = np.array([action.ravel() for action in env.given])
    np.testing.assert_array_equal(record.actions, given.astype(np.float64))
    vectors = ActionSpace.of(space)
    again = [np.ravel(vectors.again(action)) for action in record.actions]
    np.testing.assert_array_equal(again, given)
    low, high = vectors.recorded_bounds
    assert (low <= record.actions).all() and (record.actions <= high).all()
    # Bounds of 1e38 are no wish for actions of that size.
    assert np.abs(record.actions).max() < 1000


@every_space
def test_a_policy_that_is_far_out_is_brought_to_the_nearest_that_is_held(space):
    vectors = ActionSpace.of(space)
    for vector in (np.full(vectors.dim, 1e30), np.full(vectors.dim, -1e30)):
        assert space.contains(vectors.given(vector))


def test_random_choices_are_all_taken_about_as_often():
    for policy in (Random(), SmoothRandom((1.0, 1.0))):
        record = run_episode(Taking(Discrete(4)), policy, seed=1, max_steps=800)
        counts = np.bincount(record.actions[:, 0].astype(int), minlength=4)
        assert counts.min() > 140


def test_other_actions_are_refused_by_name():
    env = PointWorld()
    env.action_space = Text(3)
    with pytest.raises(EnvError, match="must be a Box, Discrete.*Text"):
        run_episode(env, NoOp(), seed=0)


# What strangers' worlds do wrong


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


def test_an_episode_goes_on_from_recorded_actions_where_the_start_looks_the_same():
    whole = run_episode(PointWorld(), Random(), seed=2, max_steps=9)
    part = run_episode(
        PointWorld(), NoOp(), seed=2, max_steps=2, replay=whole.actions[:5], shown=whole.frames[5]
    )
    np.testing.assert_array_equal(part.frames[0], whole.frames[5])
    np.testing.assert_array_equal(part.infos["position"][0], whole.infos["position"][5])
    with pytest.raises(EnvError, match="shows another start"):
        run_episode(PointWorld(), NoOp(), seed=3, replay=whole.actions[:5], shown=whole.frames[5])
    with pytest.raises(EnvError, match="recorded at.*view.size"):
        run_episode(PointWorld(), NoOp(), seed=2, shown=whole.frames[5, :8, :8])
    env = gymnasium.wrappers.TimeLimit(PointWorld(), 2)
    with pytest.raises(EnvError, match="ended at step 2 of 5"):
        run_episode(env, NoOp(), seed=2, replay=whole.actions[:5])


def dot(column, row=0):
    """A white dot of two pixels on a black image."""
    image = np.zeros((64, 64, 3), np.uint8)
    image[4 * row : 4 * row + 2, column : column + 2] = 255
    return image


def test_another_view_is_noticed_and_a_marker_elsewhere_is_not():
    shown = np.stack([dot(8 * i, row=2 * i) for i in range(8)]).max(axis=0)
    _require_shown(shown, shown, PointWorld())
    _require_shown(np.maximum(shown, dot(30, row=0)), shown, PointWorld())
    with pytest.raises(EnvError, match="shows another start"):
        _require_shown(np.roll(shown, 4, axis=1)[:, ::-1], shown, PointWorld())


@pytest.mark.parametrize("reward", [None, np.zeros(2), float("nan"), "much"])
def test_a_reward_that_is_no_number_is_refused(reward):
    class Paying(PointWorld):
        def step(self, action):
            observation, _, *rest = super().step(action)
            return observation, reward, *rest

    with pytest.raises(EnvError, match="reward of environment 'Paying' must be a finite number"):
        run_episode(Paying(), NoOp(), seed=0, max_steps=2)


def test_whole_numbers_are_all_as_likely_and_plans_are_of_them():
    space = ActionSpace.of(Box(0, 2, (1,), np.int64))
    actions = run_episode(Taking(space.space), Random(), seed=0, max_steps=900).actions
    assert np.bincount(actions[:, 0].astype(int)).min() > 240
    planned = space.guardrail.project(torch.tensor([[[0.4], [1.6], [9.0]]]))
    assert planned.flatten().tolist() == [0, 2, 2]
    wide = ActionSpace.of(Box(-(2**63), 2**63 - 1, (1,), np.int64))
    assert [int(wide.given(np.array([v]))[0]) for v in (-1e30, 1e30)] == [-(2**24), 2**24]


def test_a_limit_of_time_can_be_raised():
    env = make_env("CartPole-v1", view=View(size=16), steps=900)
    assert env.spec.max_episode_steps == 900
    assert make_env("CartPole-v1", view=View(size=16), steps=9).spec.max_episode_steps == 500


def test_a_policy_is_told_the_goal_that_was_chosen():
    class Told(NoOp):
        def reset(self, space, info, *, seed):
            super().reset(space, info, seed=seed)
            self.info = info

    policy, image = Told(), np.full((16, 16, 3), 7, np.uint8)
    record = run_episode(PointWorld(), policy, seed=0, max_steps=1, goal={"goal_image": image})
    assert policy.info["goal_image"] is image and "position" in policy.info
    np.testing.assert_array_equal(record.images["goal_image"], image)


# Behaviours


def draws(policy, n, *, seed=0, space=SPACE):
    policy.reset(ActionSpace.of(space), {}, seed=seed)
    return np.stack([policy(np.zeros((2, 2, 3), np.uint8), {}) for _ in range(n)])


@every_behaviour
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
    with pytest.raises(ConfigError, match="SmoothRandom needs"):
        SmoothRandom((5.0, 1.0))
    with pytest.raises(ConfigError, match=r"SmoothRandom needs .*\[shortest,longest\].*got 3"):
        SmoothRandom(3)
