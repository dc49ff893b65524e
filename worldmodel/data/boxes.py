"""Counts that an MP4 header claims, read before FFmpeg makes room for them.

FFmpeg allocates an entry for every sample that a header promises, which a few crafted bytes can
make a billion. So the few tables that promise samples are looked at first. Knows nothing else of
the format.
"""

import struct
from collections.abc import Iterator

from worldmodel.data.media import Media

_INSIDE = frozenset({b"moov", b"trak", b"mdia", b"minf", b"stbl", b"moof", b"traf"})
_LARGEST_HEADER = 2**28  # a table of samples that is longer than this is read in pieces


def claimed_samples(media: Media) -> int:
    """The most samples that any track of an MP4 claims; 0 for what is no MP4."""
    if media.head(8)[4:] not in (b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"pnot"):
        return 0
    most = 0
    for kind, start, size in _boxes(media, 0, _size(media)):
        if kind == b"stsz" and size >= 12:
            most = max(most, struct.unpack(">I", media.span(start + 8, 4))[0])
        elif kind in (b"stz2", b"trun") and size >= 12:
            offset = 8 if kind == b"stz2" else 4
            most = max(most, struct.unpack(">I", media.span(start + offset, 4))[0])
        elif kind in (b"stts", b"ctts") and size >= 8:
            table = media.span(start + 8, min(size - 8, _LARGEST_HEADER))
            pairs = struct.iter_unpack(">II", table[: len(table) // 8 * 8])
            most = max(most, sum(count for count, _ in pairs))
    return most


def _size(media: Media) -> int:
    if media.file is not None:
        return media.file.seek(0, 2)
    assert media.path is not None
    return media.path.stat().st_size


def _boxes(media: Media, start: int, end: int, depth: int = 0) -> Iterator[tuple[bytes, int, int]]:
    """Kind, place of the content and its size, of all boxes that may hold a table of samples."""
    while start + 8 <= end:
        header = media.span(start, 16)
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
            yield from _boxes(media, start + skip, inside, depth + 1)
        else:
            yield kind, start + skip, inside - start - skip
        start += size
