"""What a cost is. Adding one: one file beside this, no planner changes."""

from abc import ABC, abstractmethod

from torch import Tensor

from ..dynamics import ImageDynamics


class Cost(ABC):
    """What a plan should make small; the costs of a plan are summed.

    Each carries its own weight, so that a list of costs needs nothing beside it.
    """

    def bind(self, model: ImageDynamics) -> "Cost":
        """This cost on the states of `model`; a cost that was given as an image encodes it here."""
        return self

    @abstractmethod
    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d), each after a block of `actions` (k t a)."""
