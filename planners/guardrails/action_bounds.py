"""Actions that the environment takes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from .guardrail import Guardrail


class ActionBounds(Guardrail):
    """Each action number stays between its bounds.

    Args:
        low: Lower bound of every number of an environment's action, or one for all.
        high: Upper bound, alike.
    """

    def __init__(self, low: float | Sequence[float], high: float | Sequence[float]) -> None:
        self.low = torch.atleast_1d(torch.as_tensor(low, dtype=torch.float32))
        self.high = torch.atleast_1d(torch.as_tensor(high, dtype=torch.float32))
        if self.low.shape != self.high.shape or not bool((self.low <= self.high).all()):
            raise ConfigError(
                f"bounds must be as many, low <= high; got {self.low.tolist()} and "
                f"{self.high.tolist()}"
            )

    def project(self, actions: Tensor) -> Tensor:
        """Actions (k t a) cut off at the bounds: the nearest allowed ones."""
        low, high = self._bounds(actions)
        return actions.clamp(low, high)

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """Distance (k t) of the worst action number from its nearer bound; negative outside."""
        low, high = self._bounds(actions)
        return torch.minimum(actions - low, high - actions).amin(dim=-1)

    def _bounds(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        # An action block is several of the environment's actions, one after the other.
        per_block, left = divmod(actions.shape[-1], len(self.low))
        if left:
            raise ShapeError(
                f"{len(self.low)} bounds do not fit action blocks of {actions.shape[-1]} numbers"
            )
        return self.low.to(actions).repeat(per_block), self.high.to(actions).repeat(per_block)
