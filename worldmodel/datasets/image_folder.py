"""Images, each a video of one frame: one, or those of a folder, classes as torchvision has them."""

import os
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import ClassVar

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.format import Format
from worldmodel.datasets.image_file import IMAGES, read_image
from worldmodel.datasets.listing import (
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    walk,
)
from worldmodel.errors import VideoError
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_LOOK_AT = 2000  # files, to tell images from videos


@dataclass(frozen=True)
class Images(Format):
    """One image, or the images below a folder; the folders that they lie in are the classes."""

    name: ClassVar[str] = "images"
    rank: ClassVar[int] = 70
    looks: ClassVar[str] = f"an image ({' '.join(IMAGES)}), or a folder with some and no video"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """An image by its ending, or a folder with images and no video among its first files."""
        if not os.path.isdir(path):
            return path.lower().endswith(IMAGES) and os.path.isfile(path)
        try:
            names = [name.lower() for name in islice(walk(path), _LOOK_AT)]
        except VideoError:
            return False
        return any(n.endswith(IMAGES) for n in names) and not any(n.endswith(VIDEOS) for n in names)

    def open(self, path: str) -> Catalogue:
        """The images in the order of their paths."""
        if not os.path.isdir(path):
            require_file(Path(path), "image", VideoError)
            return FileCatalogue(path, [path], make=ImageItem)
        found = files_below(path, IMAGES)
        if not found:
            raise VideoError(f"{path}: holds no image; looked for {' '.join(IMAGES)}")
        if any(os.path.dirname(name) == path.rstrip(os.sep) for name in found):
            return FileCatalogue(path, found, make=ImageItem)
        labels, classes = class_folders(path, found)
        return FileCatalogue(path, found, labels=labels, classes=classes, make=ImageItem)


@dataclass(frozen=True)
class ImageItem(Item):
    """An image that is a file."""

    name: str
    key: str
    label: int | None = None

    def open(self, decoding: Decoding) -> Video:
        """Decode it, upright, as RGB."""
        require_file(Path(self.key), "image", VideoError)
        pixels = read_image(self.key, self.name, decoding.limits)[None]
        return ArrayVideo(
            self.name, lambda numbers: pixels[numbers], pixels.shape[:3], 1.0, decoding
        )
