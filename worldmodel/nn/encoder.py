"""Encoders: frames -> tokens. `VideoViT` is the spatiotemporal-tube transformer."""

import inspect
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.patches import Grid, Pixels, Tubelets
from worldmodel.nn.positions import Rotary3D, SinCos3D


class Encoder(nn.Module, ABC):
    """Frames to tokens on a (time, height, width) grid. A subclass is registered by its name.

    Attributes:
        spec: the constructor's arguments, as JSON; a checkpoint stores them beside the weights.
        width: dimension of a token.
        tubelet_frames: frames in a tubelet.
        levels: blocks whose outputs are features; empty for the tokens alone.
    """

    registry: ClassVar[dict[str, type["Encoder"]]] = {}
    spec: dict[str, Any]
    width: int
    tubelet_frames: int
    levels: tuple[int, ...] = ()

    def __init_subclass__(cls) -> None:
        Encoder.registry[cls.__name__] = cls

    def grid(self, frames: Tensor) -> Grid:
        """The grid of tokens (t, h, w) for frames b t c h w.

        Raises:
            ShapeError: they do not divide into tubelets, or are not in three colours.
        """
        _, t, c, h, w = frames.shape
        if c != 3:  # one would be spread over three without a word
            raise ShapeError(
                f"encoders see three colours, these frames have {c}; grey ones are given three "
                "times: frames.expand(-1, -1, 3, -1, -1)"
            )
        return self.grid_of(t, h, w)

    @abstractmethod
    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) of a clip of this size.

        Raises:
            ShapeError: they do not divide into tubelets.
        """

    def is_image(self, frames: int) -> bool:
        """True if it encodes a clip of so many frames as a single image; most encoders never do."""
        return False

    @abstractmethod
    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d.

        Tokens that are not in `keep` (ids, b m) are dropped before the first block, so the others
        cannot know of them.
        """

    def features(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """The features that a token predictor takes: the tokens, or those of several levels."""
        return self(frames, keep)

    def checkpoint_activations(self) -> None:
        """From now on keep no more than its blocks' inputs for the gradient; compute the rest anew.

        Raises:
            ConfigError: it cannot.
        """
        raise ConfigError(f"activation_checkpointing: {type(self).__name__} has no blocks for it")


class VideoViT(Encoder):
    """A vision transformer over tubelets with rotary positions in time, height and width.

    The arguments from `pixels` on make it the encoder of another family; see docs/weights.md.

    Args:
        width: dimension of a token.
        depth: blocks.
        heads: attention heads; `width / heads` must be even.
        patch: side of a tubelet in pixels.
        tubelet_frames: frames in a tubelet.
        pixels: how the pixels of a tubelet are presented, `change` or `imagenet`; see `Tubelets`.
        rope: which rotary positions, `default`, `vjepa2` or `vjepa2.1`; see `ROPES`.
        sincos_grid: the grid in training, for an encoder that adds fixed positions to its tokens
            and rotates nothing (V-JEPA 1); None for rotary positions.
        mlp_width: of the hidden layer of a block's network; four times the width if None.
        norm_eps: added to a variance by the norms.
        levels: blocks whose outputs are features too, each with its own norm, the last block last
            (V-JEPA 2.1); empty for the output alone.
        images: single frames are clips too, with their own patches, and a learned vector marks each
            token as one of a video or of an image (V-JEPA 2.1).
    """

    def __init__(
        self, width: int = 128, depth: int = 4, *, heads: int = 4, patch: int = 16,
        tubelet_frames: int = 2, pixels: Pixels = "change",
        rope: str = "default", sincos_grid: Sequence[int] | None = None,
        mlp_width: int | None = None, norm_eps: float = 1e-5, levels: Sequence[int] = (),
        images: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("an encoder", width, heads, rotary=True)
        if levels and (list(levels) != sorted(set(levels)) or levels[-1] != depth - 1):
            raise ConfigError(
                f"an encoder's levels must increase up to its last block, {depth - 1}, got {levels}"
            )
        # Switches of other families are named where they are used.
        given, born = arguments(locals()), inspect.signature(VideoViT).parameters
        sizes = ("width", "depth", "heads", "patch", "tubelet_frames")
        self.spec = {k: v for k, v in given.items() if k in sizes or v not in (born[k].default, [])}
        self.width, self.tubelet_frames = width, tubelet_frames
        self.levels = tuple(levels)
        self.tubelets = Tubelets(width, patch, tubelet_frames, pixels=pixels)
        self.kind = nn.ParameterDict()  # marks a token as one of a video or of an image
        self.image_patches: Tubelets | None = None
        if images:
            self.image_patches = Tubelets(width, patch, 1, pixels=pixels)
            self.kind.update({k: nn.Parameter(torch.zeros(width)) for k in ("video", "image")})
        self.positions = None if sincos_grid is None else SinCos3D(width, grid_from(sincos_grid))
        self.rotary = Rotary3D(width // heads, rope) if sincos_grid is None else None
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.level_norms = nn.ModuleList(nn.LayerNorm(width, norm_eps) for _ in self.levels[:-1])
        self.norm = nn.LayerNorm(width, norm_eps)
        self._checkpoints = False

    def checkpoint_activations(self) -> None:
        """From now on keep no more than its blocks' inputs for the gradient."""
        self._checkpoints = True

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) of a clip of this size."""
        return self._cut(frames)[0].grid_of(frames, height, width)

    def is_image(self, frames: int) -> bool:
        """True for one frame, where it has patches for images."""
        return self.image_patches is not None and frames == 1

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d, at the positions in `keep` (b m) if given."""
        return self.norm(self._run(frames, keep)[-1])

    def tubes(self, frames: Tensor) -> Tensor:
        """Frames b t c h w -> what goes into the first block: b n d, each of its own tube alone."""
        return self._cut(frames.shape[1])[0](frames)

    def features(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """The normed outputs of all levels side by side, b n (l d); without levels, the tokens."""
        *lower, last = self._run(frames, keep)
        normed = [norm(x) for norm, x in zip(self.level_norms, lower, strict=True)]
        return torch.cat([*normed, self.norm(last)], dim=-1)

    def _run(self, frames: Tensor, keep: Tensor | None) -> list[Tensor]:
        """The outputs of the blocks in `levels`, or of the last one."""
        grid = self.grid(frames)
        cut, kind = self._cut(frames.shape[1])
        tokens = cut(frames)
        if kind is not None:
            tokens = tokens + kind
        if self.positions is not None:
            tokens = tokens + self.positions(grid, None, tokens.device)
        if keep is not None:
            tokens = take(tokens, keep)
        rotation = None if self.rotary is None else self.rotary(grid, keep, tokens.device)
        found = []
        for index, block in enumerate(self.blocks):
            if self._checkpoints and torch.is_grad_enabled():
                # Blocks draw nothing at random.
                tokens = checkpoint(
                    block, tokens, rotation, use_reentrant=False, preserve_rng_state=False
                )
            else:
                tokens = block(tokens, rotation)
            if index in self.levels:
                found.append(tokens)
        return found or [tokens]

    def _cut(self, frames: int) -> tuple[Tubelets, Tensor | None]:
        """The layer that cuts so many frames into tokens, and the vector that marks each token."""
        if self.image_patches is not None and self.is_image(frames):
            return self.image_patches, self.kind["image"]
        return self.tubelets, self.kind["video"] if self.kind else None


def grid_from(numbers: Sequence[int]) -> Grid:
    """Three whole numbers above zero as a grid (t, h, w).

    Raises:
        ConfigError: they are not that.
    """
    if len(numbers) != 3 or not all(type(n) is int and n > 0 for n in numbers):
        raise ConfigError(f"a grid is three whole numbers above 0, t h w, got {numbers}")
    t, h, w = numbers
    return t, h, w


def take(tokens: Tensor, ids: Tensor) -> Tensor:
    """The tokens (b n d) at the positions `ids` (b m): b m d.

    Raises:
        ShapeError: see `require_positions`.
    """
    require_positions(ids, *tokens.shape[:2])
    return tokens.gather(1, ids[..., None].expand(-1, -1, tokens.shape[-1]))


def seen_pixels(keep: Tensor, grid: Grid, images: Tensor, *, frames: int = 1) -> Tensor:
    """One where a pixel belongs to a token that is kept, else zero, for encoders of whole images.

    Args:
        keep: ids of tokens, b m.
        grid: of the tokens: t h w.
        images: (b t i) c h w, for their size.
        frames: images that a token is made of, i.

    Returns:
        (b t i) 1 h w.
    """
    t, h, w = grid
    kept = images.new_zeros(len(keep), t * h * w).scatter(1, keep, 1.0)
    kept = rearrange(kept, "b (t h w) -> b t h w", t=t, h=h)
    pixels = F.interpolate(kept, size=images.shape[-2:], mode="nearest")
    return repeat(pixels, "b t h w -> (b t i) 1 h w", i=frames)


def require_positions(ids: Tensor, clips: int, count: int) -> None:
    """Refuse ids that are not positions on a grid of `count`, for each of so many clips.

    Raises:
        ShapeError: the ids are of more or fewer clips, not int64, or (on the CPU, where
            looking at them does not wait for a GPU) outside the grid.
    """
    if ids.ndim != 2 or ids.dtype != torch.int64:
        raise ShapeError(f"positions are b m, int64, got {ids.dtype} of shape {tuple(ids.shape)}")
    if len(ids) != clips:  # fewer would drop clips without a word
        raise ShapeError(f"positions of {len(ids)} clips do not pick from the tokens of {clips}")
    if ids.device.type == "cpu" and not bool(((ids >= 0) & (ids < count)).all()):
        raise ShapeError(
            f"positions on a grid of {count} lie between 0 and {count - 1}, got {ids.min()} to "
            f"{ids.max()}"
        )
