"""Actions of every kind: what an environment is given, and what is recorded of it."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Text

from tests.planners.fakes import PointWorld, draw, every_behaviour
from worldmodel.errors import EnvError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.behaviours import NoOp, Random, SmoothRandom
from worldmodel.planners.episode_loop import run_episode

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


def test_whole_numbers_are_all_as_likely_and_plans_are_of_them():
    space = ActionSpace.of(Box(0, 2, (1,), np.int64))
    actions = run_episode(Taking(space.space), Random(), seed=0, max_steps=900).actions
    assert np.bincount(actions[:, 0].astype(int)).min() > 240
    planned = space.guardrail.project(torch.tensor([[[0.4], [1.6], [9.0]]]))
    assert planned.flatten().tolist() == [0, 2, 2]
    wide = ActionSpace.of(Box(-(2**63), 2**63 - 1, (1,), np.int64))
    assert [int(wide.given(np.array([v]))[0]) for v in (-1e30, 1e30)] == [-(2**24), 2**24]
