"""Settings for decoding videos, and limits on what a file may claim."""

from dataclasses import dataclass, field, replace
from numbers import Integral

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import is_count, real, shown


@dataclass(frozen=True)
class Limits:
    """A file that claims more than this is refused; every limit can be raised.

    Attributes:
        pixels: of one frame, height x width.
        frames: of one video.
        mib: of the frames of one request.
        seconds: that opening a video may wait for data; in a worker process, that opening or
            reading it may take.

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
class Decoding:
    """Settings for decoding video files: `video.` in a configuration.

    Attributes:
        short_side: Frames are resized to it, proportions kept; None leaves them as they are.
        backend: `auto` is PyAV, which gives the right frames of every file. `decord` and
            `torchcodec` insist on that decoder: where it does not work, or would not give the
            right frames of a file, that is an error.
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

    def at(self, short_side: int | None) -> "Decoding":
        """These settings with another short side in pixels; None leaves frames as they are.

        Raises:
            ConfigError: another short side was set already.
        """
        if self.short_side not in (None, short_side):
            raise ConfigError(
                f"video.short_side={self.short_side}, but frames of {short_side} pixels are needed "
                "here; leave it out"
            )
        return replace(self, short_side=short_side)
