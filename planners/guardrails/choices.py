"""Actions that are choices: one of each, not a mixture."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError

from .guardrail import Guardrail


class Choices(Guardrail):
    """Keeps each choice of an action to one of its alternatives.

    Args:
        counts: How many alternatives each choice of an environment's action has.
    """

    def __init__(self, counts: Sequence[int]) -> None:
        if not counts or min(counts) < 1:
            raise ConfigError(f"each choice needs at least one alternative, got {list(counts)}")
        self.counts = tuple(counts)

    def project(self, actions: Tensor) -> Tensor:
        """The alternative with the largest number gets 1, all others 0: k t a."""
        parts = actions.split(list(self.choices(actions)), dim=-1)
        chosen = [F.one_hot(part.argmax(dim=-1), part.shape[-1]) for part in parts]
        return torch.cat(chosen, dim=-1).to(actions)

    def choices(self, actions: Tensor) -> tuple[int, ...]:
        """The counts, for each step of a block."""
        steps, left = divmod(actions.shape[-1], sum(self.counts))
        if left:
            raise ShapeError(
                f"choices among {self.counts} do not fit action blocks of dimension "
                f"{actions.shape[-1]}"
            )
        return self.counts * steps

    def action_bounds(self, actions: Tensor) -> tuple[Tensor, Tensor]:
        """From 0 to 1."""
        return torch.zeros_like(actions), torch.ones_like(actions)
