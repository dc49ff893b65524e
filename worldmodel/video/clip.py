"""Reads one clip from whatever holds a video; names the rest that others import from this folder.

Files are read by `reader.py`, arrays and live frames by `arrays.py`. Knows nothing of data sets.
"""

import math
from collections.abc import Iterable
from contextlib import closing
from typing import Any, cast

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError
from worldmodel.types import Clip
from worldmodel.video.arguments import real, shown
from worldmodel.video.arrays import clip_of_images
from worldmodel.video.container import VideoInfo, video_info
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.reader import VideoReader, require_backend
from worldmodel.video.reference import decode
from worldmodel.video.rgb import to_rgb
from worldmodel.video.sampling import Sampling
from worldmodel.video.source import Source

__all__ = [
    "VideoInfo",
    "VideoReader",
    "decode",
    "read_clip",
    "to_rgb",
    "video_info",
]


def read_clip(
    source: Source | np.ndarray | Tensor | Iterable[Any],
    *,
    num_frames: int,
    fps: float | None = None,
    stride: int | None = None,
    duration: float | None = None,
    start: float = 0.0,
    size: int | None = None,
    backend: str = "auto",
    stream: int | None = None,
    rate: float | None = None,
    limits: Limits | None = None,
) -> Clip:
    """Read one clip.

    A file that was cut off is read as far as it is intact.

    Args:
        source: A path, bytes, a binary file, a URL that fsspec knows, an array `t h w c` or
            `t c h w` (uint8), or an iterator of images `h w c` or of (seconds, image).
        num_frames: Frames of the clip.
        fps: Frames per second: for each time the nearest frame is taken. Give at most one of
            `fps`, `stride` and `duration`.
        stride: Frames from one to the next; 1 by default.
        duration: Seconds over which the frames are spread evenly.
        start: Seconds after the first frame; the clip begins at the first frame from there on.
        size: Resize the short side to this and cut the square in the middle; by default frames
            stay as they are.
        backend: `auto` is PyAV, which gives the right frames of every file; `decord` and
            `torchcodec` insist on that decoder.
        stream: Number of the video stream among the video streams; by default the one that FFmpeg
            calls best.
        rate: Frames per second of an array, or of an iterator without times.
        limits: What is refused.

    Returns:
        A clip with b = 1; `times` are seconds after the first frame of the video.

    Raises:
        VideoError: naming the file, what is wrong with it and what to do.
        ConfigError: an argument makes no sense.
    """
    sampling = Sampling(num_frames, stride=stride, fps=fps, duration=duration)
    require_backend(backend)
    decoding = Decoding(size, backend, stream, Limits() if limits is None else limits)
    if not math.isfinite(real(start)):
        raise ConfigError(f"start must be a finite number of seconds, got {shown(start)}")
    start = real(start)
    file = isinstance(source, str | bytes | bytearray | memoryview) or hasattr(source, "read")
    if isinstance(source, Iterable) and not file:
        images, times, name = clip_of_images(
            cast(Iterable[Any], source), sampling, start=start, rate=rate, decoding=decoding
        )
        frames = rearrange(torch.from_numpy(images), "t h w c -> t c h w")
    else:
        with closing(VideoReader(cast(Source, source), decoding, complete=False)) as video:
            frames, times = _clip_of(video, sampling, start)
            name = video.name
    if size is not None:
        top, left = ((side - size) // 2 for side in frames.shape[2:])
        frames = frames[..., top : top + size, left : left + size]
    return Clip.from_uint8(
        frames[None].contiguous(), torch.from_numpy(times)[None], sources=(name,),
        origins=(sampling.origin(name, times[0]),),
    )  # fmt: skip


def _clip_of(video: VideoReader, sampling: Sampling, start: float) -> tuple[Tensor, np.ndarray]:
    """Frames `t c h w` and their times."""
    times = video.times(np.arange(video.num_frames))
    try:
        indices = sampling.clip(times, start, name=video.name)
    except VideoError as cause:
        raise VideoError(video.missing or str(cause)) from cause
    return video.read(indices), times[indices]
