"""`ConvEncoder`: a few convolutions over single frames, for states that are learned in minutes.

The smallest backbones of timm (`FrameEncoder`) take twice as long a frame on two cores, and most of
them end at two by two places of 64 x 64 pixels.
"""

import math
from itertools import pairwise

from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.blocks import arguments
from worldmodel.nn.encoder import Encoder, require_positions, seen_pixels, take
from worldmodel.nn.patches import Grid

STRIDE = 2


class ConvEncoder(Encoder):
    """Convolutions of stride two with batch normalisation; a token for each place that is left.

    Args:
        width: dimension of a token; halved with every convolution before the last.
        depth: convolutions; a token stands for `2 ** depth` pixels squared.
    """

    tubelet_frames = 1

    def __init__(self, width: int = 128, depth: int = 4) -> None:
        super().__init__()
        self.spec = arguments(locals())
        if depth < 1 or width % 2 ** (depth - 1):
            raise ConfigError(f"width must divide by 2 ** (depth - 1), got {width} and {depth}")
        self.width, self.depth = width, depth
        channels = [3, *(width // 2**k for k in reversed(range(depth)))]
        layers: list[nn.Module] = []
        for narrow, wide in pairwise(channels):
            layers += [
                nn.Conv2d(narrow, wide, 3, STRIDE, 1, bias=False), nn.BatchNorm2d(wide), nn.ReLU()
            ]  # fmt: skip
        self.layers = nn.Sequential(*layers)

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """A place for each `2 ** depth` pixels squared."""
        side = STRIDE**self.depth
        if height % side or width % side:
            raise ShapeError(
                f"frames must divide into {side} x {side} pixels, got {height} x {width}"
            )
        return frames, height // side, width // side

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d."""
        grid = self.grid(frames)
        images = 2 * rearrange(frames, "b t c h w -> (b t) c h w") - 1
        if keep is not None:
            require_positions(keep, len(frames), math.prod(grid))
            images = images * seen_pixels(keep, grid, images)
        maps = self.layers(images)
        tokens = rearrange(maps, "(b t) c h w -> b (t h w) c", b=len(frames))
        return tokens if keep is None else take(tokens, keep)
