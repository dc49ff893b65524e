"""Policies without a model: baselines for planners, and the behaviour that collects data."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box

from worldmodel.errors import ConfigError

from .episode_loop import Policy


class NoOp(Policy):
    """Does nothing: the zero action, or the nearest that the space allows."""

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        zero = np.zeros(action_space.shape, np.float32)
        self._action = np.clip(zero, action_space.low, action_space.high)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The same action (a) for every observation."""
        return self._action


class Random(Policy):
    """Every action is drawn afresh, uniformly from the action space."""

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        _require_bounded(action_space)
        self._space = action_space
        self._generator = np.random.default_rng(seed)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """A random action (a)."""
        return self._generator.uniform(self._space.low, self._space.high).astype(np.float32)


class SmoothRandom(Policy):
    """Random actions that persist: a discrete Ornstein-Uhlenbeck process, clipped to the space.

    Independent actions of a force cancel out and stay where they began; actions that persist
    travel. How long they persist is drawn anew for each episode (log-uniformly), so that the
    data hold both jitter, like a planner's candidates, and long paths.

    Args:
        correlation_steps: shortest and longest time, in environment steps, after which the
            correlation of two actions has fallen to 1/e.
        std: standard deviation of an action before clipping, in half-widths of the space.
    """

    def __init__(
        self, correlation_steps: tuple[float, float] = (1.0, 12.0), std: float = 0.8
    ) -> None:
        steps = np.ravel(correlation_steps)
        if len(steps) != 2 or not 0 < steps[0] <= steps[1] or std <= 0:
            raise ConfigError(
                "SmoothRandom needs correlation_steps=[shortest,longest], 0 < shortest <= longest, "
                f"and std > 0, got {correlation_steps} and {std}"
            )
        self._log_steps = np.log(steps)
        self._std = std

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        _require_bounded(action_space)
        self._space = action_space
        self._generator = np.random.default_rng(seed)
        steps = np.exp(self._generator.uniform(*self._log_steps))
        self._keep = float(np.exp(-1 / steps))
        self._x = self._generator.normal(size=action_space.shape)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a) of the process."""
        low, high = self._space.low, self._space.high
        wanted = (high + low) / 2 + (high - low) / 2 * self._std * self._x
        action = np.clip(wanted, low, high).astype(np.float32)
        noise = self._generator.normal(size=self._x.shape)
        self._x = self._keep * self._x + np.sqrt(1 - self._keep**2) * noise
        return action


def _require_bounded(space: Box) -> None:
    if not space.is_bounded():
        raise ConfigError(f"random actions need a bounded action space, got {space}")
