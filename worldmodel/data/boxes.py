"""Counts that an MP4 header claims, read before FFmpeg makes room for them.

FFmpeg allocates an entry for every sample that a header promises, which a few crafted bytes can
make a billion. So the few tables that promise samples are looked at first. Knows nothing else of
the format.
"""

import struct
from collections.abc import Iterator
from typing import IO

from worldmodel.data.media import Media

_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_LARGEST_HEADER = 2**28  # bytes of a table of samples that are looked at


def claimed_samples(media: Media) -> int:
    """The most samples that any track of an MP4 claims; 0 for what is no MP4."""
    if media.file is not None:
        return _claimed(media.file)
    assert media.path is not None
    with media.path.open("rb") as file:
        return _claimed(file)


def _claimed(file: IO[bytes]) -> int:
    if _span(file, 4, 4) not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return 0
    most = 0
    for kind, start, size in _boxes(file, 0, file.seek(0, 2)):
        if kind == b"stsz" and size >= 12:
            most = max(most, struct.unpack(">I", _span(file, start + 8, 4))[0])
        elif kind in (b"stz2", b"trun") and size >= 12:
            offset = 8 if kind == b"stz2" else 4
            most = max(most, struct.unpack(">I", _span(file, start + offset, 4))[0])
        elif kind in (b"stts", b"ctts") and size >= 8:
            table = _span(file, start + 8, min(size - 8, _LARGEST_HEADER))
            pairs = struct.iter_unpack(">II", table[: len(table) // 8 * 8])
            most = max(most, sum(count for count, _ in pairs))
    return most


def _span(file: IO[bytes], offset: int, size: int) -> bytes:
    file.seek(offset)
    return file.read(size)


def _boxes(
    file: IO[bytes], start: int, end: int, depth: int = 0
) -> Iterator[tuple[bytes, int, int]]:
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
