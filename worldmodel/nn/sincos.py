"""Fixed positions that are added to tokens: sines and cosines of time, height and width.

What V-JEPA 1 uses (Bardes et al. 2024, arXiv:2404.08471); `Rotary3D` turns queries and keys
instead.
"""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.nn.patches import Grid


class SinCos3D(nn.Module):
    """Sines and cosines of places on the grid that a model was trained on, resampled on others.

    An equal share of a token's numbers tells each axis, in the order time, height, width: first
    sin(place / 10000^(i / n)) for i = 0 ... n-1, then the cosines.

    Args:
        width: numbers in a token.
        trained_grid: the grid (t, h, w) in training.
        counted: a shorter clip takes the first time steps, as V-JEPA 1's predictor does; its encoder
            resamples there too.
    """

    def __init__(self, width: int, trained_grid: Grid, *, counted: bool = False) -> None:
        super().__init__()
        self.width, self.trained_grid, self.counted = width, trained_grid, counted
        self._tables: dict[tuple[Grid, torch.device], Tensor] = {}

    def table(self, grid: Grid, device: torch.device) -> Tensor:
        """What is added at every place of the grid: n d."""
        key = (grid, device)
        if key not in self._tables:
            trained = sincos(self.width, self.trained_grid)
            table = rearrange(trained, "t h w d -> 1 d t h w")
            shorter = grid[1:] == self.trained_grid[1:] and grid[0] <= self.trained_grid[0]
            if self.counted and shorter:
                table = table[:, :, : grid[0]]
            elif grid != self.trained_grid:
                table = F.interpolate(table, size=grid, mode="trilinear")
            self._tables[key] = rearrange(table, "1 d t h w -> (t h w) d").to(device)
        return self._tables[key]

    def forward(self, grid: Grid, ids: Tensor | None, device: torch.device) -> Tensor:
        """What is added at the places `ids` (b n; all of them if None): (b or 1) n d."""
        table = self.table(grid, device)
        return table[None] if ids is None else table[ids]


def sincos(width: int, grid: Grid) -> Tensor:
    """Sines and cosines of every place of a grid: t h w d, float32."""
    share = 2 * math.ceil(width / 6)  # of an axis; what is too much is cut from the last
    frequency = 10_000.0 ** (-torch.arange(share // 2, dtype=torch.float64) / (share / 2))
    parts = []
    for place in torch.meshgrid(*(torch.arange(s) for s in grid), indexing="ij"):
        angle = place[..., None] * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)[..., :width].float()
