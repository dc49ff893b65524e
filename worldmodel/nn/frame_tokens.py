"""All tokens of a time step, side by side, as its state: for models that predict tokens."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.nn.blocks import arguments
from worldmodel.nn.heads import Head


class FrameTokens(Head):
    """The tokens of a time step, each normed, as one state of `h w token_width` dimensions.

    Learns nothing, so that it suits a frozen encoder: DINO-WM (Zhou et al. 2024, arXiv:2411.04983),
    V-JEPA 2-AC (Assran et al. 2025, arXiv:2506.09985). After the tokens a state has room for what
    a body knows of itself, which no image tells: zeros, its mean, until somebody says it.

    Args:
        grid: of the tokens of a time step: h w.
        token_width: dimension of a token.
        proprioception: dimensions for what a body knows of itself.
        told: name of the info that tells it; None where it has no name.
        still: a state is of one frame, which is shown to the encoder as if it stood still.
    """

    per_token = False
    known_mean: Tensor  # s, of proprioception, in its own units
    known_std: Tensor  # s

    def __init__(
        self, grid: Sequence[int], token_width: int, *, proprioception: int = 0,
        told: str | None = None, still: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = arguments(locals())
        self.grid, self.token_width = (int(grid[0]), int(grid[1])), token_width
        self.dim, self.extra = math.prod(self.grid) * token_width, proprioception
        self.told, self.still = told, still
        if proprioception:
            self.register_buffer("known_mean", torch.zeros(proprioception))
            self.register_buffer("known_std", torch.ones(proprioception))

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b n d -> one state b 1 (n d + proprioception).

        Raises:
            ShapeError: they are not on this grid.
        """
        if tokens.shape[1:] != (math.prod(self.grid), self.token_width):
            raise ShapeError(
                f"states of tokens on a grid of {self.grid} with {self.token_width} dimensions "
                f"cannot be made from {tuple(tokens.shape[1:])}"
            )
        normed = F.layer_norm(tokens, tokens.shape[-1:]).flatten(1)
        unknown = normed.new_zeros(len(normed), self.extra)
        return torch.cat([normed, unknown], dim=1)[:, None]

    def with_known(self, states: Tensor, known: Tensor) -> Tensor:
        """States (... d) that are told what a body knows of itself (... s), in its own units.

        Raises:
            ShapeError: it is of another shape.
        """
        if known.shape != (*states.shape[:-1], self.extra):
            raise ShapeError(
                f"this model takes proprioception of shape {(*states.shape[:-1], self.extra)}, got "
                f"{tuple(known.shape)}"
            )
        if not self.extra:
            return states
        normed = (known.to(states) - self.known_mean) / self.known_std
        return torch.cat([states[..., : self.dim], normed], dim=-1)
