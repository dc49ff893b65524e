"""The range of actions that an environment accepts."""

from collections.abc import Sequence

import torch
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from .guardrail import Guardrail


class ActionBounds(Guardrail):
    """Keeps every dimension of an action between its bounds.

    Args:
        low: Lower bound of each dimension of an environment's action, or one for all.
        high: Upper bounds, likewise.
        whole: Only whole numbers are allowed.
    """

    def __init__(
        self, low: float | Sequence[float], high: float | Sequence[float], *, whole: bool = False
    ) -> None:
        self.whole = whole
        self.low = torch.atleast_1d(torch.as_tensor(low, dtype=torch.float32))
        self.high = torch.atleast_1d(torch.as_tensor(high, dtype=torch.float32))
        if self.low.shape != self.high.shape or not bool((self.low <= self.high).all()):
            raise ConfigError(
                "bounds need low <= high, and as many of one as of the other; got "
                f"{self.low.tolist()} and {self.high.tolist()}"
            )

    def project(self, actions: Tensor) -> Tensor:
        """The nearest allowed actions (k t a): clipped to the bounds, and whole where they must."""
        low, high = self._bounds(actions)
        inside = actions.clamp(low, high)
        return inside.round() if self.whole else inside

    def action_bounds(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """The bounds, for each step of a block."""
        return self._bounds(actions)

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """Distance (k t) of the worst dimension from its nearer bound; negative outside."""
        low, high = self._bounds(actions)
        return torch.minimum(actions - low, high - actions).amin(dim=-1)

    def _bounds(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        # An action block is several of the environment's actions, one after the other.
        per_block, left = divmod(actions.shape[-1], len(self.low))
        if left:
            raise ShapeError(
                f"{len(self.low)} bounds do not fit action blocks of dimension {actions.shape[-1]}"
            )
        return self.low.to(actions).repeat(per_block), self.high.to(actions).repeat(per_block)
