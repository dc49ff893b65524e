"""An HDF5 file, from which nothing outside it is read.

Links to other files, external and virtual datasets are refused. Knows no layout of episodes.
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
from worldmodel.errors import EpisodeError, WorldModelError
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Limits

_MAGIC = b"\x89HDF\r\n\x1a\n"
_ENTRY_BYTES = 16  # of an entry in a list of episodes
_DEEPEST = 8  # groups inside each other; one may hold itself


@dataclass(frozen=True)
class Rows:
    """Rows of a dataset; those of other datasets of an episode have the same numbers."""

    key: str
    start: int
    stop: int


def looks_like_hdf5(path: str) -> bool:
    """True for a file that begins as HDF5 does, or one that is named so; never raises."""
    if "://" in path or not os.path.isfile(path):
        return False
    named = path.lower().endswith((".h5", ".hdf5"))
    try:
        with open(path, "rb") as file:
            return named or file.read(8) == _MAGIC
    except OSError:
        return named


@contextmanager
def opened_h5(path: str) -> Iterator[Any]:
    """The file, to read; errors of the library become ours.

    Raises:
        EpisodeError: it is no HDF5 file, is cut, or holds what is not there.
    """
    h5py = require_extra("h5py", "hdf5", "HDF5")
    require_file(Path(path), "HDF5 file", EpisodeError)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except WorldModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, AttributeError,
            OverflowError, IndexError, NotImplementedError, UnicodeError) as cause:  # fmt: skip
        # A damaged file makes HDF5 fail wherever it happens to look.
        reason = " ".join(str(cause).split())[:160]
        more = "; pip install hdf5plugin where a filter is missing" if "filter" in reason else ""
        raise EpisodeError(
            f"{path}: is no valid HDF5 file ({reason}){more}; {fetch_again(path)}"
        ) from cause


def dataset(file: Any, path: str, key: str) -> Any:
    """A dataset that lies in this file itself, or None where there is none of that name.

    Raises:
        EpisodeError: it, or a group above it, lies somewhere else.
    """
    import h5py

    place: Any = file
    for part in key.split("/"):
        if not isinstance(place, h5py.Group) or part not in place:
            return None
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise EpisodeError(f"{path}: '{key}' is a link; copy what it leads to into the file")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        return None
    if place.external or place.is_virtual:
        raise EpisodeError(f"{path}: '{key}' lies in other files; copy it into this one")
    return place


def group_keys(file: Any, path: str, key: str = "") -> list[str]:
    """The names in a group; none where it is no group."""
    import h5py

    place: Any = file
    for part in key.split("/") if key else []:
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        place = place[part] if isinstance(link, h5py.HardLink) else None
    return [str(name) for name in place] if isinstance(place, h5py.Group) else []


def datasets_below(file: Any, path: str, key: str, depth: int = _DEEPEST) -> dict[str, Any]:
    """All datasets in a group and in the groups inside it, by their keys below `key`.

    Raises:
        EpisodeError: one lies somewhere else.
    """
    found: dict[str, Any] = {}
    for name in group_keys(file, path, key):
        array = dataset(file, path, f"{key}/{name}")
        if array is not None:
            found[name] = array
        elif depth:
            inside = datasets_below(file, path, f"{key}/{name}", depth - 1)
            found |= {f"{name}/{below}": array for below, array in inside.items()}
    return found


def read_rows(file: Any, path: str, rows: Rows, numbers: np.ndarray | None = None) -> np.ndarray:
    """All rows, or those with these increasing numbers.

    Raises:
        EpisodeError: they would not fit in memory.
    """
    array = dataset(file, path, rows.key)
    if array is None:
        raise EpisodeError(f"{path}: has no '{rows.key}' any more; write it again")
    count = rows.stop - rows.start if numbers is None else len(numbers)
    if count * int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize > MOST_BYTES:
        raise EpisodeError(
            f"{path}: '{rows.key}' claims more than 4 GiB for one episode; write shorter ones"
        )
    if numbers is None:
        return np.asarray(array[rows.start : rows.stop])
    steps = np.diff(numbers)
    first = rows.start + int(numbers[0])
    if len(steps) and (steps == steps[0]).all():  # a selection by step is many times faster
        return np.asarray(array[first : rows.start + int(numbers[-1]) + 1 : int(steps[0])])
    return np.asarray(array[rows.start + numbers])


def read_list(array: Any, path: str) -> np.ndarray:
    """All of a dataset that lists episodes.

    Raises:
        EpisodeError: it claims more than a list of episodes can be, or more than the file holds.
    """
    most = Limits().frames
    stored = array.id.get_storage_size()
    packed = array.id.get_create_plist().get_nfilters() > 0 and stored > 0
    if (
        array.size > most
        or array.nbytes > _ENTRY_BYTES * most
        or (array.nbytes > stored and not packed)
    ):
        raise EpisodeError(
            f"{path}: '{array.name[1:]}' claims {array.size} entries, {array.nbytes} "
            f"bytes, of which the file holds {stored}; write it again, with at most {most}"
        )
    return np.asarray(array[()])


def is_info(array: Any) -> bool:
    """True for a dataset of a number or a row of numbers for each of its rows."""
    return array.ndim in (1, 2) and array.dtype.kind in "fiub" and array.dtype.itemsize <= 8


def by_number(name: str) -> tuple[int, str]:
    """The number that a name ends in, to sort by: `demo_9` stands before `demo_10`."""
    digits = name.rpartition("_")[2]
    return (int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else -1, name)
