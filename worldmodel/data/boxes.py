"""Counts that an MP4 header claims, read before FFmpeg makes room for them.

FFmpeg allocates an entry for every sample that a header promises, which a few crafted bytes can
make a billion. So the few tables that promise samples are looked at first. Knows nothing else of
the format.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from worldmodel.data.media import Media
from worldmodel.errors import VideoError

_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_LARGEST_HEADER = 2**28  # bytes of a table of samples that are looked at


def claimed_samples(media: Media) -> int:
    """The samples that all tracks and fragments of an MP4 claim; 0 for what is no MP4.

    Raises:
        VideoError: the file is not there any more, or cannot be read.
    """
    if media.file is not None:
        return _claimed(media.file)
    assert media.path is not None
    try:
        with media.path.open("rb") as file:
            return _claimed(file)
    except OSError as cause:  # a reader opens its file again, which may be gone by then
        raise VideoError(
            f"{media.name}: cannot be read ({cause.strerror}); check that it is still there, or "
            f"leave it out"
        ) from cause


def _claimed(file: Any) -> int:
    if _span(file, 4, 4) not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return 0
    tracks = [_Track()]
    for kind, start, size in _boxes(file, 0, file.seek(0, 2)):
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
    """What one track, or one fragment of it, claims."""

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


def _boxes(file: Any, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place of the content and its size, of all boxes that may hold a table of samples."""
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
        inside = min(start + size, end)
        if kind in _INSIDE and depth < 8:
            yield from _boxes(file, start + skip, inside, depth + 1)
        else:
            yield kind, start + skip, inside - start - skip
        start += size
