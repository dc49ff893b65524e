"""Folders of pictures: each is a video of one frame. Classes are folders, as torchvision has it."""

import os
import warnings
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from worldmodel.data.catalogue import Catalogue, Item, Opening, VideoSource
from worldmodel.data.formats.arrays import ArrayVideo
from worldmodel.data.formats.file import require_file_named
from worldmodel.data.formats.format import Format
from worldmodel.data.formats.listing import (
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    shown,
    walk,
)
from worldmodel.errors import VideoError

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_READERS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")
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
        pixels = read_picture(self.key, self.name, opening)[None]
        return ArrayVideo(
            self.name, lambda numbers: pixels[numbers], pixels.shape[:3], 1.0, opening
        )


def _picture(name: str, key: str, label: int | None, origin: str) -> Item:
    return Picture(name, key, label)


def read_picture(path: str, name: str, opening: Opening) -> np.ndarray:
    """The first picture in a file: h w c, uint8, upright.

    Raises:
        VideoError: naming it, what is wrong with it and what to do.
    """
    require_file_named(path, "picture")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is too large is refused below, by our own limit
            with Image.open(path, formats=_READERS) as file:
                picture: Image.Image = file
                width, height = picture.size
                if width * height > opening.limits.pixels:
                    raise VideoError(
                        f"{name}: {width} x {height} pixels are more than the limit of "
                        f"{opening.limits.pixels}; raise limits.pixels if it is right"
                    )
                if picture.mode.startswith("I;16"):  # conversion would clip it to 255
                    deep = np.asarray(picture).astype(np.uint16) >> 8
                    picture = Image.fromarray(deep.astype(np.uint8))
                elif picture.mode in ("I", "F"):
                    raise VideoError(
                        f"{name}: has {picture.mode} pixels, whose range is not known; convert it "
                        f"to 8 or 16 bits"
                    )
                return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    except Image.DecompressionBombError as cause:
        raise VideoError(f"{name}: too many pixels for PIL ({cause}); make it smaller") from cause
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError,
            KeyError, TypeError, OverflowError, MemoryError, ArithmeticError, AttributeError,
            NotImplementedError, RuntimeError) as cause:  # fmt: skip
        # Damaged pictures make PIL raise whatever its readers stumble over.
        reason = shown(" ".join(str(cause).split()))[:120]
        raise VideoError(
            f"{name}: is no whole picture ({reason}); fetch or make it again, or leave it out"
        ) from cause
