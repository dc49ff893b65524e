"""Layouts that are known and not read where they lie, so that a message can name them."""

import os
import re
from collections.abc import Iterator
from itertools import islice

from worldmodel.errors import WorldModelError

_LOOK_AT = 2000  # files
_CONVERT = (
    "which is not read; convert it to LeRobot's layout, to robomimic's HDF5 (see docs/data.md), or "
    "to videos"
)
# A file that each has, by its path below the folder, and what to do. Where a layout is read, its
# own folder is recognised before, and this one is above it.
_LAYOUTS = {
    "Minari data sets": (
        r"(.*/)?data/main_data\.hdf5",
        "of which one is read at a time; name the folder above its data/",
    ),
    "RLDS (TensorFlow Datasets)": (r".*\.tfrecord([-.].*)?", _CONVERT),
    "zarr stores": (
        r"(.*/)?(\.zgroup|\.zarray|\.zattrs|\.zmetadata|zarr\.json)",
        "of which Diffusion Policy's are read; name one that holds data/ and meta/episode_ends, or "
        "convert it to LeRobot's layout",
    ),
    "ACT's episodes (one HDF5 file each)": (
        r"(.*/)?episode_\d+\.(hdf5|h5)",
        "in several folders; name one that they lie in",
    ),
    "shards of Hugging Face's datasets": (r"(.*/)?[^/]+-\d{5}-of-\d{5}\.(parquet|arrow)", _CONVERT),
}


def refuse_unread(folder: str, error: type[WorldModelError]) -> None:
    """Refuse a folder whose first files are those of a known layout.

    Raises:
        WorldModelError: of class `error`.
    """
    names = list(islice(_names_below(folder), _LOOK_AT))
    for layout, (pattern, remedy) in _LAYOUTS.items():
        if any(re.fullmatch(pattern, name) for name in names):
            raise error(f"{folder}: looks like {layout}, {remedy}")


def _names_below(folder: str) -> Iterator[str]:
    """Paths of files below a folder, hidden ones too: a zarr store is known by nothing else."""
    for inside, _, files in os.walk(folder):
        yield from (os.path.relpath(os.path.join(inside, name), folder) for name in sorted(files))
