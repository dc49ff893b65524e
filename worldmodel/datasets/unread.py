"""Layouts that are known and not read, so that a message can name them."""

import os
import re
from collections.abc import Iterator
from itertools import islice

from worldmodel.errors import WorldModelError

_LOOK_AT = 2000  # files
_LAYOUTS = {  # a file that each has, by its path below the folder
    "a Minari data set": r"(.*/)?data/main_data\.hdf5",
    "RLDS (TensorFlow Datasets)": r".*\.tfrecord([-.].*)?",
    "a zarr store": r"(.*/)?(\.zgroup|\.zarray|\.zattrs|\.zmetadata|zarr\.json)",
    "ACT's episodes (one HDF5 file each)": r"(.*/)?episode_\d+\.(hdf5|h5)",
    "shards of Hugging Face's datasets": r"(.*/)?[^/]+-\d{5}-of-\d{5}\.(parquet|arrow)",
}


def refuse_unread(folder: str, error: type[WorldModelError]) -> None:
    """Refuse a folder whose first files are those of a known layout.

    Raises:
        WorldModelError: of class `error`.
    """
    names = list(islice(_names_below(folder), _LOOK_AT))
    for layout, pattern in _LAYOUTS.items():
        if any(re.fullmatch(pattern, name) for name in names):
            raise error(
                f"{folder}: looks like {layout}, which is not read; convert it to LeRobot's "
                f"layout, to robomimic's HDF5 (see docs/data.md), or to videos"
            )


def _names_below(folder: str) -> Iterator[str]:
    """Paths of files below a folder, hidden ones too: a zarr store is known by nothing else."""
    for inside, _, files in os.walk(folder):
        yield from (os.path.relpath(os.path.join(inside, name), folder) for name in sorted(files))
