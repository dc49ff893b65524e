"""Tubelets: pixels -> tokens, each of a few frames of one patch.

Knows nothing about masks; `positions.py` tells the transformer where each token is.
"""

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
        width: dimension of a token.
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
        """The grid of tokens (t, h, w) of a clip of this size.

        Raises:
            ShapeError: they do not divide into tubelets.
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
