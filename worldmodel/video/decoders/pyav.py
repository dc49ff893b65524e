"""PyAV: reads every file on every machine, and returns the frames that decoding in order gives.

It seeks to an entry of the index and identifies each frame by its time or its packet. It keeps its
position, so that reading clips in order needs no seek.
"""

from collections.abc import Iterator

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.frame import PictureType
from av.video.reformatter import VideoReformatter
from av.video.stream import VideoStream
from einops import rearrange
from torch import Tensor

from worldmodel.errors import VideoError
from worldmodel.video.container import (
    open_container,
    require_size,
    said_in_one_line,
    with_data,
)
from worldmodel.video.decoders.base import Decoder, Facts, Mismatch
from worldmodel.video.index import checksum
from worldmodel.video.reference import ask_for_marks, mark, marked
from worldmodel.video.rgb import to_rgb

# Codecs that mark the frames no other is predicted from; FFmpeg skips exactly those.
_SKIPS_EXACTLY = frozenset({"h264", "mpeg4", "mpeg2video", "mpeg1video"})

# Codecs that gain from threads.
_THREADED = frozenset({"h264", "hevc", "vp9"})
_MOST_THREADS = 8  # each holds its own frames


class PyAV(Decoder):
    """PyAV, with the help of the index."""

    name = "pyav"
    limits = "reads everything"
    install = "pip install --force-reinstall av"

    @classmethod
    def cannot(cls, facts: Facts) -> str:
        """Never: the right frames are PyAV's by definition."""
        return ""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._index = facts.index
        self._limits = facts.decoding.limits
        self._reformatter = VideoReformatter()
        self._frame_of = np.full(len(facts.index.packets.size), -1)
        if facts.index.packet is not None:
            self._frame_of[facts.index.packet] = np.arange(len(facts.index))
            self._stamps = facts.index.packets.pts[facts.index.packet]
        self._skips = facts.info.codec in _SKIPS_EXACTLY and not facts.index.counted
        self._wanted: set[int] = set()
        self._last = -1  # the last wanted frame
        self._dropped: set[int] = set()
        self._next = 0  # the next frame to come
        self._sent = -1  # the last packet sent to the decoder
        self._flow: Iterator[av.VideoFrame] | None = None
        self._container, self._stream = facts.opened or self._open()
        self._prepare()

    def _open(self) -> tuple[InputContainer, VideoStream]:
        with said_in_one_line(self._facts.source.name):
            container, stream = open_container(
                self._facts.source, stream=self._facts.decoding.stream, limits=self._limits
            )
        return container, stream

    def _prepare(self) -> None:
        """Set up the codec before its first packet, with as many threads as PyTorch uses, up to 8.

        In a worker process that is one.
        """
        if self._index.counted:
            ask_for_marks(self._stream)
        elif not self._stream.codec_context.is_open:
            threaded = self._facts.info.codec in _THREADED
            threads = min(torch.get_num_threads(), _MOST_THREADS) if threaded else 1
            self._stream.codec_context.thread_count = threads
            self._stream.codec_context.thread_type = "AUTO" if threads > 1 else "NONE"

    def close(self) -> None:
        """Let go of the file."""
        self._flow = None
        self._container.close()

    def read(self, indices: np.ndarray) -> Tensor:
        """See `Decoder.read`."""
        with said_in_one_line(self._facts.source.name):
            try:
                return self._read(indices)
            except BaseException:
                self._flow = None  # its position is not known any more
                raise

    def _read(self, indices: np.ndarray) -> Tensor:
        wanted = np.unique(indices)
        self._wanted, self._last = set(wanted.tolist()), int(wanted[-1])
        places = np.searchsorted(wanted, indices)
        frames: np.ndarray | None = None  # numpy copies in this thread, whatever PyTorch has
        for rank, number in enumerate(wanted.tolist()):
            upright = rearrange(self._image(number), "h w c -> c h w")
            if frames is None:
                frames = np.empty((len(indices), *upright.shape), np.uint8)
            if upright.shape != frames.shape[1:]:
                raise VideoError(
                    f"{self._facts.source.name}: changes its frame size at frame {number}; encode "
                    f"it again at one size, or leave it out"
                )
            for place in np.flatnonzero(places == rank):
                frames[place] = upright
        assert frames is not None
        return torch.from_numpy(frames)

    def _image(self, number: int) -> np.ndarray:
        frame = self._find(number)
        if self._index.checksum is not None and checksum(frame) != self._index.checksum[number]:
            raise Mismatch(f"frame {number} looks different when it is reached by a seek")
        return to_rgb(frame, self._facts.decoding.short_side, self._reformatter)

    def _find(self, number: int) -> av.VideoFrame:
        """The frame with this number: decodes on, or from the last entry before it."""
        entry = int(np.searchsorted(self._index.first, number, side="right")) - 1
        behind = number < self._next or number in self._dropped
        if self._flow is None or behind or self._index.entries[entry] > self._sent:
            self._enter(entry)
        assert self._flow is not None
        for frame in self._flow:
            came = self._number(frame)
            if came < self._next:  # shown before the entry, so it may be wrong from here
                continue
            if any(n not in self._dropped for n in range(self._next, came)):
                raise Mismatch(f"frame {came} came where frame {self._next} was due")
            self._next = came + 1
            if came == number:
                name = self._facts.source.name
                require_size(name, frame.height, frame.width, self._limits)
                return frame
        raise Mismatch(f"the file ends before frame {number}")

    def _number(self, frame: av.VideoFrame) -> int:
        """The frame's number: from its time where times are trusted, else from its packet."""
        if self._index.packet is None:
            return self._next
        if self._index.counted:
            packet = marked(frame)
            return -1 if packet < 0 else int(self._frame_of[packet])
        if frame.pts is None:
            return -1
        number = int(np.searchsorted(self._stamps, frame.pts))
        found = number < len(self._stamps) and self._stamps[number] == frame.pts
        return number if found else -1

    def _enter(self, entry: int) -> None:
        """Go to the first frame of an entry."""
        self._next = int(self._index.first[entry])
        self._dropped.clear()
        packet = int(self._index.entries[entry])
        self._sent = packet - 1
        self._flow = self._decode(packet)

    def _decode(self, start: int) -> Iterator[av.VideoFrame]:
        """Frames from packet `start` on."""
        # At the start of the file any frame may come first, and where an edit list hides keyframes,
        # the first shown frame need not be one.
        number, began = start, start == 0 or bool(self._index.packets.discard[start])
        for packet in self._packets(start):
            codec = self._stream.codec_context  # of the container that is open now
            if not self._index.packets.same(number, packet):
                raise Mismatch(f"packet {number} is another one when it is read again")
            if number >= self._index.packets.intact:
                break  # the cut packet of a truncated file gives no complete frame
            shows = int(self._frame_of[number])
            skip = self._skips and 0 <= shows < self._last and shows not in self._wanted
            codec.skip_frame = "NONREF" if skip else "DEFAULT"
            if skip:
                self._dropped.add(shows)
            if self._index.counted:
                mark(packet, number)
            self._sent = number
            for frame in codec.decode(packet):
                if not began and frame.pict_type in (PictureType.P, PictureType.B):
                    raise Mismatch(f"packet {start} is no keyframe")
                began = True
                self._dropped.discard(self._number(frame))
                yield frame
            number += 1
        codec = self._stream.codec_context
        codec.skip_frame = "DEFAULT"
        yield from codec.decode(None)

    def _seek(self, stamp: int) -> bool:
        """Go to a keyframe at or before a time; False if the file has none."""
        try:
            self._container.seek(stamp, stream=self._stream)
        except av.FFmpegError:
            return False
        self._stream.codec_context.flush_buffers()
        return True

    def _packets(self, start: int) -> Iterator[av.Packet]:
        """Packets from number `start` on, by a seek if that finds it, else from the start."""
        stamp = int(self._index.packets.pts[start])
        if self._index.packet is not None and abs(stamp) < 2**62 and self._seek(stamp):
            packets = with_data(self._container, self._stream)
            for packet in packets:
                if self._index.packets.same(start, packet):
                    yield packet
                    yield from packets
                    return
                if packet.dts is not None and packet.dts > stamp:
                    break  # the seek went too far
        self._container.close()
        self._container, self._stream = self._open()
        self._prepare()
        for number, packet in enumerate(with_data(self._container, self._stream)):
            if number >= start:
                yield packet
