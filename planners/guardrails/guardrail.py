"""What a guardrail is. Adding one: one file beside this, no planner changes."""

from abc import ABC

from torch import Tensor

from ..dynamics import ImageDynamics


class Guardrail(ABC):  # noqa: B024  # each overrides what it restricts, none must do both
    """What a plan must not cross; enforced, never weighed against a cost.

    One that forbids actions says how to `project` into those allowed; one that forbids states
    says by which `margin` a state is safe. A guardrail may do both.
    """

    def bind(self, model: ImageDynamics) -> "Guardrail":
        """This guardrail on the states of `model`; images are encoded and fitted here."""
        return self

    def project(self, actions: Tensor) -> Tensor:
        """The nearest allowed actions (k t a); the same where actions are not restricted."""
        return actions

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """How safe each state is (k t): at least 0 is safe. Differentiable."""
        return states.new_full(states.shape[:2], float("inf"))
