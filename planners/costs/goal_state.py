"""Distance to a goal in the model's own states."""

from collections.abc import Mapping
from functools import partial
from typing import Any

from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from ..factory import Factory
from ..image_states import ImageInput
from .cost import Cost
from .from_image import FromImage, goal_image


class GoalState(Cost):
    """Mean squared difference to the nearest goal state, over all steps and at the last one.

    States that look alike are close by this cost, whatever wall is between them; see
    `LandmarkDistance`.

    Args:
        state: The goal (d), or several (g d), any of which will do.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(
        self, state: Tensor, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0
    ) -> None:
        if state.ndim not in (1, 2) or not state.numel():
            raise ShapeError(f"a goal state must be d, or g d, got {tuple(state.shape)}")
        require_weights(weight, running, terminal)
        self.state, self.weight = state, weight
        self.running, self.terminal = running, terminal

    @staticmethod
    def from_image(
        image: ImageInput, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0
    ) -> Cost:
        """The distance to the state that an image of the goal shows, or any of several, at rest."""
        return FromImage(
            image, partial(GoalState, weight=weight, running=running, terminal=terminal)
        )

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        goals = self.state.reshape(-1, self.state.shape[-1])
        distance = (states[..., None, :] - goals).square().mean(dim=-1).amin(dim=-1)
        return over_steps(
            distance, weight=self.weight, running=self.running, terminal=self.terminal
        )


class GoalImage(Factory[Cost]):
    """`GoalState` for the goal image of each episode.

    Args:
        weight: See `GoalState`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(self, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0) -> None:
        require_weights(weight, running, terminal)
        self.weight, self.running, self.terminal = weight, running, terminal

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The distance to the state that `info["goal_image"]` shows."""
        return GoalState.from_image(goal_image(info), **vars(self))


def over_steps(distance: Tensor, *, weight: float, running: float, terminal: float) -> Tensor:
    """A cost (k) from a distance at each step (k t): its mean, and its last value."""
    return weight * (running * distance.mean(dim=1) + terminal * distance[:, -1])


def require_weights(*weights: float) -> None:
    """Refuse a negative weight, which would make a cost a reward."""
    if min(weights) < 0:
        raise ConfigError(f"weights of a cost must be at least 0, got {weights}")
