"""The frame index: the packet of each frame, and the packets that decoding can start from.

Where timestamps can be trusted, scanning the packets is enough and nothing is decoded. Otherwise
the file is decoded once, in order, and its frames are counted.
"""

import zlib
from dataclasses import dataclass
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream

from worldmodel.errors import VideoError
from worldmodel.video.bitstream import VOP, Interlacing, resets_decoder
from worldmodel.video.container import REMEDY, too_many, with_data
from worldmodel.video.decoding import Limits
from worldmodel.video.reference import in_order, marked
from worldmodel.video.source import SourceFile
from worldmodel.video.truncation import Tally, shortfall

# Containers that store a presentation time with every packet; in others FFmpeg guesses some.
_STAMPED = frozenset({"mov", "matroska", "webm"})
# Codecs in which each packet is one shown frame. VP8, for example, has packets that show nothing.
_ONE_TO_ONE = frozenset(
    "h264 hevc av1 vp9 mpeg4 mjpeg prores dnxhd ffv1 huffyuv ffvhuff png rawvideo qtrle "
    "cinepak msmpeg4v1 msmpeg4v2 msmpeg4v3 msmpeg4 utvideo".split()
)
# Codecs that show frames in the order in which they are decoded.
_NEVER_REORDER = _ONE_TO_ONE - {"h264", "hevc", "av1", "vp9", "mpeg4"}
_HEAD = 4096  # bytes that hold whatever precedes the image in a packet
_SMALLEST_VOP = 8  # bytes; shorter ones say "as before" and give no frame


@dataclass(frozen=True)
class Packets:
    """The packets of a stream, in the order in which they are decoded: arrays of one length."""

    pts: np.ndarray  # int64; _NONE where it is missing
    place: np.ndarray  # int64, bytes from the start of the file; -1 where it is not known
    size: np.ndarray  # int64, bytes
    key: np.ndarray  # bool
    discard: np.ndarray  # bool: decoded, not shown (edit lists)
    begins: bool  # the first packet is an IDR frame, not a recovery point in mid-stream
    clean: bool  # every keyframe is an IDR frame: none after it is predicted from one before it
    tally: Tally
    intact: int  # how many there are, without a last one that is cut
    odd: bool  # some MPEG-4 packet does not hold exactly one image, or some H.264 packet is a field

    def same(self, number: int, packet: Any) -> bool:
        """True if this packet, read again, is the one with this number."""
        if number >= len(self.size) or packet.size != self.size[number]:
            return False
        if self.place[number] >= 0:
            return packet.pos == self.place[number]
        return _or_none(packet.pts) == self.pts[number]


@dataclass(frozen=True)
class FrameIndex:
    """The frames of a video in the order in which they are shown.

    Attributes:
        times: Seconds after the first frame, increasing.
        packets: All packets of the stream.
        packet: The packet of each frame; None where one packet can give several.
        entries: Packets that decoding can start from.
        first: For each entry the first frame from which on decoding is right.
        checksum: Of each frame's first plane, where frames were counted.
        counted: Why timestamps are not trusted; empty where they are.
        missing: The message about a truncated file; empty for a complete one.
    """

    times: np.ndarray
    packets: Packets
    packet: np.ndarray | None
    entries: np.ndarray
    first: np.ndarray
    checksum: np.ndarray | None = None
    counted: str = ""
    missing: str = ""

    def __len__(self) -> int:
        return len(self.times)


_NONE = np.iinfo(np.int64).min


def _or_none(value: int | None) -> int:
    return _NONE if value is None else value


def scan(name: str, container: InputContainer, stream: VideoStream, limits: Limits) -> Packets:
    """Read all packets of a container that was just opened."""
    rows: list[tuple[int, int, int, bool, bool]] = []
    codec, tally = stream.codec_context.codec.canonical_name, Tally()
    odd, begins, clean = False, False, True
    interlacing: Interlacing | None = None
    described = bytes(stream.codec_context.extradata or b"")
    for packet in with_data(container, stream):
        if len(rows) >= limits.frames:
            raise too_many(name, len(rows) + 1, limits)
        tally.add(packet)
        place = -1 if packet.pos is None else packet.pos
        rows.append(
            (_or_none(packet.pts), place, packet.size, packet.is_keyframe, packet.is_discard)
        )
        if packet.is_keyframe and clean:
            clean = resets_decoder(codec, bytes(memoryview(packet)[:_HEAD]), described)
            begins = begins or (clean and tally.packets == 1)
        if codec == "mpeg4" and not odd:
            odd = packet.size < _SMALLEST_VOP or bytes(packet).count(VOP) != 1
        if codec == "h264" and len(rows) == 1:
            interlacing = Interlacing.of(bytes(memoryview(packet)[:_HEAD]), described)
        if interlacing is not None and not odd:
            odd = interlacing.is_field(bytes(memoryview(packet)[:_HEAD]), described)
    if not rows:
        raise VideoError(f"{name}: holds no frame that can be decoded; {REMEDY}")
    pts, places_, sizes, keys, hidden = zip(*rows, strict=True)
    places = np.array(places_, np.int64)
    if len(np.unique(places)) < len(places):
        places[:] = -1  # several packets share a block, so their place does not tell them apart
    # In a transport stream a packet may be marked as corrupt for other reasons.
    cut = tally.cut and set(container.format.name.split(",")) & (_STAMPED | {"avi"})
    return Packets(
        np.array(pts, np.int64), places, np.array(sizes, np.int64), np.array(keys, bool),
        np.array(hidden, bool), begins, clean, tally, len(rows) - bool(cut), odd,
    )  # fmt: skip


