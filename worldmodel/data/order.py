"""Frames in the order in which they come when a file is decoded from its start: the truth.

Every other way of finding a frame is held against this one. Times are the presentation timestamps,
counted from the first frame.
"""

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from worldmodel.data.catalogue import Limits
from worldmodel.data.container import (
    REMEDY,
    opened,
    promised_seconds,
    require_size,
    too_many,
    with_data,
)
from worldmodel.data.media import Media, Source
from worldmodel.errors import VideoError


def decode(
    source: Source | Media, *, stream: int | None = None, limits: Limits | None = None
) -> Iterator[tuple[float, av.VideoFrame]]:
    """All frames in order, each with its time in seconds after the first.

    Args:
        source: A path, bytes, a binary file or a URL.
        stream: Number of the video stream; by default the one that FFmpeg calls best.
        limits: What is refused.

    Raises:
        VideoError: at the place where the file is damaged, or at its end when it is shorter than
            its header says.
    """
    media, limits = Media.of(source), limits or Limits()
    with opened(media, stream=stream, limits=limits) as (container, video):
        video.thread_type = "AUTO"
        yield from in_order(media.name, container, video, limits)


def in_order(
    name: str,
    container: InputContainer,
    stream: VideoStream,
    limits: Limits,
    *,
    marks: bool = False,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The same of a container that was just opened; with `marks`, `marked` says the packet."""
    clock = Clock(container, stream)
    for number, frame in enumerate(output(container, stream, marks=marks)):
        if number >= limits.frames:
            raise too_many(name, number + 1, limits)
        require_size(name, frame.height, frame.width, limits)
        yield clock.tick(frame), frame
    clock.finish(name)


def output(
    container: InputContainer, stream: VideoStream, *, marks: bool
) -> Iterator[av.VideoFrame]:
    """What the decoder gives, from where the container stands."""
    if marks:
        ask_for_marks(stream)
    for number, packet in enumerate(with_data(container, stream)):
        if marks:
            mark(packet, number)
        yield from stream.codec_context.decode(packet)
    yield from stream.codec_context.decode(None)


def ask_for_marks(stream: VideoStream) -> None:
    """Before the first packet is decoded: let frames carry the marks of their packets.

    In one thread: to let go of a mark takes Python's lock, and FFmpeg's threads would wait for it
    while Python waits for them to end.
    """
    stream.codec_context.copy_opaque = True
    stream.codec_context.thread_type = "NONE"


def mark(packet: Packet, number: int) -> None:
    """Give a packet its number; the frame that comes from it has it as `frame.opaque`.

    PyAV keeps such marks by their identity, and small integers have the same one each time: a mark
    is a new list.
    """
    packet.opaque = [number]


def marked(frame: av.VideoFrame) -> int:
    """The number of the packet that a frame came from; -1 where it is not known."""
    return -1 if frame.opaque is None else int(frame.opaque[0])


class Clock:
    """Tells the time of each frame as they come, and at the end whether some are missing."""

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        # AVI stores no presentation times: with B-frames they are guessed, out of order.
        self._counted = container.format.name == "avi" and stream.codec_context.has_b_frames
        self._promised = promised_seconds(container, stream)
        self._base = float(stream.time_base or 0)
        rate = float(stream.average_rate or 0)
        self._step = 1 / rate if rate > 0 else 0.04
        self._first: float | None = None
        self._time, self._gap, self._frames = -self._step, self._step, 0

    def tick(self, frame: av.VideoFrame) -> float:
        """Seconds of this frame, which is the next one, after the first."""
        stamp = None if self._counted or frame.pts is None else frame.pts * self._base
        self._frames += 1
        if self._first is None:
            self._first = stamp or 0.0
        # Where a time is missing or does not increase, the next one at the usual rate.
        last, time = self._time, self._time + self._step if stamp is None else stamp - self._first
        self._time = time if time > last else last + self._step
        self._gap = max(self._gap, self._time - last)
        return self._time

    def finish(self, name: str) -> None:
        """Check the end.

        Raises:
            VideoError: there was no frame, or the header promises more.
        """
        if self._frames == 0:
            raise VideoError(f"{name}: holds no frame that can be decoded; {REMEDY}")
        require_whole(
            name,
            frames=self._frames,
            last=self._time,
            gap=self._gap,
            promised=self._promised - (self._first or 0.0),
        )


def require_whole(name: str, *, frames: int, last: float, gap: float, promised: float) -> None:
    """Refuse a video that ends before its header says.

    Args:
        name: For the message.
        frames: That are there.
        last: Seconds of the last of them after the first.
        gap: The longest time between two.
        promised: Seconds that the header promises; 0 where it promises nothing.

    Raises:
        VideoError: more than 2 % are missing, and more than two frames.
    """
    if last + 2 * gap < 0.98 * promised:
        raise VideoError(
            f"{name}: is truncated: it ends after {frames} frames, {last + gap:.3g} s, its "
            f"header promises {promised:.3g} s; {REMEDY}"
        )
