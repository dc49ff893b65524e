"""A zarr store of format 2, a folder or a zip, from which nothing but its numbers is read.

An array may name a codec that runs code when it is read (numcodecs has one for pickles), so only
codecs of numbers are taken; and links in a folder, which may lead out of it, are refused. Knows no
layout of episodes.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.datasets.episode_source import MOST_BYTES, fetch_again
from worldmodel.datasets.format import require_extra
from worldmodel.errors import EpisodeError, WorldModelError, printable
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Limits

_CODECS = frozenset(
    "bitround blosc bz2 crc32 delta fixedscaleoffset gzip lz4 lzma packbits quantize shuffle "
    "zlib zstd".split()
)


@dataclass(frozen=True)
class ZarrStore:
    """An opened store."""

    path: str
    group: Any

    def keys(self, group: str) -> list[str]:
        """The keys of what is in a group, sorted; none where there is no such group."""
        found = self.group.get(group)
        return sorted(f"{group}/{key}" for key in found.keys()) if hasattr(found, "keys") else []

    def array(self, key: str) -> Any:
        """An array of numbers, not read yet; None where there is no array of numbers there.

        Raises:
            EpisodeError: it is compressed in a way that is not taken, or in huge chunks.
        """
        array = self.group.get(key)
        if not hasattr(array, "chunks") or array.dtype.kind not in "fiub" or not array.shape:
            return None
        used = [codec.codec_id for codec in (*array.filters, *array.compressors)]
        strange = [name for name in used if name not in _CODECS]
        if strange:
            raise EpisodeError(
                f"{self.path}: '{key}' is in the codec '{strange[0]!s:.40}', and only codecs of "
                f"numbers that run no code are read; write it again with blosc"
            )
        if int(np.prod(array.chunks, dtype=object)) * array.dtype.itemsize > MOST_BYTES:
            raise EpisodeError(
                f"{self.path}: '{key}' has chunks of more than 4 GiB; write it in smaller ones"
            )
        return array

    def rows(self, key: str, start: int, numbers: np.ndarray) -> np.ndarray:
        """The rows of an array with these increasing numbers, counted from `start`.

        Raises:
            EpisodeError: they would not fit in memory, or are gone.
        """
        array = self.array(key)
        first, last = start + int(numbers[0]), start + int(numbers[-1])
        if array is None or array.shape[0] <= last:
            raise EpisodeError(f"{self.path}: '{key}' has changed; begin again")
        width = int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize
        if len(numbers) * width > MOST_BYTES:
            raise EpisodeError(
                f"{self.path}: '{key}' claims more than 4 GiB for one episode; write shorter ones"
            )
        if last - first + 1 == len(numbers):
            return np.asarray(array[first : last + 1])
        return np.asarray(array.oindex[start + numbers])

    def whole_numbers(self, key: str) -> list[int]:
        """All of a list of whole numbers.

        Raises:
            EpisodeError: it is none, or claims more than a list of episodes can have.
        """
        array, most = self.array(key), Limits().frames
        if (
            array is None
            or array.ndim != 1
            or array.dtype.kind not in "iu"
            or array.shape[0] > most
        ):
            raise EpisodeError(
                f"{self.path}: '{key}' is no list of at most {most} whole numbers; fetch or write "
                f"the store again"
            )
        numbers: list[int] = np.asarray(array[:]).tolist()
        return numbers


@contextmanager
def opened_zarr(path: str) -> Iterator[ZarrStore]:
    """The store, to read; errors of the library become ours.

    Raises:
        EpisodeError: it is no zarr store of format 2, is cut, or holds what is not there.
    """
    zarr = require_extra("zarr", "zarr", "a zarr store")
    storage = require_extra("zarr.storage", "zarr", "a zarr store")
    folder = os.path.isdir(path)
    if not folder:
        require_file(Path(path), "zarr store", EpisodeError)
    try:
        if folder:
            files = storage.LocalStore(path, read_only=True)
        else:
            files = storage.ZipStore(path, mode="r", read_only=True)
        # Not from .zmetadata, which may tell of other arrays than those that are read.
        group = zarr.open_group(files, mode="r", zarr_format=2, use_consolidated=False)
        try:
            yield ZarrStore(printable(path), group)
        finally:
            files.close()
    except WorldModelError:
        raise
    except Exception as cause:  # of a damaged store zarr and its codecs raise anything
        reason = " ".join(str(cause).split())[:160] or type(cause).__name__
        raise EpisodeError(
            f"{path}: is no valid zarr store of format 2 ({reason}); {fetch_again(path)}"
        ) from cause


def refuse_links(path: str) -> None:
    """Refuse links and pipes in a store that is a folder, through which other files would be read.

    Raises:
        EpisodeError: naming the first.
    """
    for folder, folders, files in os.walk(path):
        for name in (*folders, *files):
            place = os.path.join(folder, name)
            if os.path.islink(place) or not (os.path.isfile(place) or os.path.isdir(place)):
                raise EpisodeError(
                    f"{printable(place)}: is a link, or no file; copy what it leads to into the "
                    f"store"
                )
