"""Frames that lie in an array as a video: still images, numpy files, HDF5.

Frames are resized when they are read, so that an array on disk stays there.
"""

import tokenize
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange, repeat
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from worldmodel.errors import VideoError
from worldmodel.video.decoding import Decoding, require_mib
from worldmodel.video.video import Video, require_numbers


def load_array(path: str) -> np.ndarray:
    """An array of a `.npy` file, left on disk.

    Raises:
        ValueError: it is none, is cut, or would run code when read.
    """
    try:
        array = np.load(path, mmap_mode="r", allow_pickle=False)
    except (OSError, EOFError, SyntaxError, tokenize.TokenError, ArithmeticError, MemoryError,
            RecursionError, TypeError, KeyError, IndexError, AttributeError) as cause:  # fmt: skip
        # A header is Python text, and numpy raises whatever a damaged one brings up.
        raise ValueError(str(cause) or type(cause).__name__) from cause
    if not isinstance(array, np.ndarray):
        array.close()
        raise ValueError("it holds several arrays")
    return array


class ArrayVideo(Video):
    """A video whose frames can be indexed.

    Args:
        name: For messages.
        take: From increasing numbers, each once, to frames `t h w c`, uint8.
        shape: (t, h, w) of all of it.
        times: `t`, seconds from the first frame, increasing; or frames per second.
        decoding: Size and limits.

    Raises:
        VideoError: it is larger than the limits.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[np.ndarray], np.ndarray],
        shape: tuple[int, int, int],
        times: np.ndarray | float,
        decoding: Decoding,
    ) -> None:
        self.name = name
        self.num_frames, height, width = shape
        limits = decoding.limits
        if self.num_frames < 1 or height < 1 or width < 1:
            raise VideoError(f"{name}: is empty ({shape}); leave it out")
        if height * width > limits.pixels:
            raise VideoError(
                f"{name}: {height} x {width} pixels are more than the limit of {limits.pixels}; "
                f"raise limits.pixels if it is right"
            )
        if self.num_frames > limits.frames:
            raise VideoError(
                f"{name}: {self.num_frames} frames are more than the limit of {limits.frames}; "
                f"raise limits.frames if it is right"
            )
        self._take, self._times, self._decoding = take, times, decoding
        self._size = height, width

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""
        require_numbers(indices, self.num_frames, self.name)
        numbers, back = np.unique(indices, return_inverse=True)
        require_mib(self.name, len(numbers), *self._size, self._decoding.limits)
        frames = torch.from_numpy(np.ascontiguousarray(self._take(numbers)))
        return to_size(frames, self._decoding.short_side)[torch.from_numpy(back)]

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        if isinstance(self._times, np.ndarray):
            return self._times[indices]
        return np.asarray(indices, np.float64) / self._times


def to_size(frames: Tensor, short_side: int | None) -> Tensor:
    """Frames `t h w c` as `t c h w` in three channels, the short side resized to this."""
    if frames.shape[-1] == 1:
        frames = repeat(frames, "t h w 1 -> t h w c", c=3)
    frames = rearrange(frames, "t h w c -> t c h w").contiguous()
    height, width = frames.shape[-2:]
    if short_side is None or min(height, width) == short_side:
        return frames
    scale = short_side / min(height, width)
    size = [max(short_side, round(side * scale)) for side in (height, width)]
    return resize(frames, size, antialias=True)


def looks_like_frames(array: Any) -> bool:
    """True if an array or dataset can be frames of videos: t h w c or t c h w, uint8."""
    if array.ndim != 4 or array.dtype != np.uint8:
        return False
    return array.shape[-1] in (1, 3) or array.shape[1] in (1, 3)


def frame_size(shape: Sequence[int]) -> tuple[int, int]:
    """Height and width of frames t h w c or t c h w."""
    return (shape[1], shape[2]) if shape[-1] in (1, 3) else (shape[2], shape[3])


def images(frames: np.ndarray) -> np.ndarray:
    """Frames t h w c or t c h w, in one or three channels, as t h w c."""
    return frames if frames.shape[-1] in (1, 3) else rearrange(frames, "t c h w -> t h w c")
