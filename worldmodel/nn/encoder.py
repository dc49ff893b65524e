"""Encoders: frames -> tokens. `VideoViT` is the spatiotemporal-tube transformer."""

from abc import ABC, abstractmethod
from typing import Any, ClassVar

from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import Block
from worldmodel.nn.patches import Grid, Rotary3D, Tubelets


class Encoder(nn.Module, ABC):
    """Frames to tokens on a (time, height, width) grid. A subclass is known by its name.

    Attributes:
        spec: the constructor's arguments, as JSON; a checkpoint stores them beside the weights.
        width: numbers in a token.
        tubelet_frames: frames in a tubelet.
    """

    registry: ClassVar[dict[str, type["Encoder"]]] = {}
    spec: dict[str, Any]
    width: int
    tubelet_frames: int

    def __init_subclass__(cls) -> None:
        Encoder.registry[cls.__name__] = cls

    def grid(self, frames: Tensor) -> Grid:
        """The grid of tokens (t, h, w) for frames b t c h w."""
        _, t, _, h, w = frames.shape
        return self.grid_of(t, h, w)

    @abstractmethod
    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) for so many frames of so many pixels.

        Raises:
            ShapeError: they cannot be cut without a rest.
        """

    @abstractmethod
    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d.

        Tokens that are not in `keep` (ids, b m) are dropped before the first block: what is kept
        cannot know of them.
        """


class VideoViT(Encoder):
    """A vision transformer over tubelets with rotary positions in time, height and width.

    Args:
        width: numbers in a token.
        depth: blocks.
        heads: attention heads; `width / heads` must be even.
        patch: side of a tubelet in pixels.
        tubelet_frames: frames in a tubelet.
        motion_gain: how much the changes between the frames of a tubelet are enlarged.
    """

    def __init__(
        self, width: int = 128, depth: int = 4, *, heads: int = 4, patch: int = 16,
        tubelet_frames: int = 2, motion_gain: float = 3.0,
    ) -> None:  # fmt: skip
        super().__init__()
        if heads < 1 or width < 1 or width % (2 * heads):
            raise ConfigError(
                f"an encoder's width must be a multiple of 2 * heads, got {width} and {heads}"
            )
        self.spec = dict(
            width=width, depth=depth, heads=heads, patch=patch, tubelet_frames=tubelet_frames,
            motion_gain=motion_gain,
        )  # fmt: skip
        self.width, self.tubelet_frames = width, tubelet_frames
        self.tubelets = Tubelets(width, patch, tubelet_frames, motion_gain=motion_gain)
        self.rotary = Rotary3D(width // heads)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) for so many frames of so many pixels."""
        return self.tubelets.grid_of(frames, height, width)

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d, of the places in `keep` (b m) if given."""
        grid = self.grid(frames)
        tokens = self.tubelets(frames)
        if keep is not None:
            tokens = take(tokens, keep)
        rotation = self.rotary(grid, keep, tokens.device)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        return self.norm(tokens)


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """The tokens (b n d) at the places `ids` (b m): b m d."""
    return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))
