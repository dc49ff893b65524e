"""A cost on what a model does not know."""

from typing import Protocol, runtime_checkable

from torch import Tensor

from worldmodel.errors import ConfigError

from ..dynamics import ImageDynamics
from .cost import Cost
from .goal_state import require_weights


@runtime_checkable
class DoubtfulDynamics(Protocol):
    """A model that can say where it does not know what follows."""

    def disagreement(self, states: Tensor, actions: Tensor) -> Tensor:
        """Of states (k t d) and the action blocks taken there (k t a): k t."""
        ...


class Disagreement(Cost):
    """How much the members of an ensemble disagree along a plan, the mean over its steps.

    Keeps plans where the model has seen data. The first steps are not counted: what led to them is
    not among the states of a plan.

    Args:
        weight: Of this cost among others.
    """

    def __init__(self, weight: float = 1.0) -> None:
        require_weights(weight)
        self.weight = weight
        self._model: DoubtfulDynamics | None = None

    def bind(self, model: ImageDynamics) -> "Disagreement":
        """This cost for an ensemble.

        Raises:
            ConfigError: the model cannot say where it does not know.
        """
        if not isinstance(model, DoubtfulDynamics):
            raise ConfigError(
                f"Disagreement needs a model with several predictors, {type(model).__name__} has "
                "none: train with model.action=Ensemble"
            )
        bound = Disagreement(self.weight)
        bound._model = model
        return bound

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d), each after a block of `actions` (k t a)."""
        if self._model is None:
            raise ConfigError("Disagreement needs cost.bind(model) first; Agent does it")
        doubt = self._model.disagreement(states[:, :-1], actions[:, 1:])
        counted = doubt[:, getattr(self._model, "action_least", 1) - 1 :]
        if not counted.shape[1]:
            return states.new_zeros(len(states))
        return self.weight * counted.mean(dim=1)