def distrust(packets: Packets, container_format: str, codec: str) -> str:
    """Why timestamps do not identify the frames; empty where they do."""
    shown = packets.pts[~packets.discard]
    if codec not in _ONE_TO_ONE:
        return f"a packet of {codec} need not be a frame"
    names = set(container_format.split(","))
    if not names & _STAMPED and not ("avi" in names and codec in _NEVER_REORDER):
        return f"{container_format} does not store every frame's time"
    if packets.odd:
        return "a packet does not hold exactly one image"
    if len(shown) == 0 or (shown == _NONE).any():
        return "timestamps are missing"
    if len(np.unique(shown)) < len(shown):
        return "timestamps repeat"
    if not packets.begins:
        return "it does not begin with a keyframe"
    if (packets.pts[packets.pts != _NONE] < packets.pts[0]).any():
        return "frames before the first keyframe"
    return ""


def index_by_time(
    source: SourceFile, container: InputContainer, stream: VideoStream, packets: Packets
) -> FrameIndex:
    """The index of a file whose timestamps can be trusted."""
    shown = np.flatnonzero(~packets.discard)
    shown = shown[shown < packets.intact]
    if not len(shown):
        raise VideoError(f"{source.name}: holds no frame that is to be shown; {REMEDY}")
    packet = shown[np.argsort(packets.pts[shown], kind="stable")]
    pts = packets.pts[packet]
    base = float(stream.time_base or 0)
    times = pts * base - pts[0] * base
    keys = np.flatnonzero(packets.key & (packets.pts != _NONE))
    first = np.searchsorted(pts, packets.pts[keys])
    # A later entry must start at a later frame, or it is of no use.
    keep = np.concatenate([[True], first[1:] > np.maximum.accumulate(first)[:-1]]) & (
        first < len(pts)
    )
    rate = float(stream.average_rate or 0)
    missing = shortfall(
        source, container, stream, packets.tally,
        frames=len(times), last=float(times[-1]),
        gap=max(float(np.diff(times).max(initial=0.0)), 1 / rate if rate > 0 else 0.0),
        start=float(packets.pts[~packets.discard].min() * base),
    )  # fmt: skip
    return FrameIndex(times, packets, packet, keys[keep], first[keep], missing=missing)


def index_by_counting(
    source: SourceFile, container: InputContainer, stream: VideoStream, packets: Packets,
    reason: str, limits: Limits,
) -> FrameIndex:  # fmt: skip
    """The index of a file, made by decoding it in order; the container was just opened.

    Raises:
        VideoError: the file is damaged or holds no frame.
    """
    times: list[float] = []
    numbers: list[int] = []
    sums: list[int] = []
    keys: list[bool] = []
    missing = ""
    try:
        for time, frame in in_order(source, container, stream, limits, intact=packets.intact):
            times.append(time)
            numbers.append(marked(frame))
            sums.append(checksum(frame))
            keys.append(bool(frame.key_frame))
    except VideoError as cause:
        if not times:
            raise
        missing = str(cause)
    packet = np.array(numbers, np.int64)
    entries = first = np.array([0])
    apart = len(np.unique(packet)) == len(packet) and (packet >= 0).all()
    if apart:
        first = np.flatnonzero(np.array(keys) & packets.key[packet])
        first = first[np.concatenate([[True], np.diff(packet[first]) > 0])[: len(first)]]
        entries = packet[first]
        if len(first) == 0 or first[0] != 0:
            entries, first = np.append(0, entries), np.append(0, first)
    return FrameIndex(
        np.array(times), packets, packet if apart else None, entries, first,
        np.array(sums, np.uint32), reason, missing,
    )  # fmt: skip


def checksum(frame: av.VideoFrame) -> int:
    """Checksum of the first plane: tells frames apart unless they look the same."""
    plane = frame.planes[0]
    rows = np.frombuffer(plane, np.uint8).reshape(plane.height, plane.line_size)
    width = min(plane.line_size, plane.width)  # rows may be padded
    return zlib.crc32(np.ascontiguousarray(rows[:, :width]).data)
