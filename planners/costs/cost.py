"""The contract of a cost. A new one is one new file beside this; nothing else changes.

A cost that needs the goal of an episode, or recorded episodes, is made by a `Factory`.
"""

from abc import ABC, abstractmethod

from torch import Tensor

from worldmodel.types import History

from ..dynamics import ImageDynamics


class Cost(ABC):
    """What a plan should make small; the costs of a plan are summed, each with its own weight."""

    def bind(self, model: ImageDynamics) -> "Cost":
        """This cost for the states of `model`; a cost that was given an image encodes it here."""
        return self

    def after(self, history: History) -> "Cost":
        """This cost for the plans of one decision, which begin after `history`.

        `Problem` asks for it once at each decision. Most costs are the same in all.
        """
        return self

    @abstractmethod
    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d), each of which follows a block of `actions` (k t a)."""
