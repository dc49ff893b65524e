"""A folder of videos, and all folders below it."""

import os
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import (
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    walk,
)
from worldmodel.datasets.unread import refuse_unread
from worldmodel.errors import VideoError


@dataclass(frozen=True)
class Folder(Format):
    """All files below a folder that are named like a video.

    Attributes:
        classes: Whether the first folders below it are classes; otherwise there are no labels.
    """

    name: ClassVar[str] = "folder"
    rank: ClassVar[int] = 90
    looks: ClassVar[str] = "a folder; files below it named like a video are taken"

    classes: bool = False

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Any folder that no other format recognises."""
        return os.path.isdir(path)

    def open(self, path: str) -> Catalogue:
        """The videos, in the order of their paths."""
        if not os.path.isdir(path):
            raise VideoError(f"{path}: is not a folder; name one, or leave format=auto")
        found = files_below(path, VIDEOS)
        if not found:
            refuse_unread(path, VideoError)
            others = list(islice(walk(path), 100_000))
            hdf5 = next((name for name in others if name.endswith((".hdf5", ".h5"))), None)
            raise VideoError(
                f"{path}: holds no video among {len(others)} files; name one of its HDF5 files, "
                f"as {hdf5}"
                if hdf5
                else f"{path}: holds no video among {len(others)} files; looked for "
                f"{' '.join(VIDEOS)}, or name a manifest (.csv, .txt) of paths"
            )
        if not self.classes:
            return FileCatalogue(path, found)
        labels, names = class_folders(path, found)
        return FileCatalogue(path, found, labels=labels, classes=names)
