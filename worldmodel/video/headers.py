"""Reads headers by their bytes: the samples that an MP4 claims; where MP4, Matroska, AVI, ASF end.

FFmpeg allocates an entry for every sample that a header claims, which a few crafted bytes can make
a billion: so the tables that claim samples are read first. And FFmpeg does not say whether a file
ends before its header says it does. Knows nothing else of the formats.
"""

import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from worldmodel.errors import VideoError
from worldmodel.video.source import SourceFile

_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_CONTENT = frozenset({b"mdat", b"moov", b"moof"})
_LARGEST_HEADER = 2**28  # bytes of a table of samples that are looked at
_ASF = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")  # the header of the file
_ASF_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")
_ASF_LIVE = 1  # a flag: what is said of sizes and times does not hold


def claimed_samples(source: SourceFile) -> int:
    """The samples that all tracks and fragments of an MP4 claim; 0 for what is no MP4.

    Raises:
        VideoError: the file is not there any more, or cannot be read.
    """
    with _bytes_of(source) as file:
        return _claimed(file)


def overruns(source: SourceFile) -> bool:
    """True where the last box of an MP4 ends after the file does."""
    with _bytes_of(source) as file:
        size = file.seek(0, 2)
        # What follows the last box may be anything, and look like a box of any size.
        return any(end > size and kind in _CONTENT for kind, _, end in _boxes(file, 0, size))


def is_fragmented(source: SourceFile) -> bool:
    """True where an MP4 lists its packets piece by piece, between their bytes."""
    with _bytes_of(source) as file:
        return any(kind == b"moof" for kind, _, _ in _boxes(file, 0, file.seek(0, 2)))


def segment_end(source: SourceFile) -> tuple[int, int]:
    """Where a Matroska file says that it ends, 0 where it does not; and where it does, in bytes."""
    with _bytes_of(source) as file:
        size = file.seek(0, 2)
        start = 0
        for _ in range(2):  # what describes the file, then what is in it
            head = _span(file, start, 12)
            if len(head) < 12:
                return 0, size
            length = 9 - head[4].bit_length()  # bytes of the size, by its leading zeros
            value = int.from_bytes(head[4 : 4 + length], "big") & (1 << 7 * length) - 1
            if length > 8 or value == (1 << 7 * length) - 1:  # written as it was recorded
                return 0, size
            kind, start = head[:4], start + 4 + length + value
        return (start if kind == b"\x18\x53\x80\x67" else 0), size


def riff_end(source: SourceFile) -> tuple[int, int]:
    """The same for AVI: a large file is a chain of RIFF chunks, each of which says its own end."""
    with _bytes_of(source) as file:
        size, start = file.seek(0, 2), 0
        while start < size:
            head = _span(file, start, 12)
            length = int.from_bytes(head[4:8], "little")
            # What follows the last chunk may be anything. While one is written its size is not
            # known, and stays so where the writer could not go back.
            if head[:4] != b"RIFF" or head[8:11] != b"AVI" or length in (0, 2**32 - 1):
                break
            start += 8 + length + length % 2
        return start, size


def asf_end(source: SourceFile) -> tuple[int, int]:
    """The same for ASF, which says it among its properties unless it was recorded live."""
    with _bytes_of(source) as file:
        size = file.seek(0, 2)
        head = _span(file, 0, 24)
        start, end = 30, min(int.from_bytes(head[16:24], "little"), size)
        while head[:16] == _ASF and start < end:
            part = _span(file, start, 92)
            length = int.from_bytes(part[16:24], "little")
            if part[:16] == _ASF_PROPERTIES and len(part) == 92:
                live = int.from_bytes(part[88:92], "little") & _ASF_LIVE
                return (0 if live else int.from_bytes(part[40:48], "little")), size
            if length < 24:
                break
            start += length
        return 0, size


@contextmanager
def _bytes_of(source: SourceFile) -> Iterator[Any]:
    if source.file is not None:
        yield source.file
        return
    assert source.path is not None
    try:
        with source.path.open("rb") as file:
            yield file
    except OSError as cause:  # a reader opens its file again, which may be gone by then
        raise VideoError(
            f"{source.name}: cannot be read ({cause.strerror}); check that it is still there, or "
            f"leave it out"
        ) from cause


def _claimed(file: Any) -> int:
    if _span(file, 4, 4) not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return 0
    tracks = [_Track()]
    for kind, start, size in _tables(file, 0, file.seek(0, 2)):
        if kind in (b"tkhd", b"tfhd"):
            tracks.append(_Track())
        track = tracks[-1]
        if kind == b"hdlr" and size >= 12:
            handler = _span(file, start + 8, 4)
            if handler not in (b"url ", b"alis"):  # QuickTime says how the data are found, too
                track.sounds = handler == b"soun"
        elif kind in (b"stsz", b"stz2") and size >= 12:
            track.samples += struct.unpack(">I", _span(file, start + 8, 4))[0]
        elif kind == b"trun" and size >= 8:
            track.runs += struct.unpack(">I", _span(file, start + 4, 4))[0]
        elif kind in (b"stts", b"ctts") and size >= 8:
            table = _span(file, start + 8, min(size - 8, _LARGEST_HEADER))
            pairs = list(struct.iter_unpack(">II", table[: len(table) // 8 * 8]))
            if kind == b"stts":
                track.ticks = track.ticks and [step for _, step in pairs] == [1]
            track.tables[kind] = track.tables.get(kind, 0) + sum(count for count, _ in pairs)
    return sum(track.entries() for track in tracks)


@dataclass
class _Track:
    """Claims of one track, or of one fragment of it."""

    samples: int = 0
    runs: int = 0
    tables: dict[bytes, int] = field(default_factory=dict)
    sounds: bool = False
    ticks: bool = True

    def entries(self) -> int:
        """FFmpeg keeps sound of one tick a sample, PCM, by chunks: those are in the file."""
        pcm = self.sounds and self.ticks and b"stts" in self.tables
        return self.runs + (0 if pcm else max(self.samples, *self.tables.values(), 0))


def _span(file: Any, offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _boxes(file: Any, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Kind of each box, where its content begins, and where it says that it ends."""
    while start + 8 <= end:
        header = _span(file, start, 16)
        if len(header) < 8:
            return
        size, kind, skip = struct.unpack(">I", header[:4])[0], header[4:8], 8
        if size == 1 and len(header) == 16:
            size, skip = struct.unpack(">Q", header[8:])[0], 16
        size = size or end - start
        if size < skip:
            return
        yield kind, start + skip, start + size
        start += size


def _tables(file: Any, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and size of the content of all boxes that may hold a table of samples."""
    for kind, inside, stop in _boxes(file, start, end):
        stop = min(stop, end)
        if kind in _INSIDE and depth < 8:
            yield from _tables(file, inside, stop, depth + 1)
        else:
            yield kind, inside, stop - inside
