"""Tubelets, which turn pixels into tokens, and rotary positions in time, height and width.

Knows nothing about masks: whoever drops tokens passes the ids of those that stay.
"""

from dataclasses import dataclass
from typing import Literal

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError, nearest

Grid = tuple[int, int, int]  # t h w, in tokens
Pixels = Literal["change", "imagenet"]

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # r g b


class Tubelets(nn.Module):
    """Cuts frames into tubelets of `tubelet_frames` x `patch` x `patch` pixels, one token each.

    Args:
        width: numbers in a token.
        patch: side of a tubelet in pixels.
        tubelet_frames: frames in a tubelet; two real frames let velocity be seen.
        pixels: `change` shows a tubelet as its mean and its changes from frame to frame;
            `imagenet` shows its frames as they are, in units of ImageNet's mean and deviation.
    """

    def __init__(
        self, width: int, patch: int, tubelet_frames: int, *, pixels: Pixels = "change"
    ) -> None:
        super().__init__()
        ways = {"change": _as_change, "imagenet": _as_imagenet}
        if pixels not in ways:
            raise ConfigError(f"no pixels '{pixels}': {nearest(pixels, ways)}")
        if patch < 1 or tubelet_frames < 1:
            raise ConfigError(
                f"a tubelet has at least one frame of one pixel, got {tubelet_frames} and {patch}"
            )
        self.patch, self.tubelet_frames = patch, tubelet_frames
        self.show = ways[pixels]
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
        """Frames b t c h w in [0, 1] -> tokens b n d, time-major."""
        tubes = rearrange(frames, "b (t i) c h w -> b t i c h w", i=self.tubelet_frames)
        tokens = rearrange(
            self.show(tubes),
            "b t i c (h j) (w k) -> b (t h w) (i j k c)",
            j=self.patch,
            k=self.patch,
        )
        return self.embed(tokens)


def _as_change(tubes: Tensor) -> Tensor:
    """The mean of each tubelet's frames and their changes from frame to frame: b t i c h w."""
    mean = tubes.mean(dim=2, keepdim=True)
    # Pixels lie in [0, 1]; centred at zero with a spread of about one, a linear map learns.
    return torch.cat([(mean - 0.5) * 4, tubes.diff(dim=2) * 4], dim=2)


def _as_imagenet(tubes: Tensor) -> Tensor:
    """The frames in units of ImageNet's mean and deviation: b t i c h w."""
    mean, std = (tubes.new_tensor(x)[:, None, None] for x in (IMAGENET_MEAN, IMAGENET_STD))
    return (tubes - mean) / std


@dataclass(frozen=True)
class Rope:
    """One way to turn places into rotations.

    Attributes:
        base: the slowest channel turns by about 1/base a step.
        tiled: the published V-JEPA 2 repeats its d frequencies one after the other over the 2 d
            channels of an axis, so the two channels of a pair turn by different angles; weights
            trained that way need it.
        side: rows and columns are counted as if the grid had so many, whatever it has; 0 as it is.
        square: columns are spread as if there were as many of them as of rows.
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

    The head is divided into three equal even parts, one an axis, as V-JEPA 2 does (Assran et al.
    2025, arXiv:2506.09985); what is left over is not rotated. Neighbouring pairs of channels
    rotate together. Recomputing the tables took 40 % of a small training step.

    Args:
        head_width: numbers in an attention head.
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
        """The rotations e^{i angle} of every place of the grid: n (d/2), complex64.

        One for each channel instead of one for each pair, n d, where the rope is tiled.
        """
        key = (grid, device)
        if key not in self._tables:
            self._tables[key] = self._table(grid, device)
        return self._tables[key]

    @torch.inference_mode(False)  # what is kept must serve a training too
    def _table(self, grid: Grid, device: torch.device) -> Tensor:
        frequency = self.rope.base ** (-torch.arange(self.axis_pairs) / self.axis_pairs)
        rest = self.rest_pairs
        if self.rope.tiled:
            frequency, rest = frequency.repeat(2), 2 * rest
        axes = torch.meshgrid(*self._places(grid), indexing="ij")
        angles = [rearrange(a, "t h w -> (t h w) 1") * frequency for a in axes]
        angle = torch.cat([*angles, torch.zeros(len(angles[0]), rest)], dim=1)
        return torch.polar(torch.ones_like(angle), angle).to(device)

    def _places(self, grid: Grid) -> list[Tensor]:
        """Where the steps along each axis stand."""
        places = [torch.arange(steps) for steps in grid]
        if self.rope.square:
            _, h, w = grid
            return [places[0].float(), places[1].float(), places[2] * h / w]
        if not self.rope.side:
            return places
        spread = [p * (self.rope.side - 1) / max(len(p) - 1, 1) for p in places[1:]]
        return [places[0].float(), *spread]

    def forward(self, grid: Grid, ids: Tensor | None, device: torch.device) -> tuple[Tensor, ...]:
        """Cosines and sines at the places `ids` (b n; all of them if None): (b or 1) 1 n d/2."""
        table = self.table(grid, device)
        rotation = table[None] if ids is None else table[ids]
        return rotation.real[:, None], rotation.imag[:, None]


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotate neighbouring pairs of channels of x (b heads n d) by the angles of their places.

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
