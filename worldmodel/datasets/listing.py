"""Catalogues of files, which most formats come down to, and how folders are searched.

Items are made when they are asked for: only a path, a label and a line number are kept of each.
"""

import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import numpy as np

from worldmodel.datasets.catalogue import Catalogue, Item, LeftOut
from worldmodel.errors import VideoError, printable
from worldmodel.video.clip import VideoReader
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

# Of the containers that are read: see `_FORMATS` in `video/container.py`.
VIDEOS = tuple(
    ".3gp .asf .avi .f4v .flv .gif .m2ts .m4v .mkv .mov .mp4 .mpeg .mpg .mts .ogv .ts .vob .webm "
    ".wmv".split()
)
NO_LABEL = -1


@dataclass(frozen=True)
class VideoFile(Item):
    """A video that is a file, or a part of one."""

    name: str
    key: str
    label: int | None = None
    window: tuple[float, float] | None = None
    origin: str = ""  # where a list names it, for messages

    @property
    def opens(self) -> Hashable:
        """The file: parts of it share one reader, whatever their labels."""
        return self.key

    def open(self, decoding: Decoding) -> Video:
        """Open the file."""
        try:
            return VideoReader(self.key, decoding, name=self.name)
        except VideoError as cause:
            raise VideoError(f"{cause}{self.origin}") from cause


class FileCatalogue(Catalogue):
    """Files in a fixed order.

    Args:
        name: Of the data set.
        paths: One of each file.
        labels: A class number of each, `NO_LABEL` for none; None if no file has one.
        classes: Their names.
        lines: The line of `name` that names each video file; None if it is not a list.
        make: From a name, a key and a label to the item of a file.
        left_out: Videos that the data set names and lacks.
    """

    def __init__(
        self,
        name: str,
        paths: Sequence[str],
        *,
        labels: np.ndarray | None = None,
        classes: Sequence[str] = (),
        lines: np.ndarray | None = None,
        make: Callable[[str, str, int | None], Item] = VideoFile,
        left_out: Sequence[LeftOut] = (),
    ) -> None:
        self.name = printable(name)
        self.classes = tuple(classes)
        self.left_out = list(left_out)
        self._paths, self._labels, self._lines, self._make = paths, labels, lines, make

    def __len__(self) -> int:
        return len(self._paths)

    def item(self, index: int) -> Item:
        """The file."""
        path = self._paths[index]
        number = NO_LABEL if self._labels is None else int(self._labels[index])
        label = None if number == NO_LABEL else number
        if self._lines is None:
            return self._make(printable(path), path, label)
        origin = f" ({self.name}, line {self._lines[index]})"
        return VideoFile(printable(path), path, label, origin=origin)


def walk(root: str | Path) -> Iterator[str]:
    """All files below a folder, hidden ones left out.

    Links to folders are followed after all real folders, and no folder is entered twice: loops of
    links end, and a file with two paths has the one without a link in it.

    Raises:
        VideoError: a folder may not be read.
    """
    seen: set[tuple[int, int]] = set()
    links = [os.fspath(root)]
    while links:
        for folder, names, files in os.walk(links.pop(0), onerror=_refuse):
            status = os.stat(folder)
            if (status.st_dev, status.st_ino) in seen:
                names.clear()
                continue
            seen.add((status.st_dev, status.st_ino))
            names[:] = sorted(name for name in names if not name.startswith("."))
            links += (p for p in (os.path.join(folder, n) for n in names) if os.path.islink(p))
            yield from (os.path.join(folder, f) for f in sorted(files) if not f.startswith("."))


def names_in(folder: str) -> list[str]:
    """The names in a folder, sorted; none where there is no folder.

    Raises:
        VideoError: it may not be read.
    """
    try:
        return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
    except OSError as cause:
        _refuse(cause)


def _refuse(cause: OSError) -> NoReturn:
    raise VideoError(
        f"{cause.filename}: folder cannot be read ({cause.strerror}); check the path "
        f"and its permissions"
    ) from cause


def files_below(root: str, endings: tuple[str, ...]) -> list[str]:
    """The files below a folder with these endings, in the order of their paths' parts."""
    found = [path for path in walk(root) if path.lower().endswith(endings)]
    return sorted(found, key=lambda path: path.split(os.sep))


def class_folders(root: str, paths: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]]:
    """Labels by the first folder below `root` that each path is in, and the folders' names.

    Classes are numbered in the order of their names, as torchvision does.

    Raises:
        VideoError: a file is in no folder of its own.
    """
    firsts = []
    for path in paths:
        inside = os.path.relpath(path, root).split(os.sep)
        if len(inside) < 2:
            raise VideoError(
                f"{path}: is in no class folder; put it in a folder called like its class"
            )
        firsts.append(inside[0])
    classes, labels = np.unique(firsts, return_inverse=True)
    return labels.astype(np.int32), tuple(classes.tolist())
