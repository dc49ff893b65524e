"""Images in any usual layout, as states of a model."""

from typing import TypeAlias

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor
from torch.nn.functional import interpolate

from worldmodel.errors import ShapeError
from worldmodel.types import Clip

from .dynamics import ImageDynamics

ImageInput: TypeAlias = Tensor | np.ndarray

ENCODED_AT_ONCE = 128


@torch.no_grad()
def encode_images(
    model: ImageDynamics, images: ImageInput, proprioception: ImageInput | None = None
) -> Tensor:
    """The states (n d) of `n` images or short clips.

    Args:
        model: Encodes them.
        images: One image (h w 3 or 3 h w), several (n h w 3 or n 3 h w), or clips with the
            frames of one state (n t h w 3 or n t 3 h w); uint8, or floating point in [0, 1]. A
            still image shows a world at rest.
        proprioception: What a body knows of itself at the end of each (n ...), for a model that
            takes it.
    """
    frames = _to_clips(images, model.state_frames)
    known = None
    if proprioception is not None:
        known = torch.as_tensor(proprioception).float().reshape(len(frames), 1, -1)
    states = []
    for first in range(0, len(frames), ENCODED_AT_ONCE):
        part = slice(first, first + ENCODED_AT_ONCE)
        clip = Clip.from_uint8(fit_square(frames[part], model.size))
        found = model.states(clip) if known is None else model.states(clip, known[part])
        states.append(found[:, -1])
    return torch.cat(states)


def fit_square(frames: Tensor, size: int) -> Tensor:
    """Square frames (b t c h w, uint8) at `size` pixels, averaged over area."""
    height, width = frames.shape[-2:]
    if height != width:
        raise ShapeError(f"images must be square, got height {height} and width {width}")
    if height == size:
        return frames
    flat = rearrange(frames, "b t c h w -> (b t) c h w").float()
    small = interpolate(flat, size=(size, size), mode="area").round().to(torch.uint8)
    return rearrange(small, "(b t) c h w -> b t c h w", b=len(frames))


def _to_clips(images: ImageInput, num_frames: int) -> Tensor:
    """As b t c h w, uint8, with `num_frames` frames each."""
    x = torch.as_tensor(images)
    if x.ndim not in (3, 4, 5) or x.numel() == 0 or 3 not in (x.shape[-1], x.shape[-3]):
        raise ShapeError(
            "images must be h w 3, 3 h w, or several of them with leading axes n or n t; "
            f"got shape {tuple(x.shape)}"
        )
    if x.dtype != torch.uint8:
        if not x.is_floating_point() or x.min() < 0 or x.max() > 1:
            raise ShapeError(f"images must be uint8, or floats in [0, 1], got {x.dtype}")
        x = (x * 255).round().to(torch.uint8)
    if x.shape[-3] != 3:
        x = rearrange(x, "... h w c -> ... c h w")
    if x.ndim == 3:
        x = x[None]
    if x.ndim == 4:
        return repeat(x, "n c h w -> n t c h w", t=num_frames)
    if x.shape[1] != num_frames:
        raise ShapeError(f"a state is made of {num_frames} frames, got clips of {x.shape[1]}")
    return x
