"""Video that is not encoded: arrays in memory, and frames that arrive one by one.

Knows no files.
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

import av
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.data.catalogue import Opening, VideoSource, require_numbers
from worldmodel.data.pace import Pace
from worldmodel.data.pictures import to_rgb
from worldmodel.errors import ConfigError, VideoError

Picture = TypeVar("Picture")


class ArrayVideo(VideoSource):
    """Frames that are in memory.

    Args:
        frames: `t h w c` or `t c h w`, uint8, with 3 colours; numpy or torch.
        rate: Frames per second.
        opening: Its `short_side` and limits are kept.
        name: What messages call it.

    Raises:
        VideoError: the array is no video, or larger than the limits.
        ConfigError: the rate is missing or not positive.
    """

    backend = "array"
    missing = ""

    def __init__(
        self,
        frames: np.ndarray | Tensor,
        *,
        rate: float | None,
        opening: Opening | None = None,
        name: str | None = None,
    ) -> None:
        self.name = name or f"<array {'x'.join(map(str, frames.shape))}>"
        self._opening = opening or Opening()
        self._frames = _channels_first(frames, self.name)  # t c h w
        self._rate = _positive(rate, self.name)
        self.num_frames = len(self._frames)
        limits = self._opening.limits
        if self.num_frames > limits.frames:
            raise VideoError(
                f"{self.name}: has {self.num_frames} frames, more than the limit of "
                f"{limits.frames}; raise limits.frames"
            )

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""
        side, limits = self._opening.short_side, self._opening.limits
        indices = np.asarray(indices, np.int64)
        require_numbers(indices, self.num_frames, self.name)
        mib = len(indices) * self._frames[0].numel() / 2**20
        if mib > limits.mib:
            raise VideoError(
                f"{self.name}: {len(indices)} frames take {mib:.0f} MiB, more than the limit of "
                f"{limits.mib:g}; ask for fewer, or raise limits.mib"
            )
        chosen = self._frames[torch.from_numpy(indices)]
        if side is None or not len(chosen):
            return chosen
        pictures = rearrange(chosen, "t c h w -> t h w c").contiguous().numpy()
        small = np.stack([resized(picture, side) for picture in pictures])
        return rearrange(torch.from_numpy(small), "t h w c -> t c h w").contiguous()

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        require_numbers(np.asarray(indices), self.num_frames, self.name)
        return np.asarray(indices, np.float64) / self._rate


def live_clip(
    frames: Iterable[Any], pace: Pace, *, start: float, size: int | None, rate: float | None
) -> tuple[np.ndarray, np.ndarray]:
    """The next clip of frames that arrive one by one; holds no more than the clip and one frame.

    Args:
        frames: Pictures `h w c`, uint8, with `rate`; or pairs of a time in seconds and a picture.
        pace: Which of them make the clip. With `fps` or `duration` a frame after the last one of
            the clip may have been taken: only then is it known which is nearest.
        start: Seconds after the first frame.
        size: Their short side is resized to this.
        rate: Frames per second, where frames come without times.

    Returns:
        Pictures `t h w c` and times `t`, seconds after the first frame.

    Raises:
        VideoError: the frames end before the clip does, or one is no picture.
    """
    name = "<live frames>"

    def prepared(timed: Iterable[tuple[float, np.ndarray]]) -> Iterator[tuple[float, np.ndarray]]:
        for time, picture in timed:
            if size is not None and min(picture.shape[:2]) != size:
                picture = resized(picture, size)
            yield time, picture

    return take(prepared(_timed(frames, rate, name)), pace, start=start, name=name)


def take(
    frames: Iterable[tuple[float, np.ndarray]], pace: Pace, *, start: float, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The frames of one clip, as they come by: pictures `t h w c` and times `t`."""
    seen: list[float] = []  # first and last time from the start on

    count = 0

    def watched() -> Iterator[tuple[float, np.ndarray]]:
        nonlocal count
        for time, picture in frames:
            if time >= start:
                count += 1
                seen[1:] = [time]
                if len(seen) == 1 and count == 1:
                    seen.append(time)
            yield time, picture

    chosen = list(_pick(watched(), pace, start))
    span = seen[-1] - seen[0] if seen else 0.0
    if len(chosen) < pace.num_frames:
        called = f"{name} from {start:g} s on" if start else name
        raise pace.too_short(called, frames=count, seconds=span)
    times = np.array([time for time, _ in chosen])
    if (np.diff(times) <= 0).any():
        raise pace.too_slow(name, rate=(count - 1) / span)
    return np.stack([picture for _, picture in chosen]), times


