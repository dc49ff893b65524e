"""Policies without a model: baselines for planners, and the behaviour that collects data."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldmodel.errors import ConfigError

from .action_space import ActionSpace
from .action_units import HUGE
from .episode_loop import Policy


class NoOp(Policy):
    """Does nothing: the zero action, or the nearest that the space allows; a choice's first."""

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        self._action = np.clip(np.zeros(space.dim, np.float32), space.low, space.high)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The same action (a) for every observation."""
        return self._action


class Random(Policy):
    """Every action is drawn afresh: uniformly between bounds and among choices.

    Where there are no bounds that mean anything, normally in `ActionUnits`.
    """

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        self._space, self._generator = space, np.random.default_rng(seed)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """A random action (a)."""
        units, draw = self._space.units, self._generator
        bounded = np.abs([self._space.low, self._space.high]).max(axis=0) < HUGE
        u = np.where(bounded, draw.uniform(-1, 1, self._space.dim), 0)
        if not bounded.all():
            u = np.where(bounded, u, draw.normal(size=self._space.dim))
        # Half a step further, so that the outermost whole numbers are as likely as the others.
        scale = units.scale.numpy() + (0.5 if self._space.whole else 0.0)
        drawn = units.centre.numpy() + scale * u
        return np.clip(drawn, self._space.low, self._space.high).astype(np.float32)


class SmoothRandom(Policy):
    """Random actions that persist: a discrete Ornstein-Uhlenbeck process, clipped to the space.

    Independent actions of a force cancel out and stay where they began; actions that persist
    travel. How long they persist is drawn anew for each episode (log-uniformly), so that the
    data hold both jitter, like a planner's candidates, and long paths. Of choices the one is taken
    whose process is highest.

    Args:
        correlation_steps: shortest and longest time, in environment steps, after which the
            correlation of two actions has fallen to 1/e.
        std: standard deviation of an action before clipping, in `ActionUnits`: half-widths of the
            space.
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

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        self._space = space
        self._generator = np.random.default_rng(seed)
        steps = np.exp(self._generator.uniform(*self._log_steps))
        self._keep = float(np.exp(-1 / steps))
        self._x = self._generator.normal(size=space.dim)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a) of the process."""
        units = self._space.units
        wanted = units.centre.numpy() + units.scale.numpy() * self._std * self._x
        noise = self._generator.normal(size=self._x.shape)
        self._x = self._keep * self._x + np.sqrt(1 - self._keep**2) * noise
        if self._space.choices:  # clipped, several would be highest
            return wanted.astype(np.float32)
        return np.clip(wanted, self._space.low, self._space.high).astype(np.float32)
