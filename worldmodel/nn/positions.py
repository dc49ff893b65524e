"""How a transformer is given the position of each token in time, height and width.

`Rotary3D` rotates queries and keys; `SinCos3D` adds fixed sines and cosines to the tokens, as in
V-JEPA 1 (Bardes et al. 2024, arXiv:2404.08471).
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, nearest
from worldmodel.nn.patches import Grid


@dataclass(frozen=True)
class Rope:
    """One way to turn positions into rotations.

    Attributes:
        base: the slowest channel rotates by about 1/base a step.
        tiled: the published V-JEPA 2 repeats its d frequencies one after the other over the 2 d
            channels of an axis, so the two channels of a pair rotate by different angles; weights
            trained that way need it.
        side: rows and columns are counted as if the grid had so many; 0 counts those that it has.
        square: columns are spread as if there were as many as rows.
    """

    base: float = 100.0
    tiled: bool = False
    side: int = 0
    square: bool = False


ROPES = {
    "default": Rope(),
    "vjepa2": Rope(10_000.0, tiled=True),
    "vjepa2-ac": Rope(10_000.0, tiled=True, square=True),  # of the predictor; of its encoder vjepa2
    "vjepa2.1": Rope(10_000.0, side=16),
}
"""The rotary positions of each family of encoders, by name.

Sources: Assran et al. 2025, arXiv:2506.09985 (V-JEPA 2), arXiv:2603.14482 (V-JEPA 2.1).
"""


class Rotary3D(nn.Module):
    """Rotary positions for (time, height, width), computed once per grid and kept.

    The head is divided into three equal even parts, one for each axis, as in V-JEPA 2 (Assran et
    al. 2025, arXiv:2506.09985); the rest is not rotated. Neighbouring pairs of channels rotate
    together. Tables are kept because computing them took 40 % of a small training step.

    Args:
        head_width: dimension of an attention head.
        rope: the name of one of `ROPES`.
    """

    def __init__(self, head_width: int, rope: str = "default") -> None:
        super().__init__()
        if rope not in ROPES:
            raise ConfigError(f"no rope '{rope}': {nearest(rope, ROPES)}")
        self.rope = ROPES[rope]
        self.axis_pairs = head_width // 6
        self.rest_pairs = head_width // 2 - 3 * self.axis_pairs
        self._tables: dict[tuple[Grid, torch.device], Tensor] = {}

    def table(self, grid: Grid, device: torch.device) -> Tensor:
        """The rotations e^{i angle} of every position on the grid: n (d/2), complex64.

        One for each channel instead of one for each pair, n d, where the rope is tiled.
        """
        key = (grid, device)
        if key not in self._tables:
            self._tables[key] = self._table(grid, device)
        return self._tables[key]

    @torch.inference_mode(False)  # the kept table must serve training too
    def _table(self, grid: Grid, device: torch.device) -> Tensor:
        frequency = self.rope.base ** (-torch.arange(self.axis_pairs) / self.axis_pairs)
        rest = self.rest_pairs
        if self.rope.tiled:
            frequency, rest = frequency.repeat(2), 2 * rest
        axes = torch.meshgrid(*self._coordinates(grid), indexing="ij")
        angles = [rearrange(a, "t h w -> (t h w) 1") * frequency for a in axes]
        angle = torch.cat([*angles, torch.zeros(len(angles[0]), rest)], dim=1)
        return torch.polar(torch.ones_like(angle), angle).to(device)

    def _coordinates(self, grid: Grid) -> list[Tensor]:
        """The coordinate of each step along each axis."""
        steps = [torch.arange(count) for count in grid]
        if self.rope.square:
            _, h, w = grid
            return [steps[0].float(), steps[1].float(), steps[2] * h / w]
        if not self.rope.side:
            return steps
        spread = [p * (self.rope.side - 1) / max(len(p) - 1, 1) for p in steps[1:]]
        return [steps[0].float(), *spread]

    def forward(self, grid: Grid, ids: Tensor | None, device: torch.device) -> tuple[Tensor, ...]:
        """Cosines and sines at the positions `ids` (b n; all of them if None): (b or 1) 1 n d/2."""
        table = self.table(grid, device)
        rotation = table[None] if ids is None else table[ids]
        return rotation.real[:, None], rotation.imag[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of channels of x (b heads n d) by the angles of their positions.

    Cosines and sines are given for each pair (... n d/2) or for each channel (... n d).
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    if cos.shape[-1] == x.shape[-1]:
        turned = (
            even * cos[..., 0::2] - odd * sin[..., 0::2],
            even * sin[..., 1::2] + odd * cos[..., 1::2],
        )
    else:
        turned = (even * cos - odd * sin, even * sin + odd * cos)
    return torch.stack(turned, dim=-1).flatten(-2)


class SinCos3D(nn.Module):
    """Sines and cosines of positions on the grid in training, resampled for other grids.

    Each axis has an equal share of a token's dimensions, in the order time, height, width: first
    sin(position / 10000^(i / n)) for i = 0 ... n-1, then the cosines.

    Args:
        width: dimension of a token.
        trained_grid: the grid (t, h, w) in training.
        counted: a shorter clip takes the first time steps, as V-JEPA 1's predictor does; its
            encoder resamples there too.
    """

    def __init__(self, width: int, trained_grid: Grid, *, counted: bool = False) -> None:
        super().__init__()
        self.width, self.trained_grid, self.counted = width, trained_grid, counted
        self._tables: dict[tuple[Grid, torch.device], Tensor] = {}

    def table(self, grid: Grid, device: torch.device) -> Tensor:
        """The table that is added to all tokens of a grid: n d."""
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
        """The rows of the table at the positions `ids` (b n; all if None): (b or 1) n d."""
        table = self.table(grid, device)
        return table[None] if ids is None else table[ids]


def sincos(width: int, grid: Grid) -> Tensor:
    """Sines and cosines of every position on a grid: t h w d, float32."""
    share = 2 * math.ceil(width / 6)  # of an axis; the last is cut to fit
    frequency = 10_000.0 ** (-torch.arange(share // 2, dtype=torch.float64) / (share / 2))
    parts = []
    for position in torch.meshgrid(*(torch.arange(s) for s in grid), indexing="ij"):
        angle = position[..., None] * frequency
        parts += [angle.sin(), angle.cos()]
    return torch.cat(parts, dim=-1)[..., :width].float()
