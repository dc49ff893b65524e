"""Clips of video that is not encoded: arrays in memory, and live frames, which arrive one by one.

Knows no files.
"""

from collections.abc import Iterable, Iterator
from typing import Any

import av
import numpy as np
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import real, shown
from worldmodel.video.container import require_size
from worldmodel.video.decoding import Decoding, require_mib
from worldmodel.video.rgb import scaled, to_rgb
from worldmodel.video.sampling import TOLERANCE, Sampling

Timed = tuple[float, np.ndarray]  # seconds, an image h w c


def clip_of_images(
    frames: np.ndarray | Tensor | Iterable[Any],
    sampling: Sampling,
    *,
    start: float,
    rate: float | None,
    decoding: Decoding,
) -> tuple[np.ndarray, np.ndarray, str]:
    """The next clip of frames that come one by one; holds no more than the clip and one frame.

    Args:
        frames: An array `t h w c` or `t c h w`, uint8, with `rate`; images `h w c`, uint8, with
            `rate`; or pairs of a time in seconds and an image.
        sampling: Which of them make the clip. With `fps` or `duration` one frame more than the clip
            may be taken from the iterator: only then is it known which is nearest.
        start: Seconds after the first frame.
        rate: Frames per second, where frames come without times.
        decoding: Its `short_side` and limits hold here too; `limits.frames` for the frames that
            come before the clip is complete, or that an array has.

    Returns:
        Images `t h w c`, times `t`, seconds after the first frame, and what messages call them.

    Raises:
        VideoError: the frames end before the clip does, one is no image or has another size
            than the others, or they are larger than the limits.
        ConfigError: the rate is missing where it is needed, or no positive number.
    """
    name, limits, side = "<live frames>", decoding.limits, decoding.short_side
    if isinstance(frames, np.ndarray | Tensor):
        name = f"<array {'x'.join(map(str, frames.shape))}>"
        frames = _images(frames, name)
        if len(frames) > limits.frames:
            raise VideoError(
                f"{name}: has {len(frames)} frames, more than the limit of {limits.frames}; raise "
                f"limits.frames"
            )
    seen: list[float] = []  # times of the frames from the start on

    def prepared() -> Iterator[Timed]:
        for number, (time, image) in enumerate(_timed(frames, rate, name)):
            if number >= limits.frames:
                raise VideoError(
                    f"{name}: more than the limit of {limits.frames} frames came before the clip "
                    f"was complete; begin earlier, or raise limits.frames"
                )
            height, width = image.shape[:2]
            require_size(name, height, width, limits)
            size = scaled(height, width, side)
            require_mib(name, sampling.num_frames, *size, limits)
            if time < start - TOLERANCE:
                continue
            seen.append(time)
            if side is not None and size != (height, width):
                frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
                yield time, to_rgb(frame, side)
            else:  # a camera may show the next image in the same memory
                yield time, image.copy()

    chosen: list[Timed] = []
    for time, image in _pick(prepared(), sampling):
        if chosen and time <= chosen[-1][0]:  # said at once: it may come a million times
            usual = np.sort(np.diff(seen))[:-1]  # without the longest: few frames have come
            raise sampling.shows_twice(name, np.array(seen), usual)
        chosen.append((time, image))
    if len(chosen) < sampling.num_frames:
        called = f"{name} from {start:g} s on" if start else name
        raise sampling.too_short(called, np.array(seen))
    times = np.array([time for time, _ in chosen])
    for time, image in chosen:
        if image.shape != chosen[0][1].shape:
            raise VideoError(
                f"{name}: is of shape {chosen[0][1].shape} at {times[0]:.4g} s and of shape "
                f"{image.shape} at {time:.4g} s; give frames of one size"
            )
    return np.stack([image for _, image in chosen]), times, name


def _pick(frames: Iterator[Timed], sampling: Sampling) -> Iterator[Timed]:
    """The frames that `Sampling.indices` names for a clip from the first on, as they come."""
    begin, found, number = None, 0, 0
    before: Timed | None = None
    for time, image in frames:
        begin = time if begin is None else begin
        if sampling.fps is None:
            if number == found * sampling.stride:
                yield time, image
                found += 1
        else:
            # Only the second frame says whether the first is the nearest to several times.
            most = sampling.num_frames if before else 1
            while found < most and begin + found / sampling.fps <= time + TOLERANCE:
                goal = begin + found / sampling.fps
                earlier = before is not None and goal - before[0] <= time - goal + TOLERANCE
                yield before if before is not None and earlier else (time, image)
                found += 1
        before, number = (time, image), number + 1
        if found == sampling.num_frames:
            return
    if sampling.fps is not None and before is not None and begin is not None and number > 1:
        # A clip may end half a frame after the last one: that is still the nearest.
        slack = (before[0] - begin) / (number - 1) / 2
        while found < sampling.num_frames and begin + found / sampling.fps <= before[0] + slack:
            yield before
            found += 1


def _timed(frames: Iterable[Any], rate: float | None, name: str) -> Iterator[Timed]:
    """Checked images with their times after the first one's."""
    first, last = None, -np.inf
    for number, item in enumerate(frames):
        what, paired = f"{name}: frame {number}", isinstance(item, tuple)
        if paired and len(item) != 2:
            raise VideoError(
                f"{what} is a tuple of {len(item)}; give images, or tuples of (seconds, image)"
            )
        if not paired and not 0 < real(rate) < np.inf:
            raise ConfigError(
                f"{name}: frames without times need rate=, frames per second; got {shown(rate)}"
            )
        given, content = item if paired else (number / real(rate), item)
        time, image = real(given), _as_array(content, what)
        if image.shape[2:] != (3,) or image.dtype != np.uint8 or 0 in image.shape:
            raise VideoError(
                f"{what} is {image.dtype} of shape {image.shape}; give images h w c, uint8, "
                f"with 3 colours"
            )
        if not np.isfinite(time):
            raise VideoError(f"{what} comes with the time {given!r:.40}; give finite seconds")
        first = time if first is None else first
        if not time > last:
            raise VideoError(
                f"{name}: the time of frame {number} is not after the one before it; give "
                f"increasing seconds"
            )
        last = time
        yield last - first, image


def _as_array(frames: Any, what: str) -> np.ndarray:
    """As numpy, without a copy where possible; `what` begins the message where it cannot be."""
    try:
        if isinstance(frames, Tensor):
            return frames.detach().cpu().numpy()
        return np.asarray(frames)
    except Exception as cause:  # tensors without memory, images of other libraries, ragged lists
        reason = " ".join(str(cause).split())[:200]
        raise VideoError(
            f"{what} cannot be made an array ({reason}); give uint8 in numpy or torch"
        ) from cause


def _images(frames: np.ndarray | Tensor, name: str) -> np.ndarray:
    """The images `t h w c` of an array."""
    array = _as_array(frames, f"{name}:")
    shape = array.shape
    if array.dtype != np.uint8 or array.ndim != 4 or 3 not in (shape[1], shape[3]):
        raise VideoError(
            f"{name}: is {array.dtype} of shape {shape}; give t h w c or t c h w, uint8, with 3 "
            f"colours"
        )
    if 0 in shape:
        raise VideoError(f"{name}: is empty, its shape is {shape}; give at least one frame")
    # Three columns or three colours: where both could be meant, colours come last.
    return array if shape[3] == 3 else rearrange(array, "t c h w -> t h w c")
