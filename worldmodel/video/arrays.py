"""Video that is not encoded: arrays in memory, and live frames, which arrive one by one.

Knows no files.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import av
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import real, shown
from worldmodel.video.container import require_size
from worldmodel.video.decoding import Decoding, require_mib
from worldmodel.video.rgb import scaled, to_rgb
from worldmodel.video.sampling import TOLERANCE, Sampling
from worldmodel.video.video import Video, require_numbers

Frame = TypeVar("Frame")


class RawVideo(Video):
    """Frames that are in memory.

    Args:
        frames: `t h w c` or `t c h w`, uint8, with 3 colours; numpy or torch.
        rate: Frames per second.
        decoding: Its `short_side` and limits hold here too.
        name: What messages call it.

    Raises:
        VideoError: the array is no video, or larger than the limits.
        ConfigError: the rate is missing or no positive number.
    """

    backend = "array"
    missing = ""

    def __init__(
        self,
        frames: np.ndarray | Tensor,
        *,
        rate: float | None,
        decoding: Decoding | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"<array {'x'.join(map(str, frames.shape))}>"
        self._decoding = decoding or Decoding()
        self._frames = _channels_first(frames, self.name)  # t c h w
        self._rate = _positive(rate, self.name)
        self.num_frames = len(self._frames)
        limits = self._decoding.limits
        height, width = self._frames.shape[2:]
        require_size(self.name, height, width, limits)
        if self.num_frames > limits.frames:
            raise VideoError(
                f"{self.name}: has {self.num_frames} frames, more than the limit of "
                f"{limits.frames}; raise limits.frames"
            )

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""
        side = self._decoding.short_side
        indices = np.asarray(indices, np.int64)
        require_numbers(indices, self.num_frames, self.name)
        height, width = self._frames.shape[2:]
        size = scaled(height, width, side)
        require_mib(self.name, len(indices), *size, self._decoding.limits)
        chosen = self._frames[indices]
        if side is not None and len(chosen):
            images = rearrange(chosen, "t c h w -> t h w c")
            small = np.stack([resized(image, side) for image in images])
            chosen = rearrange(small, "t h w c -> t c h w")
        return torch.from_numpy(np.ascontiguousarray(chosen))

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        require_numbers(np.asarray(indices), self.num_frames, self.name)
        return np.asarray(indices, np.float64) / self._rate


def live_clip(
    frames: Iterable[Any],
    sampling: Sampling,
    *,
    start: float,
    rate: float | None,
    decoding: Decoding,
) -> tuple[np.ndarray, np.ndarray]:
    """The next clip of frames that arrive one by one; holds no more than the clip and one frame.

    Args:
        frames: Images `h w c`, uint8, with `rate`; or pairs of a time in seconds and an image.
        sampling: Which of them make the clip. With `fps` or `duration` one frame more than the clip
            may be taken from the iterator: only then is it known which is nearest.
        start: Seconds after the first frame.
        rate: Frames per second, where frames come without times.
        decoding: Its `short_side` and limits hold here too; `limits.frames` for the frames that
            come before the clip is complete.

    Returns:
        Images `t h w c` and times `t`, seconds after the first frame.

    Raises:
        VideoError: the frames end before the clip does, one is no image or has another size
            than the others, or they are larger than the limits.
        ConfigError: the rate is missing where it is needed, or no positive number.
    """
    name, limits, side = "<live frames>", decoding.limits, decoding.short_side
    seen: list[float] = []  # times of the frames from the start on

    def prepared() -> Iterator[tuple[float, np.ndarray]]:
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
                yield time, resized(image, side)
            else:  # a camera may show the next image in the same memory
                yield time, image.copy()

    chosen: list[tuple[float, np.ndarray]] = []
    for time, image in _pick(prepared(), sampling):
        if chosen and time <= chosen[-1][0]:  # said at once: it may come a million times
            gaps = np.diff(seen)
            widest = int(gaps.argmax())
            others = gaps.sum() - gaps[widest]
            rate_seen = (len(gaps) - 1) / others if others > 0 else np.inf
            raise sampling.shows_twice(name, rate=rate_seen, gap=(seen[widest], seen[widest + 1]))
        chosen.append((time, image))
    if len(chosen) < sampling.num_frames:
        called = f"{name} from {start:g} s on" if start else name
        seconds = seen[-1] - seen[0] if seen else 0.0
        raise sampling.too_short(called, frames=len(seen), seconds=seconds)
    times = np.array([time for time, _ in chosen])
    for time, image in chosen:
        if image.shape != chosen[0][1].shape:
            raise VideoError(
                f"{name}: is of shape {chosen[0][1].shape} at {times[0]:.4g} s and of shape "
                f"{image.shape} at {time:.4g} s; give frames of one size"
            )
    return np.stack([image for _, image in chosen]), times


def _pick(
    frames: Iterator[tuple[float, Frame]], sampling: Sampling
) -> Iterator[tuple[float, Frame]]:
    """The frames that `Sampling.indices` names for a clip from the first on, as they come."""
    begin, found, number = None, 0, 0
    before: tuple[float, Frame] | None = None
    for time, frame in frames:
        begin = time if begin is None else begin
        if sampling.fps is None:
            if number == found * sampling.stride:
                yield time, frame
                found += 1
        else:
            # Only the second frame says whether the first is the nearest to several times.
            most = sampling.num_frames if before else 1
            while found < most and begin + found / sampling.fps <= time + TOLERANCE:
                goal = begin + found / sampling.fps
                earlier = before is not None and goal - before[0] <= time - goal + TOLERANCE
                yield before if before is not None and earlier else (time, frame)
                found += 1
        before, number = (time, frame), number + 1
        if found == sampling.num_frames:
            return
    if sampling.fps is not None and before is not None and begin is not None and number > 1:
        # A clip may end half a frame after the last one: that is still the nearest.
        slack = (before[0] - begin) / (number - 1) / 2
        while found < sampling.num_frames and begin + found / sampling.fps <= before[0] + slack:
            yield before
            found += 1


def resized(image: np.ndarray, short_side: int) -> np.ndarray:
    """An image `h w c` with this short side, as `to_rgb` does it."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return to_rgb(frame, short_side)


def _timed(
    frames: Iterable[Any], rate: float | None, name: str
) -> Iterator[tuple[float, np.ndarray]]:
    first, last = None, -np.inf
    for number, item in enumerate(frames):
        what, paired = f"{name}: frame {number}", isinstance(item, tuple)
        if paired and len(item) != 2:
            raise VideoError(
                f"{what} is a tuple of {len(item)}; give images, or tuples of (seconds, image)"
            )
        given, content = item if paired else (number / _positive(rate, name), item)
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


def _positive(rate: float | None, name: str) -> float:
    if not 0 < real(rate) < np.inf:
        raise ConfigError(
            f"{name}: frames without times need rate=, frames per second; got {shown(rate)}"
        )
    return real(rate)


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


def _channels_first(frames: np.ndarray | Tensor, name: str) -> np.ndarray:
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
    return rearrange(array, "t h w c -> t c h w") if shape[3] == 3 else array
