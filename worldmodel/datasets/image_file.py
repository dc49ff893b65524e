"""One image, decoded."""

import warnings
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from worldmodel.datasets.listing import shown
from worldmodel.errors import VideoError
from worldmodel.video.decoding import Limits

_READERS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def read_image(source: str | BinaryIO, name: str, limits: Limits) -> np.ndarray:
    """The first image in a file: h w c, uint8, upright.

    Args:
        source: Its path, or the open file.
        name: For messages.
        limits: What is refused.

    Raises:
        VideoError: naming it, what is wrong with it and what to do.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # what is too large is refused below, by our own limit
            with Image.open(source, formats=_READERS) as file:
                image: Image.Image = file
                width, height = image.size
                if width * height > limits.pixels:
                    raise VideoError(
                        f"{name}: {width} x {height} pixels are more than the limit of "
                        f"{limits.pixels}; raise limits.pixels if it is right"
                    )
                if image.mode.startswith("I;16"):  # conversion would clip it to 255
                    deep = np.asarray(image).astype(np.uint16) >> 8
                    image = Image.fromarray(deep.astype(np.uint8))
                elif image.mode in ("I", "F"):
                    raise VideoError(
                        f"{name}: has {image.mode} pixels, whose range is not known; convert it "
                        f"to 8 or 16 bits"
                    )
                return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    except Image.DecompressionBombError as cause:
        raise VideoError(f"{name}: too many pixels for PIL ({cause}); make it smaller") from cause
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError,
            KeyError, TypeError, OverflowError, MemoryError, ArithmeticError, AttributeError,
            NotImplementedError, RuntimeError) as cause:  # fmt: skip
        # Damaged images make PIL raise whatever its readers stumble over.
        reason = shown(" ".join(str(cause).split()))[:120]
        raise VideoError(
            f"{name}: is no whole image ({reason}); fetch or make it again, or leave it out"
        ) from cause
