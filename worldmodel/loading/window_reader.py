"""The windows of a video, by one rule, and their frames: the work of a decoder process.

Every frame of a video is in some window. Knows nothing of models, and not which videos come next.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from worldmodel.datasets.catalogue import Item, LeftOut
from worldmodel.errors import ConfigError, VideoError, WorldModelError
from worldmodel.loading.clip_reader import Opened
from worldmodel.video.arguments import is_count, real, shown
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import nearest_frames

Fit = Literal["crop", "stretch"]


@dataclass(frozen=True)
class WindowRule:
    """Where the windows of a video are.

    They begin every `stride` frames from the first frame on, and have `length` frames. Where frames
    are left after the last whole window, and another would have begun there, one more is taken that
    ends with the last frame: it begins earlier than its turn. A video shorter than a window, and an
    image, is one window, whose last frame is held until it is full.

    Attributes:
        length: frames of a window.
        stride: frames from the beginning of one window to that of the next.
        fps: frames per second, at which frames are taken and counted: the nearest in time; None
            takes all frames.

    Raises:
        ConfigError: one of them is no such number.
    """

    length: int
    stride: int
    fps: float | None = None

    def __post_init__(self) -> None:
        for name, value in (("window", self.length), ("stride", self.stride)):
            if not is_count(value):
                raise ConfigError(f"{name} is a whole number of frames, 1 or more; got {value}")
        if self.fps is not None and not 0 < real(self.fps) < np.inf:
            raise ConfigError(f"fps must be a positive number, got {shown(self.fps)}")

    def starts(self, count: int) -> np.ndarray:
        """The first frame of each window of a video of `count` frames, in order."""
        if count <= self.length:
            return np.zeros(1, np.int64)
        starts = np.arange(0, count - self.length + 1, self.stride)
        left = starts[-1] + self.length < count and starts[-1] + self.stride < count
        return np.append(starts, count - self.length) if left else starts

    def windows(self, times: np.ndarray, *, name: str) -> "Windows":
        """The windows of a video whose frames have these times (`t`, seconds).

        Raises:
            VideoError: at `fps` a frame would be taken twice.
        """
        numbers = np.arange(len(times))
        if self.fps is not None and len(times) > 1:
            fps = real(self.fps)
            slack = float(np.diff(times).mean()) / 2  # the last frame is the nearest until then
            count = int((times[-1] - times[0] + slack) * fps) + 1
            numbers = nearest_frames(times, times[0] + np.arange(count) / fps)
            if (np.diff(numbers) < 1).any():
                raise VideoError(
                    f"{name}: its frames lie up to {np.diff(times).max():.4g} s apart, too far for "
                    f"fps={fps:g} without taking one twice; say a lower fps, or leave fps out"
                )
        return Windows(numbers, times[numbers], self.starts(len(numbers)), self.length)


@dataclass(frozen=True)
class Windows:
    """The windows of one video.

    Attributes:
        numbers: of the frames that count, `f`, in the video.
        times: of those, `f`, seconds.
        starts: which of those each window begins with, `w`.
        length: frames of a window.
    """

    numbers: np.ndarray
    times: np.ndarray
    starts: np.ndarray
    length: int

    def __len__(self) -> int:
        return len(self.starts)

    def places(self, window: int) -> np.ndarray:
        """Which of the frames that count a window has, `length`; a held one again and again."""
        steps = self.starts[window] + np.arange(self.length)
        return np.minimum(steps, len(self.numbers) - 1)


@dataclass(frozen=True)
class Survey:
    """Ask for the windows of a video: answered by `Windows`."""

    item: Item

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


@dataclass(frozen=True)
class WindowRequest:
    """Ask for the frames of windows of a video, which go into the buffer.

    Attributes:
        item: the video.
        frames: the numbers of each window's frames in the video, `w length`.
        row: where in the buffer the first goes.
    """

    item: Item
    frames: np.ndarray
    row: int

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


@dataclass(frozen=True)
class WindowResult:
    """The frames are in the buffer.

    Attributes:
        failed: for each window why it cannot be read; empty where it was.
        cropped: the frames were not square, and parts at two sides are not in the buffer.
    """

    failed: Sequence[str]
    cropped: bool


class WindowReader:
    """Answers requests about the windows of videos; keeps the last few open.

    Args:
        frames: the buffer, `row t c h w`, uint8; in shared memory where processes share it.
        rule: where windows are.
        fit: of frames that are not square, `crop` takes the square in the middle, `stretch` makes
            them square.
        decoding: how videos are opened.
    """

    def __init__(self, frames: Tensor, *, rule: WindowRule, fit: Fit, decoding: Decoding) -> None:
        self._frames, self._rule, self._fit = frames, rule, fit
        self._opened = Opened(decoding.at(frames.shape[-1]))

    def __call__(self, task: Survey | WindowRequest) -> Windows | WindowResult:
        """Answer.

        Raises:
            WorldModelError: the video is bad.
        """
        try:
            if isinstance(task, Survey):
                _, times = self._opened.get(task.item).part(task.item)
                return self._rule.windows(times, name=task.name)
            return self._read(task)
        except WorldModelError:
            self._opened.forget(task.item)  # its state is not known
            raise

    def close(self) -> None:
        """Close the videos that this process has open."""
        self._opened.close()

    def _read(self, task: WindowRequest) -> WindowResult:
        try:
            cropped = self._fill(task, range(len(task.frames)))
            return WindowResult([""] * len(task.frames), cropped)
        except VideoError:  # some of them may be intact
            self._opened.forget(task.item)
        failed, cropped = [], False
        for window in range(len(task.frames)):
            try:
                cropped |= self._fill(task, [window])
                failed.append("")
            except VideoError as cause:
                self._opened.forget(task.item)
                failed.append(str(cause))
        return WindowResult(failed, cropped)

    def _fill(self, task: WindowRequest, windows: Sequence[int]) -> bool:
        """Read some of the windows; True if parts of the frames are cut off."""
        video = self._opened.get(task.item)
        first, _ = video.part(task.item)
        clips = video.source.read_clips([first + task.frames[window] for window in windows])
        cropped = False
        for window, clip in zip(windows, clips, strict=True):
            height, width = clip.shape[-2:]
            self._frames[task.row + window] = square(clip, self._frames.shape[-1], self._fit)
            cropped |= height != width and self._fit == "crop"
        return cropped


def square(frames: Tensor, size: int, fit: Fit) -> Tensor:
    """Frames t c h w, uint8, as t c size size."""
    height, width = frames.shape[-2:]
    if fit == "stretch":
        same = (height, width) == (size, size)
        return frames if same else resize(frames, [size, size], antialias=True)
    if min(height, width) != size:  # of a kind of video that comes in one size only
        scale = size / min(height, width)
        sides = [max(size, round(side * scale)) for side in (height, width)]
        frames = resize(frames, sides, antialias=True)
    top, left = ((side - size) // 2 for side in frames.shape[-2:])
    return frames[..., top : top + size, left : left + size]


def unreadable(item: Item, windows: Windows, window: int, reason: str) -> LeftOut:
    """A window that is left out."""
    start = windows.times[windows.starts[window]]
    return LeftOut(f"{item.name}, window {window} at {start:.6g} s", reason)
