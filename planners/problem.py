"""What a planner is asked to solve."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

from worldmodel.types import History

from .costs.cost import Cost
from .dynamics import Dynamics
from .guardrails.guardrail import Guardrail


@dataclass(frozen=True)
class Problem:
    """One decision: from what was seen and done so far, in a model, what a plan is judged by."""

    model: Dynamics  # predicts states; planning does not change it
    history: History
    _: KW_ONLY
    costs: Sequence[Cost]  # bound to the model; summed
    guardrails: Sequence[Guardrail] = ()  # bound to the model; enforced

    @property
    def action_dim(self) -> int:
        """The dimension of an action block, which the history has too."""
        return self.history.actions.shape[1]
