"""Folders of pictures: each is a video of one frame. Classes are folders, as torchvision has it."""

import os
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.format import Format
from worldmodel.datasets.image_file import read_picture
from worldmodel.datasets.listing import (
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    shown,
    walk,
)
from worldmodel.datasets.single_file import require_file_named
from worldmodel.errors import VideoError
from worldmodel.video.catalogue import Catalogue, Item, Opening, VideoSource

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_LOOK_AT = 2000  # files, to tell pictures from videos


@dataclass(frozen=True)
class Images(Format):
    """Pictures below a folder; where all lie in folders of their own, those are the classes."""

    name: ClassVar[str] = "images"
    rank: ClassVar[int] = 70
    looks: ClassVar[str] = f"a folder with pictures ({' '.join(IMAGES)}) and no video"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """Pictures and no video among the first files."""
        if not os.path.isdir(path):
            return False
        try:
            names = [name.lower() for name in islice(walk(path), _LOOK_AT)]
        except VideoError:
            return False
        return any(n.endswith(IMAGES) for n in names) and not any(n.endswith(VIDEOS) for n in names)

    def open(self, path: str) -> Catalogue:
        """The pictures in the order of their paths."""
        found = files_below(path, IMAGES)
        if not found:
            raise VideoError(f"{shown(path)}: holds no picture; looked for {' '.join(IMAGES)}")
        if any(os.path.dirname(name) == path.rstrip(os.sep) for name in found):
            return FileCatalogue(path, found, make=_picture)
        labels, classes = class_folders(path, found)
        return FileCatalogue(path, found, labels=labels, classes=classes, make=_picture)


@dataclass(frozen=True)
class Picture(Item):
    """A picture that is a file."""

    name: str
    key: str
    label: int | None = None

    def open(self, opening: Opening) -> VideoSource:
        """Decode it, upright, as RGB."""
        require_file_named(self.key, "picture")
        pixels = read_picture(self.key, self.name, opening.limits)[None]
        return ArrayVideo(
            self.name, lambda numbers: pixels[numbers], pixels.shape[:3], 1.0, opening
        )


def _picture(name: str, key: str, label: int | None, origin: str) -> Item:
    return Picture(name, key, label)
