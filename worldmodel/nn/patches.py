"""Tubelets and their places in space-time: pixels -> tokens, and 3-D rotary positions.

Knows nothing about masks: whoever drops tokens passes the ids of those that stay.
"""

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ShapeError

Grid = tuple[int, int, int]  # t h w, in tokens


class Tubelets(nn.Module):
    """Cuts frames into tubelets of `tubelet_frames` x `patch` x `patch` pixels, one token each.

    Args:
        width: numbers in a token.
        patch: side of a tubelet in pixels.
        tubelet_frames: frames in a tubelet; two real frames let velocity be seen.
        motion_gain: how much the changes between them are enlarged.
    """

    def __init__(
        self, width: int, patch: int, tubelet_frames: int, *, motion_gain: float = 3.0
    ) -> None:
        super().__init__()
        self.patch, self.tubelet_frames, self.motion_gain = patch, tubelet_frames, motion_gain
        self.embed = nn.Linear(tubelet_frames * patch * patch * 3, width)

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) that so many frames of so many pixels are cut into.

        Raises:
            ShapeError: they cannot be cut without a rest.
        """
        if frames % self.tubelet_frames or height % self.patch or width % self.patch:
            raise ShapeError(
                f"{frames} frames of {height} x {width} pixels do not divide into tubelets of "
                f"{self.tubelet_frames} frames x {self.patch} x {self.patch} pixels"
            )
        return frames // self.tubelet_frames, height // self.patch, width // self.patch

    def forward(self, frames: Tensor) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d, time-major.

        The frames of a tubelet are turned into their mean and their changes from frame to frame,
        the changes enlarged: motion of a few pixels is a small part of a tubelet. (It seemed to
        help short trainings; at the quickstart's length it does not, docs/pretraining.md.)
        """
        tubes = rearrange(frames, "b (t i) c h w -> b t i c h w", i=self.tubelet_frames)
        mean = tubes.mean(dim=2, keepdim=True)
        # Pixels lie in [0, 1]; centred at zero with a spread of about one, a linear map learns.
        parts = torch.cat([(mean - 0.5) * 4, tubes.diff(dim=2) * 4 * self.motion_gain], dim=2)
        tokens = rearrange(
            parts, "b t i c (h j) (w k) -> b (t h w) (i j k c)", j=self.patch, k=self.patch
        )
        return self.embed(tokens)


class Rotary3D(nn.Module):
    """Rotary positions for (time, height, width), computed once per grid and kept.

    The head is divided into three equal even parts, one an axis, as V-JEPA 2 does (Assran et al.
    2025, arXiv:2506.09985); what is left over is not rotated. Neighbouring pairs of channels
    rotate together. Recomputing the tables took 40 % of a small training step.
    """

    def __init__(self, head_width: int, base: float = 100.0) -> None:
        super().__init__()
        self.axis_pairs = head_width // 6
        self.rest_pairs = head_width // 2 - 3 * self.axis_pairs
        self.base = base
        self._tables: dict[tuple[Grid, torch.device], Tensor] = {}

    def table(self, grid: Grid, device: torch.device) -> Tensor:
        """The rotations e^{i angle} of every place of the grid: n (d/2), complex64."""
        key = (grid, device)
        if key not in self._tables:
            frequency = self.base ** (-torch.arange(self.axis_pairs) / self.axis_pairs)
            axes = torch.meshgrid(*(torch.arange(s) for s in grid), indexing="ij")
            angles = [rearrange(a, "t h w -> (t h w) 1") * frequency for a in axes]
            places = grid[0] * grid[1] * grid[2]
            angle = torch.cat([*angles, torch.zeros(places, self.rest_pairs)], dim=1)
            self._tables[key] = torch.polar(torch.ones_like(angle), angle).to(device)
        return self._tables[key]

    def forward(self, grid: Grid, ids: Tensor | None, device: torch.device) -> tuple[Tensor, ...]:
        """Cosines and sines at the places `ids` (b n; all of them if None): (b or 1) 1 n d/2."""
        table = self.table(grid, device)
        rotation = table[None] if ids is None else table[ids]
        return rotation.real[:, None], rotation.imag[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of channels of x (b heads n d) by the angles of their places."""
    even, odd = x[..., 0::2], x[..., 1::2]
    return torch.stack((even * cos - odd * sin, even * sin + odd * cos), dim=-1).flatten(-2)
