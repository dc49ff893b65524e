"""A cost on the actions themselves."""

from torch import Tensor

from .cost import Cost
from .goal_state import require_weights


class ActionEffort(Cost):
    """Mean square of the actions over steps and dimensions.

    Args:
        weight: Of this cost among others.
    """

    def __init__(self, weight: float = 1.0) -> None:
        require_weights(weight)
        self.weight = weight

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `actions` (k t a)."""
        return self.weight * actions.square().mean(dim=(1, 2))
