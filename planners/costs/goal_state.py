"""Distance to a goal in the model's own states."""

from collections.abc import Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.objectives.distances import Distance, check_distance, distances

from ..factory import Factory
from ..image_states import ImageInput
from .cost import Cost
from .from_image import FromImage, goal_image


class GoalState(Cost):
    """Distance to the nearest goal state, over all steps and at the last one.

    States that look alike are close by this cost, whatever wall is between them; see
    `LandmarkDistance`.

    Args:
        state: The goal (d), or several (g d), any of which will do. If it is shorter than the
            states, it is compared with their first dimensions.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        distance: `l2`, the mean squared difference; `l1`, as V-JEPA 2-AC plans; `smooth_l1`, or
            `cosine`.
    """

    def __init__(
        self, state: Tensor, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0,
        distance: Distance = "l2",
    ) -> None:  # fmt: skip
        check_distance(distance)
        if state.ndim not in (1, 2) or not state.numel():
            raise ShapeError(f"a goal state must be d, or g d, got {tuple(state.shape)}")
        require_weights(weight, running, terminal)
        self.state, self.weight = state, weight
        self.running, self.terminal, self.distance = running, terminal, distance

    @staticmethod
    def from_image(
        image: ImageInput, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0,
        distance: Distance = "l2",
    ) -> Cost:  # fmt: skip
        """The distance to the state that an image of the goal shows, or any of several, at rest."""
        build = partial(
            GoalState, weight=weight, running=running, terminal=terminal, distance=distance
        )
        return FromImage(image, build)

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        goals = self.state.reshape(-1, self.state.shape[-1])
        shown = states[..., : goals.shape[-1]]
        if shown.shape[-1] < goals.shape[-1]:
            raise ShapeError(f"a goal of {goals.shape[-1]} dimensions, states of {shown.shape[-1]}")
        far = [distances(shown, goal.expand_as(shown), self.distance) for goal in goals]
        distance = torch.stack(far).amin(dim=0)
        return over_steps(
            distance, weight=self.weight, running=self.running, terminal=self.terminal
        )


class GoalImage(Factory[Cost]):
    """`GoalState` for the goal image of each episode.

    Args:
        weight: See `GoalState`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        distance: `l2`, `l1`, `smooth_l1` or `cosine`.
    """

    def __init__(
        self, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0,
        distance: Distance = "l2",
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        check_distance(distance)
        self.weight, self.running, self.terminal = weight, running, terminal
        self.distance = distance

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
