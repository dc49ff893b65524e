"""The reference decoder: frames in the order in which a file gives them, decoded from its start.

All random access is checked against it. Times are the presentation timestamps, counted from the
first frame.
"""

from collections.abc import Iterator

import av
from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from worldmodel.errors import VideoError
from worldmodel.video.container import REMEDY, opened, require_size, too_many, with_data
from worldmodel.video.decoding import Limits
from worldmodel.video.source import Source, SourceFile
from worldmodel.video.truncation import Tally, shortfall


def decode(
    source: Source | SourceFile, *, stream: int | None = None, limits: Limits | None = None
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
    file, limits = SourceFile.of(source), Limits() if limits is None else limits
    with opened(file, stream=stream, limits=limits) as (container, video):
        video.thread_type = "AUTO"
        yield from in_order(file, container, video, limits)


def in_order(
    source: SourceFile,
    container: InputContainer,
    stream: VideoStream,
    limits: Limits,
    *,
    intact: int | None = None,
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The same, of a container that was just opened.

    With `intact` only so many packets are decoded, and `marked` tells which one a frame came from.
    """
    clock, tally = Clock(container, stream), Tally()

    def decoded() -> Iterator[av.VideoFrame]:
        if intact is not None:
            ask_for_marks(stream)
        for packet in with_data(container, stream):
            tally.add(packet)
            if intact is not None:
                if tally.packets > intact:
                    continue
                mark(packet, tally.packets - 1)
            yield from stream.codec_context.decode(packet)
        yield from stream.codec_context.decode(None)

    for number, frame in enumerate(decoded()):
        if number >= limits.frames:
            raise too_many(source.name, number + 1, limits)
        require_size(source.name, frame.height, frame.width, limits)
        yield clock.tick(frame), frame
    if clock.frames == 0:
        raise VideoError(f"{source.name}: holds no frame that can be decoded; {REMEDY}")
    missing = shortfall(
        source, container, stream, tally,
        frames=clock.frames, last=clock.time, gap=clock.gap, start=clock.first,
    )  # fmt: skip
    if missing:
        raise VideoError(missing)


def ask_for_marks(stream: VideoStream) -> None:
    """Let frames carry the marks of their packets; asked before the first packet is decoded.

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
    """Gives each frame its time, as frames come in order.

    Attributes:
        time: Seconds of the last frame after the first.
        gap: The longest time between two.
        first: Seconds that the first one is at.
        frames: How many came.
    """

    def __init__(self, container: InputContainer, stream: VideoStream) -> None:
        # AVI stores no presentation times: with B-frames they are guessed, out of order.
        self._counted = container.format.name == "avi" and stream.codec_context.has_b_frames
        self._base = float(stream.time_base or 0)
        rate = float(stream.average_rate or 0)
        self._step = 1 / rate if rate > 0 else 0.04
        self.time, self.gap, self.first, self.frames = -self._step, self._step, 0.0, 0

    def tick(self, frame: av.VideoFrame) -> float:
        """Seconds of this frame, which is the next one, after the first."""
        stamp = None if self._counted or frame.pts is None else frame.pts * self._base
        if self.frames == 0:
            self.first = stamp or 0.0
        self.frames += 1
        # Where a time is missing or does not increase, the next one at the usual rate.
        last, time = self.time, self.time + self._step if stamp is None else stamp - self.first
        self.time = time if time > last else last + self._step
        self.gap = max(self.gap, self.time - last)
        return self.time
