"""How a transformer is given the position of each token in time, height and width.

`Rotary3D` rotates queries and keys; `SinCos3D` adds fixed sines and cosines to the tokens, as in
V-JEPA 1 (Bardes et al. 2024, arXiv:2404.08471).
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, nearest
from worldmodel.nn.patches import Grid

Rotation = tuple[Tensor, ...]
"""Complex factors (b or 1) 1 n d/2 of pairs of channels; where tiled, also of their conjugates."""


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

    def forward(self, grid: Grid, ids: Tensor | None, device: torch.device) -> Rotation:
        """The rotation at the positions `ids` (b n; all of them if None)."""
        table = self.table(grid, device)
        return rotation_of((table[None] if ids is None else table[ids])[:, None], self.rope)


def rotation_of(table: Tensor, rope: Rope) -> Rotation:
    """What `rotate` takes: from a table of complex numbers (b or 1) 1 n d/2, or n d where tiled."""
    if not rope.tiled:
        return (table,)
    # e cos a - o sin a, e sin b + o cos b: as a complex number of e + i o, what turns both
    # by the mean of a and b, and what is left.
    first, second = table[..., 0::2], table[..., 1::2]
    return (first + second) / 2, ((first - second) / 2).conj().resolve_conj()


def rotate(x: Tensor, rotation: Rotation) -> Tensor:
    """Rotate neighbouring pairs of channels of x (b heads n d) by the angles of their positions."""
    if x.dtype in (torch.float32, torch.float64) and not torch.compiler.is_compiling():
        rotated: Tensor = _Rotate.apply(x, rotation[0], rotation[1] if rotation[1:] else None)
        return rotated
    even, odd = x[..., 0::2], x[..., 1::2]
    turn, *rest = rotation
    turned = even * turn.real - odd * turn.imag, even * turn.imag + odd * turn.real
    if rest:
        (skew,) = rest
        turned = (
            turned[0] + even * skew.real + odd * skew.imag,
            turned[1] + even * skew.imag - odd * skew.real,
        )
    return torch.stack(turned, dim=-1).flatten(-2).to(x.dtype)


class _Rotate(torch.autograd.Function):
    """Pairs as complex numbers: a quarter of the time on a CPU, where every second one is slow."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x: Tensor, turn: Tensor, skew: Tensor | None) -> Tensor:
        return _from_pairs(_turned(_as_pairs(x), turn, skew))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Tensor, Tensor, Tensor | None], output: Any) -> None:
        _, turn, skew = inputs
        ctx.save_for_backward(turn, skew)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        turn, skew = ctx.saved_tensors
        # The transposed rotation.
        return _from_pairs(_turned(_as_pairs(grad), turn.conj(), skew)), None, None


def _turned(pairs: Tensor, turn: Tensor, skew: Tensor | None) -> Tensor:
    return pairs * turn if skew is None else pairs * turn + pairs.conj() * skew


def _as_pairs(x: Tensor) -> Tensor:
    pairs = rearrange(x, "... (n two) -> ... n two", two=2)
    starts = (pairs.storage_offset(), *pairs.stride()[:-1])
    if pairs.stride(-1) != 1 or any(start % 2 for start in starts):
        pairs = pairs.clone(memory_format=torch.contiguous_format)
    return torch.view_as_complex(pairs)


def _from_pairs(pairs: Tensor) -> Tensor:
    return rearrange(torch.view_as_real(pairs), "... n two -> ... (n two)")


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
