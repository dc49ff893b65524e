"""What a planner is asked to solve."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import torch

from worldmodel.errors import ConfigError
from worldmodel.types import History

from .action_units import ActionUnits
from .costs.cost import Cost
from .dynamics import Dynamics
from .guardrails.guardrail import Guardrail


@dataclass(frozen=True)
class Problem:
    """One decision: from what was seen and done so far, in a model, what a plan is judged by."""

    model: Dynamics  # predicts states; planning does not change it
    history: History
    _: KW_ONLY
    costs: Sequence[Cost]  # bound to the model, and told where plans begin; summed
    guardrails: Sequence[Guardrail] = ()  # bound to the model; enforced

    def __post_init__(self) -> None:
        costs = [cost.after(self.history) for cost in self.costs]
        object.__setattr__(self, "costs", costs)

    @property
    def action_dim(self) -> int:
        """The dimension of an action block, which the history has too."""
        return self.history.actions.shape[1]

    @cached_property
    def choices(self) -> tuple[int, ...]:
        """How many alternatives each choice of an action block has; empty where it is numbers."""
        block = self.history.states.new_empty(self.action_dim)
        found = (guardrail.choices(block) for guardrail in self.guardrails)
        return next((counts for counts in found if counts), ())

    @cached_property
    def units(self) -> ActionUnits:
        """What every planner searches in: of the bounds of actions, or of the model's data.

        A model may tell `action_mean` and `action_std` of an action block, as `WorldModel` does.

        Raises:
            ConfigError: no action lies within all bounds.
        """
        block = self.history.states.new_empty(self.action_dim)
        low, high = block.fill_(-torch.inf), block.neg()
        for guardrail in self.guardrails:
            if bounds := guardrail.action_bounds(block):
                low, high = torch.maximum(low, bounds[0]), torch.minimum(high, bounds[1])
        if apart := (low > high).nonzero().flatten().tolist():
            least, most = (bound[apart[0]].item() for bound in (low, high))
            raise ConfigError(
                f"no action keeps all bounds: number {apart[0]} of an action block may not be "
                f"below {least:g} nor above {most:g}; guardrails exclude each other, or what the "
                "environment accepts"
            )
        mean, std = (getattr(self.model, f"action_{name}", None) for name in ("mean", "std"))
        if mean is None or std is None or mean.shape != block.shape:
            return ActionUnits.of(low, high)
        return ActionUnits.of(low, high, mean=mean.to(block), std=std.to(block))
