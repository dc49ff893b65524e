"""Opens a file and its video stream with PyAV, within limits, and reads what it says of itself.

Decodes nothing. Only containers of video are tried, and only this file is read: playlists would
make FFmpeg open other files and the network, and text would be drawn as video.
"""

from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from typing import Any

import av
from av.container import InputContainer
from av.packet import Packet
from av.stream import Discard
from av.video.stream import VideoStream

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import shown
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.headers import claimed_samples
from worldmodel.video.source import Source, SourceFile

REMEDY = "fetch or encode it again, or leave it out"
_FORMATS = "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf,gif"


@dataclass(frozen=True)
class VideoInfo:
    """A video stream as its file describes it; nothing is decoded to know this."""

    path: str
    frames: int  # packets with data: each is a frame in all common codecs
    fps: float  # on average
    height: int
    width: int
    codec: str
    duration: float  # seconds
    stream: int = 0  # its number among the video streams
    streams: int = 1  # how many video streams there are


def video_info(
    source: Source, *, stream: int | None = None, limits: Limits | None = None
) -> VideoInfo:
    """Read the header and count the packets.

    Args:
        source: A path, bytes, a binary file or a URL.
        stream: Number of the video stream; by default the one that FFmpeg calls best.
        limits: What is refused.

    Raises:
        VideoError: naming the file, what is wrong with it and what to do.
    """
    file, limits = SourceFile.of(source), Limits() if limits is None else limits
    with opened(file, stream=stream, limits=limits) as (container, video):
        frames = sum(not packet.is_discard for packet in with_data(container, video))
        return describe(file.name, container, video, frames)


def describe(name: str, container: InputContainer, video: VideoStream, frames: int) -> VideoInfo:
    """The description of an open file that is known to have so many frames."""
    rate = float(video.average_rate or 0)
    duration = promised_seconds(container, video) or (frames / rate if rate else 0.0)
    return VideoInfo(
        name,
        frames,
        frames / duration if duration else rate,
        video.height,
        video.width,
        video.codec_context.codec.canonical_name,
        duration,
        container.streams.video.index(video),
        len(container.streams.video),
    )


def with_data(container: InputContainer, stream: VideoStream) -> Iterator[Packet]:
    """Packets of a stream; the empty ones, which repeat an image in AVI, give no frame."""
    # PyAV's generator leaves its buffers behind unless it is closed or comes to its end.
    packets: Any = container.demux(stream)
    # Where another stream begins late, PyAV (18.1) looks for it behind the last packet in memory
    # that it never wrote, and mostly fails with an IndexError: every packet has been given then.
    with suppress(IndexError), closing(packets):
        for packet in packets:
            if packet.size:
                yield packet


def promised_seconds(container: InputContainer, stream: VideoStream) -> float:
    """The length that the header gives, in seconds; 0 where it gives none."""
    by_time = float((stream.duration or 0) * (stream.time_base or 0))
    by_count = stream.frames / float(stream.average_rate) if stream.average_rate else 0.0
    if "mp4" in container.format.name:  # an edit list leaves out frames that the count still has
        return by_time or by_count
    if not by_time and not by_count and len(container.streams) == 1 and container.duration:
        # Matroska knows the length of the whole only: of use where nothing else is in it.
        return container.duration / av.time_base
    # In a cut AVI without its index the time comes from the bytes, the count from the header.
    return max(by_time, by_count)


@contextmanager
def opened(
    source: SourceFile, *, stream: int | None, limits: Limits
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """The file and its video stream, closed at the end; what FFmpeg says becomes a `VideoError`."""
    with said_in_one_line(source.name):
        container, video = open_container(source, stream=stream, limits=limits)
        with container:
            yield container, video


@contextmanager
def said_in_one_line(name: str) -> Iterator[None]:
    """Turn what PyAV raises inside into a `VideoError`."""
    try:
        yield
    except av.FFmpegError as cause:
        raise VideoError(
            f"{name}: cannot be decoded ({cause.strerror}): truncated, damaged or not a video; "
            f"{REMEDY}"
        ) from cause


def open_container(
    source: SourceFile, *, stream: int | None, limits: Limits
) -> tuple[InputContainer, VideoStream]:
    """The same without a context: the caller closes the container.

    Raises:
        VideoError: the file claims more than `limits` allow.
        ConfigError: it has no such video stream.
        av.FFmpegError: it is not a video.
    """
    Decoding(stream=stream, limits=limits)  # refuses what is no number of a stream, and no limits
    claimed = claimed_samples(source)
    if claimed > limits.frames:
        raise too_many(source.name, claimed, limits)
    # FFmpeg counts pixels with their padding; frames are counted again as they come.
    most = str(min(int(limits.pixels) + int(limits.pixels) // 8 + 2**20, 2**31 - 1))
    options = {"protocol_whitelist": "file", "format_whitelist": _FORMATS, "max_pixels": most}
    # PyAV hands FFmpeg's log to Python from the decoder's threads, and closes a file with Python's
    # lock in its hand: where some of them have an error to tell, both wait for ever. Its log is off
    # unless someone turned it on, as torchvision did when it was imported.
    av.logging.set_level(None)
    container = av.open(
        source.argument(), options=options, metadata_errors="replace", timeout=limits.seconds
    )
    try:
        video = _choose(source.name, container, stream)
        if video.height * video.width == 0:
            raise VideoError(
                f"{source.name}: does not say how large its frames are, or more than the limit of "
                f"{limits.pixels} pixels; {REMEDY}, or raise limits.pixels"
            )
        require_size(source.name, video.height, video.width, limits)
        if video.frames > limits.frames:
            raise too_many(source.name, video.frames, limits)
        video.codec_context.options = {"max_pixels": most}
        for other in container.streams:
            if other is not video:
                other.discard = Discard.all
    except BaseException:
        container.close()
        raise
    return container, video


def _choose(name: str, container: InputContainer, stream: int | None) -> VideoStream:
    videos = container.streams.video
    if stream is not None and not 0 <= stream < len(videos) and videos:
        raise ConfigError(
            f"{name}: has no video stream {shown(stream)}; it has {len(videos)}, numbered from 0"
        )
    chosen = container.streams.best("video") if stream is None or not videos else videos[stream]
    if not isinstance(chosen, VideoStream):
        raise VideoError(f"{name}: has no video stream, only sound or data; leave it out")
    if chosen.codec_context is None:  # FFmpeg has no decoder for what the header names
        raise VideoError(f"{name}: names a codec that FFmpeg does not know; {REMEDY}")
    return chosen


def require_size(name: str, height: int, width: int, limits: Limits) -> None:
    """Refuse frames that are too large.

    Raises:
        VideoError: they have more pixels than `limits` allow.
    """
    if height * width > limits.pixels:
        raise VideoError(
            f"{name}: has frames of {width}x{height}, more than the limit of {limits.pixels} "
            f"pixels; raise limits.pixels if the file is to be trusted"
        )


def too_many(name: str, frames: int, limits: Limits) -> VideoError:
    """The error for too many frames."""
    return VideoError(
        f"{name}: claims {frames} frames, more than the limit of {limits.frames}; raise "
        f"limits.frames if the file is to be trusted"
    )
