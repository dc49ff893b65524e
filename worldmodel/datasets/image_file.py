"""One image file, decoded to pixels."""

import warnings
from contextlib import ExitStack
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from worldmodel.errors import VideoError
from worldmodel.video.decoding import Limits

IMAGES = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_READERS = ("JPEG", "PNG", "PPM", "BMP", "TIFF", "WEBP")


def read_image(source: str | BinaryIO, name: str, limits: Limits) -> np.ndarray:
    """The image in a file: h w c, uint8, upright.

    Args:
        source: Its path, or the open file.
        name: For messages.
        limits: What is refused.

    Raises:
        VideoError: naming it, what is wrong with it and what to do.
    """
    try:
        with warnings.catch_warnings(), ExitStack() as stack:
            warnings.simplefilter("ignore")  # what is too large is refused below, by our own limit
            if isinstance(source, str):  # Pillow (13.0) would map a TIFF, and garble a turned one
                source = stack.enter_context(open(source, "rb"))
            with Image.open(source, formats=_READERS) as file:
                width, height = file.size
                if width * height > limits.pixels:
                    raise VideoError(
                        f"{name}: {width} x {height} pixels are more than the limit of "
                        f"{limits.pixels}; raise limits.pixels if it is right"
                    )
                count = getattr(file, "n_frames", 1)
                if count > 1 and file.format != "MPO":  # a photograph with its previews
                    raise VideoError(
                        f"{name}: is an animation or a document of {count} images; convert it to "
                        f"a video, or save each image as a file"
                    )
                return _upright_rgb(file, name)
    except Image.DecompressionBombError as cause:
        raise VideoError(f"{name}: too many pixels for PIL ({cause}); make it smaller") from cause
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, EOFError, IndexError,
            KeyError, TypeError, OverflowError, MemoryError, ArithmeticError, AttributeError,
            NotImplementedError, RuntimeError) as cause:  # fmt: skip
        # Damaged images make PIL raise whatever its readers stumble over.
        unknown = isinstance(cause, UnidentifiedImageError)
        reason = f"none of {', '.join(_READERS)}" if unknown else " ".join(str(cause).split())[:120]
        raise VideoError(
            f"{name}: is not a complete image ({reason}); fetch or make it again, or leave it out"
        ) from cause


def _upright_rgb(image: Image.Image, name: str) -> np.ndarray:
    """The pixels, turned as the file's orientation says."""
    image.load()  # turns a TIFF
    if image.mode in ("I", "F"):
        raise VideoError(
            f"{name}: has {image.mode} pixels, whose range is not known; convert it to 8 or 16 bits"
        )
    if not image.mode.startswith("I;16"):
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))
    # PIL's conversion would clip 16 bits to 255, and the copy in 8 bits lacks the orientation.
    deep = np.asarray(image).astype(np.uint16) >> 8
    grey = Image.fromarray(deep.astype(np.uint8))
    grey.getexif().update(image.getexif())
    return np.asarray(ImageOps.exif_transpose(grey).convert("RGB"))
