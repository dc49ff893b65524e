"""`ClassTokenViT`: the plain vision transformer over single frames, whose class token is all."""

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.encoder import Encoder, take
from worldmodel.nn.patches import Grid, Tubelets


class ClassTokenViT(Encoder):
    """A frame becomes one token, which has read all of its patches.

    As Dosovitskiy et al. 2020 (arXiv:2010.11929), with learned positions, so for frames of one size
    alone. LeWorldModel's encoder.

    Args:
        width: dimension of a token.
        depth: blocks.
        heads: attention heads.
        patch: side of a patch in pixels.
        size: side of the frames in pixels.
        mlp_width: of the hidden layer of a block's network; four times the width if None.
        norm_eps: added to a variance by the norms.
    """

    tubelet_frames = 1

    def __init__(
        self, width: int = 192, depth: int = 12, *, heads: int = 3, patch: int = 14,
        size: int = 224, mlp_width: int | None = None, norm_eps: float = 1e-12,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("an encoder", width, heads)
        if patch < 1 or size % patch:
            raise ConfigError(f"size must divide into patches, got {size} and {patch}")
        self.spec = arguments(locals())
        self.width, self.size = width, size
        self.patches = Tubelets(width, patch, 1, pixels="imagenet")
        self.class_token = nn.Parameter(torch.randn(width) * 0.02)
        self.positions = nn.Parameter(torch.randn(1 + (size // patch) ** 2, width) * 0.02)
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, norm_eps)

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """A token for each frame."""
        if (height, width) != (self.size, self.size):
            raise ShapeError(
                f"this encoder was made for {self.size} x {self.size} pixels, got {height} x "
                f"{width}; say size={self.size}"
            )
        return frames, 1, 1

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b t d."""
        self.grid(frames)
        patches = self.patches(rearrange(frames, "b t c h w -> (b t) 1 c h w"))
        first = self.class_token.expand(len(patches), 1, -1)
        x = torch.cat([first, patches], dim=1) + self.positions
        for block in self.blocks:
            x = block(x)
        tokens = rearrange(self.norm(x[:, 0]), "(b t) d -> b t d", b=len(frames))
        return tokens if keep is None else take(tokens, keep)
