"""How videos are decoded, and what a file may claim before it is refused."""

from dataclasses import dataclass, field, replace
from numbers import Integral

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import is_count, real, shown


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
class Decoding:
    """How video files are decoded: `video.` in settings.

    Attributes:
        short_side: Frames are resized to it, proportions kept; None leaves them as they are.
        backend: `auto` takes the fastest decoder that is right for a file; or one to insist on.
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
        """The same, with frames resized to a short side in pixels; None leaves them as they are.

        Raises:
            ConfigError: another short side was set already.
        """
        if self.short_side not in (None, short_side):
            raise ConfigError(
                f"video.short_side={self.short_side}, but frames of {short_side} pixels are needed "
                "here; leave it out"
            )
        return replace(self, short_side=short_side)
