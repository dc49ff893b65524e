"""What comes of actions that are carried out, as the states that a model would predict."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from .action_space import ActionSpace
from .dynamics import ImageDynamics
from .episode_loop import Policy


class Script(Policy):
    """Carries out actions (n a) in turn."""

    def __init__(self, actions: np.ndarray) -> None:
        self._actions = actions

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin with the first."""
        self._left = iter(self._actions)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next of them (a)."""
        return next(self._left)


def ends_of_blocks(model: ImageDynamics, count: int) -> np.ndarray:
    """At which of `count` frames an action block ends, where the first one begins at frame 0."""
    return np.arange(model.action_block, count, model.action_block)


def frames_of_states(
    model: ImageDynamics, frames: np.ndarray, *, before: np.ndarray | None = None
) -> np.ndarray:
    """The frames that each state after an action block is made of: t s h w c.

    Args:
        model: Says how many frames a state has, and how many steps a block.
        frames: n h w c, from the one at which the first block begins.
        before: Those that had been seen just before (m h w c); where there are too few, the world
            stood still before the first.
    """
    earlier = frames[:0] if before is None else before
    last = len(earlier) + ends_of_blocks(model, len(frames))
    seen = last[:, None] + np.arange(1 - model.state_frames, 1)
    return np.concatenate([earlier, frames])[np.maximum(seen, 0)]