def _pick(
    frames: Iterator[tuple[float, Picture]], pace: Pace, start: float
) -> Iterator[tuple[float, Picture]]:
    """The frames that `Pace.indices` names, as they come by."""
    begin, found, number = None, 0, 0
    before: tuple[float, Picture] | None = None
    for time, frame in frames:
        if time < start - 1e-6:
            continue
        begin = time if begin is None else begin
        if pace.fps is None:
            if number == found * pace.stride:
                yield time, frame
                found += 1
        else:
            while found < pace.num_frames and begin + found / pace.fps <= time + 1e-6:
                goal = begin + found / pace.fps
                earlier = before is not None and goal - before[0] <= time - goal + 1e-6
                yield before if before is not None and earlier else (time, frame)
                found += 1
        before, number = (time, frame), number + 1
        if found == pace.num_frames:
            return
    if pace.fps is not None and before is not None and begin is not None and number > 1:
        # A clip may end half a frame after the last one: that is still the nearest.
        slack = (before[0] - begin) / (number - 1) / 2
        while found < pace.num_frames and begin + found / pace.fps <= before[0] + slack:
            yield before
            found += 1


def resized(picture: np.ndarray, short_side: int) -> np.ndarray:
    """A picture `h w c` with this short side, as `to_rgb` does it."""
    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), format="rgb24")
    return to_rgb(frame, short_side)


def _timed(
    frames: Iterable[Any], rate: float | None, name: str
) -> Iterator[tuple[float, np.ndarray]]:
    first, last = None, -np.inf
    for number, item in enumerate(frames):
        if isinstance(item, tuple):
            time, picture = item
        else:
            time, picture = number / _positive(rate, name), item
        picture = picture.numpy() if isinstance(picture, Tensor) else np.asarray(picture)
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise VideoError(
                f"{name}: frame {number} is {picture.dtype} of shape {picture.shape}; give "
                f"pictures h w c, uint8, with 3 colours"
            )
        first = float(time) if first is None else first
        if not float(time) > last:
            raise VideoError(f"{name}: the time of frame {number} is not after the one before it; "
                             f"give increasing seconds")  # fmt: skip
        last = float(time)
        yield last - first, picture


def _positive(rate: float | None, name: str) -> float:
    if rate is None or not rate > 0:
        raise ConfigError(f"{name}: frames without times need rate=, frames per second; got {rate}")
    return rate


def _channels_first(frames: np.ndarray | Tensor, name: str) -> Tensor:
    tensor = torch.from_numpy(frames) if isinstance(frames, np.ndarray) else frames
    shape = tuple(tensor.shape)
    if tensor.dtype != torch.uint8 or tensor.ndim != 4 or 3 not in (shape[1], shape[3]):
        raise VideoError(
            f"{name}: is {tensor.dtype} of shape {shape}; give t h w c or t c h w, uint8, with 3 "
            f"colours"
        )
    if 0 in shape:
        raise VideoError(f"{name}: is empty, its shape is {shape}; give at least one frame")
    # Three columns or three colours: where both could be meant, colours come last.
    return rearrange(tensor, "t h w c -> t c h w") if shape[3] == 3 else tensor
