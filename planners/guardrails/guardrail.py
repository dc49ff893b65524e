"""The contract of a guardrail. A new one is one new file beside this; nothing else changes.

A guardrail that is learned from recorded episodes is made by a `Factory`.
"""

from abc import ABC

from torch import Tensor

from ..dynamics import ImageDynamics


class Guardrail(ABC):  # noqa: B024  # each overrides what it restricts, none must do both
    """What a plan must not cross; enforced, never weighed against a cost.

    A guardrail on actions overrides `project`, a guardrail on states overrides `margin`, and one
    on both overrides both.
    """

    def bind(self, model: ImageDynamics) -> "Guardrail":
        """This guardrail for the states of `model`; examples given as images are encoded here."""
        return self

    def project(self, actions: Tensor) -> Tensor:
        """The nearest allowed actions (k t a); the same where actions are not restricted."""
        return actions

    def action_bounds(self, actions: Tensor) -> tuple[Tensor, Tensor] | None:
        """The least and the most (both a) of each number of an action block like `actions` (a).

        None where the guardrail bounds no actions; a planner searches between the bounds.
        """
        return None

    def choices(self, actions: Tensor) -> tuple[int, ...]:
        """How many alternatives each choice of an action block like `actions` (a) has, if any."""
        return ()

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """How far each state is inside what is safe (k t): at least 0 is safe. Differentiable."""
        return states.new_full(states.shape[:2], float("inf"))
