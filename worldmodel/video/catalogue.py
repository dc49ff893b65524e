"""What a data set of videos is made of: a catalogue of items, each of which opens as a video.

Knows no file format: those are one file each in `formats/`. Knows nothing of clips and batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from numbers import Integral

import numpy as np
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import is_count, real, shown


class Damaged(VideoError):
    """Frames that were asked for cannot be read; others of the same video may be."""


class VideoSource(ABC):
    """One video that frames can be taken from by number."""

    name: str  # for messages and `Clip.sources`
    num_frames: int

    @abstractmethod
    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""

    def read_clips(self, clips: Sequence[np.ndarray]) -> list[Tensor]:
        """Several clips `t c h w`, for each the numbers of its frames."""
        return [self.read(clip) for clip in clips]

    @abstractmethod
    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""

    def close(self) -> None:  # noqa: B027  # what is in memory has nothing to close
        """Let go of the file, if there is one."""


def require_numbers(indices: np.ndarray, count: int, name: str) -> None:
    """Refuse numbers of frames that a video of `count` frames does not have.

    Raises:
        VideoError: naming the video, what was asked for and what there is.
    """
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        raise VideoError(
            f"{name}: was asked for frames {indices.min()} to {indices.max()}; it has {count}, "
            f"numbered from 0"
        )


@dataclass(frozen=True)
class Limits:
    """What a file may claim before it is refused; every one can be raised.

    Attributes:
        pixels: of one frame, height x width.
        frames: of one video.
        mib: of the frames of one request.
        seconds: that opening or reading one video may take where it is read in a worker process.

    Raises:
        ConfigError: one is not positive, or `pixels` or `frames` is not whole.
    """

    pixels: int = 2**26  # 8192 x 8192
    frames: int = 10_000_000  # four days at 30/s
    mib: float = 4096
    seconds: float = 120.0

    def __post_init__(self) -> None:
        # 1e9 is whole, however it is written; inf is not.
        whole = all(real(value) % 1 == 0 for value in (self.pixels, self.frames))
        if not whole or not all(real(value) > 0 for value in vars(self).values()):
            raise ConfigError(
                f"limits must be positive numbers, pixels and frames whole ones; got {shown(self)}"
            )


def require_mib(name: str, count: int, height: int, width: int, limits: Limits) -> None:
    """Refuse a request for `count` frames of this size before anything is allocated for it.

    Raises:
        VideoError: they take more than `limits.mib`.
    """
    mib = count * height * width * 3 / 2**20
    if mib > limits.mib:
        raise VideoError(
            f"{name}: {count} frames of {width}x{height} take {mib:.4g} MiB, more than the limit "
            f"of {limits.mib:g}; ask for fewer or smaller frames, or raise limits.mib"
        )


@dataclass(frozen=True)
class Opening:
    """How videos are opened.

    Attributes:
        short_side: Frames are resized to it, proportions kept; None leaves them as they are.
        backend: `auto`, or the decoder to insist on.
        stream: Number of the video stream among the video streams; None takes the one that FFmpeg
            calls best.
        limits: What is refused.

    Raises:
        ConfigError: `short_side` or `stream` is no such number, or `limits` are none.
    """

    short_side: int | None = None
    backend: str = "auto"
    stream: int | None = None
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.short_side is not None and not is_count(self.short_side):
            raise ConfigError(
                f"size, the short side of frames, up to 2**53, must be a whole number of pixels, "
                f"at least 1; got {shown(self.short_side)}"
            )
        if self.stream is not None and not isinstance(self.stream, Integral):
            raise ConfigError(
                f"stream must be a whole number, 0 for the first video stream; got "
                f"{shown(self.stream)}"
            )
        if not isinstance(self.limits, Limits):
            raise ConfigError(
                f"limits must be Limits(pixels=..., frames=..., mib=..., seconds=...), got "
                f"{shown(self.limits)}"
            )


@dataclass(frozen=True)
class Decoding:
    """How video files are decoded, whatever is then made of their frames: `video.` in settings.

    Attributes:
        backend: `auto` takes the fastest decoder that is right for a file; or one to insist on.
        stream: Number of the video stream among the video streams; None takes the one that FFmpeg
            calls best.
        limits: What a file may claim before it is refused.
    """

    backend: str = "auto"
    stream: int | None = None
    limits: Limits = field(default_factory=Limits)

    def at(self, short_side: int | None) -> Opening:
        """The same, with frames resized to a short side in pixels; None leaves them as they are."""
        return Opening(short_side, self.backend, self.stream, self.limits)


class Item(ABC):
    """One video of a data set, not opened yet. Light (there may be a million) and picklable.

    Subclasses are frozen dataclasses: items that are equal open as the same frames and times.

    Attributes:
        name: Says which it is, in messages and in `Clip.sources`: `folder/a.mp4`,
            `shard-000.tar::a.mp4`.
        key: Where it lies: the path or URL of its file, or what stands for one.
        label: Its class number, or None.
        window: The seconds of the opened file that it is, or None for all of it.
    """

    name: str
    key: str
    label: int | None = None
    window: tuple[float, float] | None = None

    @property
    def opens(self) -> Hashable:
        """What has to be opened to read it. Items that are equal in it share one open reader.

        That is the item itself, with all that decides its frames and their times, unless it knows
        of less that does.
        """
        return self

    @abstractmethod
    def open(self, opening: Opening) -> VideoSource:
        """Open the whole of what it `opens`; `window` is applied by who draws clips.

        Raises:
            VideoError: naming the item, what is wrong with it and what to do.
        """

    def check_rows(self, source: VideoSource) -> bool:
        """Read what an episode holds beside its frames; True if there are actions in it.

        Args:
            source: What `open` gave.

        Raises:
            EpisodeError: it cannot be read as an episode: lengths, times or actions are wrong.
        """
        return False


@dataclass(frozen=True)
class LeftOut:
    """What a data set names and is not taken, and why."""

    name: str
    reason: str


class Catalogue(Sequence[Item]):
    """The items of a data set in a fixed order; making one opens no video.

    Attributes:
        name: Of the data set: what the user called it by.
        classes: Names of the labels, where the data set has them.
        left_out: What the data set names and is not among the items.
    """

    name: str
    classes: tuple[str, ...] = ()
    left_out: Sequence[LeftOut] = ()


class AllLeftOut(VideoError):
    """Nothing of a data set can be taken.

    Attributes:
        left_out: What it names, and why each is left out.
    """

    def __init__(self, message: str, left_out: Sequence[LeftOut]) -> None:
        super().__init__(message)
        self.left_out = left_out
