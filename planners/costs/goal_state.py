"""Distance to a goal in the model's own states."""

from functools import partial

from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from ..images import ImageInput
from .cost import Cost
from .from_image import FromImage


class GoalState(Cost):
    """Mean squared difference to a goal state, along the way and at the end.

    States that look alike are near by this cost; it knows nothing of walls between them (see
    `LandmarkDistance`).

    Args:
        state: The goal (d).
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(
        self, state: Tensor, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0
    ) -> None:
        if state.ndim != 1:
            raise ShapeError(f"a goal state must be d, got {tuple(state.shape)}")
        require_weights(weight, running, terminal)
        self.state, self.weight = state, weight
        self.running, self.terminal = running, terminal

    @staticmethod
    def from_image(
        image: ImageInput, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0
    ) -> Cost:
        """The same for the state that an image of the goal shows, at rest."""
        return FromImage(
            image, partial(GoalState, weight=weight, running=running, terminal=terminal)
        )

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        distance = (states - self.state).square().mean(dim=-1)
        return along_the_way(
            distance, weight=self.weight, running=self.running, terminal=self.terminal
        )


def along_the_way(distance: Tensor, *, weight: float, running: float, terminal: float) -> Tensor:
    """A cost (k) from a distance at each step (k t)."""
    return weight * (running * distance.mean(dim=1) + terminal * distance[:, -1])


def require_weights(*weights: float) -> None:
    """Refuse a negative weight: it would make a cost a reward."""
    if min(weights) < 0:
        raise ConfigError(f"weights of a cost must be at least 0, got {weights}")
