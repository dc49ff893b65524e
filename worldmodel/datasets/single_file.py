"""A single video file."""

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import FileCatalogue
from worldmodel.errors import VideoError
from worldmodel.storage.files import require_file


@dataclass(frozen=True)
class SingleFile(Format):
    """One video file or URL: whatever is not a folder and no other format recognises."""

    name: ClassVar[str] = "file"
    rank: ClassVar[int] = 99
    looks: ClassVar[str] = "a regular file, or a URL"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Anything that exists and is not a folder; opening it finds what is wrong with it."""
        if "://" in path:
            return True
        try:
            return not stat.S_ISDIR(os.lstat(path).st_mode) or os.path.isfile(path)
        except (OSError, ValueError):
            return False

    def open(self, path: str) -> Catalogue:
        """A catalogue of one."""
        if "://" not in path:
            require_file(Path(path), "video", VideoError)
        return FileCatalogue(path, [path])
