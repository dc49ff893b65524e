"""Policies without a model: they keep to the space and to the seed."""

import numpy as np
import pytest
from gymnasium.spaces import Box

from tests.planners.fakes import every_behaviour
from worldmodel.errors import ConfigError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.behaviours import NoOp, Random, SmoothRandom

SPACE = Box(-1.0, 1.0, (2,), np.float32)


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
