"""`FrameEncoder`: any timm backbone as an encoder of video, one frame at a time.

The backbone sees no motion; it shows in the differences between the frames of a tubelet.
"""

import math
from collections.abc import Iterator
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError, nearest
from worldmodel.nn.blocks import arguments
from worldmodel.nn.encoder import Encoder, require_positions, seen_pixels, take
from worldmodel.nn.patches import Grid

# Raised by a backbone whose tables or windows do not fit the image.
_DOES_NOT_FIT = (AssertionError, RuntimeError, ValueError)


class FrameEncoder(Encoder):
    """A timm backbone that sees each frame alone; the frames of a tubelet share one token grid.

    A token has `tubelet_frames` x `c` dimensions, `c` being the backbone's channels: first the mean
    of the frames' features, then their changes from frame to frame. A mean alone would not show
    motion. Side by side, motion would be a small difference of large numbers; apart from the
    mean, a linear map finds it, and the first `c` dimensions are the backbone's own features.
    Each frame's features are layer-normed without learned scale first: some backbones end in a norm
    and some do not. Tokens of different time steps do not know of each other.

    Backbones cannot leave positions out, so a token not in `keep` is blanked: its pixels take the
    mean colour of the backbone's data before the backbone sees them, in all frames of the tubelet,
    and the token is dropped afterwards. The other tokens cannot know what was there, only that
    something is missing. Blank areas are no natural images: convolutions see their edges, and
    batch statistics shift (Tian et al. 2023, arXiv:2301.03580). Masks that hide whole time steps
    (`masks=time_steps`) blank nothing.

    Args:
        name: of the backbone in timm, such as `resnet18` or `vit_small_patch16_224.dino`.
        size: side of the frames in pixels, which position tables are made for; None takes the
            backbone's own. Convolutional backbones take frames of any size all the same.
        stage: which of the backbone's feature maps, counted as in timm; an earlier one of a
            convolutional backbone has a finer grid.
        tubelet_frames: frames in a tubelet.
        pretrained: start from timm's weights, out of the cache or the network.
        width: dimension of a token, as measured when a model was saved; None measures it. Not every
            backbone can be run where there is no memory, as loading does first.

    Raises:
        ConfigError: there is no such backbone or stage, it has no feature maps, or its weights
            cannot be had.
        ShapeError: the backbone cannot be built for, or cannot take, frames of this size, or its
            tokens have another width than `width`.
    """

    backbone: Any  # a timm model, which has no type of its own
    mean: Tensor  # c 1 1, of the pixels that the backbone was made for
    std: Tensor  # c 1 1

    def __init__(
        self, name: str = "vit_tiny_patch16_224", *, size: int | None = None, stage: int = -1,
        tubelet_frames: int = 2, pretrained: bool = False, width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        if tubelet_frames < 1:
            raise ConfigError(f"tubelet_frames must be at least 1, got {tubelet_frames}")
        # A saved model brings its weights: building it again must not fetch any.
        self.spec = arguments(locals()) | {"pretrained": False}
        self.name, self.tubelet_frames = name, tubelet_frames
        self.backbone = _backbone(name, size, pretrained=pretrained)
        config = self.backbone.pretrained_cfg
        self.register_buffer("mean", torch.tensor(config["mean"])[:, None, None])
        self.register_buffer("std", torch.tensor(config["std"])[:, None, None])
        self.own_size = int(config["input_size"][-1])
        self._stages = _cut(self.backbone, name, stage)
        self._shapes: dict[tuple[int, int], tuple[int, int, int]] = {}
        # Of two families timm cannot apply the last norm to feature maps.
        self._norm = type(self.backbone).__name__ not in ("Hiera", "HieraDet")
        side = size or self.own_size
        self._said_width = width
        if width is None or not self.mean.is_meta:
            width = tubelet_frames * self._shape(side, side)[0]
        self.width = self.spec["width"] = width

    def blocks(self) -> Iterator[nn.Module]:
        """The parts of the backbone that images go through one after the other."""
        for part in self.backbone.children():
            several = isinstance(part, nn.Sequential | nn.ModuleList)
            yield from part.children() if several else [part]

    def checkpoint_activations(self) -> None:
        """From now on keep no more than its blocks' inputs for the gradient, as timm does it."""
        try:
            self.backbone.set_grad_checkpointing(True)
        except (AttributeError, AssertionError) as cause:
            raise ConfigError(
                f"activation_checkpointing: timm's {self.name} has none; say false, or take "
                "another backbone"
            ) from cause

    def grid_of(self, frames: int, height: int, width: int) -> Grid:
        """The grid of tokens (t, h, w) of a clip of this size."""
        if frames % self.tubelet_frames:
            raise ShapeError(
                f"{frames} frames do not divide into tubelets of {self.tubelet_frames} frames"
            )
        return frames // self.tubelet_frames, *self._shape(height, width)[1:]

    def forward(self, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """Frames b t c h w in [0, 1] -> tokens b n d, at the positions in `keep` (b m) if given."""
        grid = self.grid(frames)
        images = (rearrange(frames, "b t c h w -> (b t) c h w") - self.mean) / self.std
        if keep is not None:
            require_positions(keep, len(frames), math.prod(grid))
            images = images * seen_pixels(keep, grid, images, frames=self.tubelet_frames)
        maps = self._features(images)
        each = rearrange(
            maps, "(b t i) c h w -> b t i (h w) c", b=len(frames), i=self.tubelet_frames
        )
        each = F.layer_norm(each, each.shape[-1:])
        parts = torch.cat([each.mean(dim=2, keepdim=True), each.diff(dim=2)], dim=2)
        tokens = rearrange(parts, "b t i n c -> b (t n) (i c)")
        return tokens if keep is None else take(tokens, keep)

    def _features(self, images: Tensor) -> Tensor:
        """The feature map of normalised images (b c h w): b c h w."""
        return self.backbone.forward_intermediates(
            images, indices=self._stages, norm=self._norm, output_fmt="NCHW",
            intermediates_only=True,
        )[-1]  # fmt: skip

    @torch.no_grad()
    def _shape(self, height: int, width: int) -> tuple[int, int, int]:
        """Channels and grid of an image's feature map, measured on an empty one: c h w."""
        if (height, width) not in self._shapes:
            self._require_whole_patches(height, width)
            modes = [(module, module.training) for module in self.backbone.modules()]
            self.backbone.eval()  # batch statistics must not learn from the empty image
            try:
                empty = self.mean.new_zeros(1, 3, height, width)
                _, c, h, w = self._features(empty).shape
            except _DOES_NOT_FIT as cause:
                raise ShapeError(
                    f"timm's {self.name} cannot take frames of {height} x {width} pixels"
                    f"{_reason(cause)}; it was made for {self.own_size} x {self.own_size}: "
                    f"set model.size={self.own_size}, or size= of the encoder where it is not "
                    "the frames' size"
                ) from cause
            finally:
                for module, mode in modes:
                    module.training = mode
            if self._said_width not in (None, c * self.tubelet_frames):
                raise ShapeError(
                    f"timm's {self.name} makes tokens of width {c * self.tubelet_frames}, not of "
                    f"{self._said_width} as the model was saved with; take the timm that it was "
                    "trained with"
                )
            self._shapes[height, width] = c, h, w
        return self._shapes[height, width]

    def _require_whole_patches(self, height: int, width: int) -> None:
        """Refuse frames that do not divide into patches: the rest would be ignored silently."""
        layers = (layer for layer in self.backbone.modules() if isinstance(layer, nn.Conv2d))
        first = next(layers, None)
        if first is None or first.kernel_size != first.stride:
            return  # convolutions that overlap see to the edges
        rows, columns = first.stride
        if height % rows or width % columns:
            near = {size for size in (height // rows * rows, -(-height // rows) * rows) if size}
            raise ShapeError(
                f"timm's {self.name} cannot take frames of {height} x {width} pixels, which do not "
                f"divide into its patches of {rows} x {columns}; set "
                f"model.size={' or '.join(map(str, sorted(near)))}"
            )


def _backbone(name: str, size: int | None, *, pretrained: bool) -> Any:
    """The backbone without its classifier."""
    import timm  # slow to import, and only some models need it

    architecture, _, tag = name.partition(".")
    if not timm.is_model(architecture):
        hint = nearest(architecture, timm.list_models(), listed_by="timm.list_models()")
        raise ConfigError(f"timm has no backbone '{name}'; {hint}")
    tags = [x.partition(".")[2] for x in timm.list_pretrained(f"{architecture}.*")]
    if tag and tag not in tags:
        hint = nearest(tag, tags) if tags else "it has none"
        raise ConfigError(f"{name}: timm has no weights '{tag}' of {architecture}; {hint}")
    model = _create(name, size)
    if not callable(getattr(model, "forward_intermediates", None)):
        raise ConfigError(f"timm's {name} gives no feature maps; choose another backbone")
    if not pretrained:
        return model
    try:
        return _create(name, size, pretrained=True)
    except Exception as cause:  # the network, the cache and the file each have their own
        source = str(model.pretrained_cfg.get("hf_hub_id") or "").rstrip("/")
        remedy = (
            f"fetch them where there is a network (hf download {source}) and copy the Hugging "
            "Face cache (HF_HOME) here, or take pretrained=false"
            if source
            else "take pretrained=false"
        )
        raise ConfigError(f"{name}: its weights cannot be had{_reason(cause)}; {remedy}") from cause


def _create(name: str, size: int | None, *, pretrained: bool = False) -> Any:
    import timm

    if size is not None:
        try:
            return timm.create_model(name, pretrained=pretrained, num_classes=0, img_size=size)
        except TypeError as cause:
            if "img_size" not in str(cause):
                raise
            # It has no tables of positions, so that any size will do.
        except _DOES_NOT_FIT as cause:
            if pretrained:
                raise
            raise ShapeError(
                f"timm's {name} cannot be built for frames of {size} x {size} pixels"
                f"{_reason(cause)}; take another size or backbone"
            ) from cause
    return timm.create_model(name, pretrained=pretrained, num_classes=0)


def _cut(backbone: Any, name: str, stage: int) -> list[int]:
    """Remove what comes after a stage; returns the stage as timm counts it from the start."""
    try:
        return backbone.prune_intermediate_layers([stage], prune_norm=False, prune_head=True)
    except (AssertionError, IndexError) as cause:
        count = len(backbone.feature_info)
        raise ConfigError(
            f"timm's {name} has {count} stages; stage must lie between {-count} and {count - 1}, "
            f"got {stage}"
        ) from cause


def _reason(cause: BaseException) -> str:
    """The first line of a third-party error in brackets, nothing if it has none."""
    lines = [line.strip() for line in str(cause).splitlines() if line.strip()]
    return f" ({lines[0]})" if lines else ""
