"""The contact sheet: a row of small images for each clip, in one PNG.

Knows images and captions, not where they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldmodel.storage.files import whole_file

_TILE = 96  # pixels, at least
_GAP = 6
_LINE = 18  # of text
_MOST = 16  # images in a row of paper; a longer strip is broken


@dataclass(frozen=True)
class Strip:
    """One clip on the sheet."""

    caption: str
    images: list[np.ndarray]  # h w c, uint8
    times: list[float]  # seconds, one per image


def write_sheet(strips: Sequence[Strip], path: Path) -> Path:
    """Draw the strips below each other, file and times under each, and write them as PNG."""
    font = ImageFont.load_default(12)
    tile = max([_TILE, *(max(p.shape[:2]) for strip in strips for p in strip.images)])
    columns = min(max([1, *(len(strip.images) for strip in strips)]), _MOST)
    width = max(_GAP + columns * (tile + _GAP), 640)
    heights = [_height(strip, tile) for strip in strips]
    sheet = Image.new("RGB", (width, _GAP + sum(heights)), "white")
    top = _GAP
    for strip, height in zip(strips, heights, strict=True):
        _draw(ImageDraw.Draw(sheet), sheet, strip, top=top, tile=tile, font=font)
        top += height
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def _height(strip: Strip, tile: int) -> int:
    rows = -(-len(strip.images) // _MOST)
    return rows * (tile + _LINE) + _LINE + 2 * _GAP


def _draw(
    pen: ImageDraw.ImageDraw, sheet: Image.Image, strip: Strip, *, top: int, tile: int, font: Any
) -> None:
    for number, (image, time) in enumerate(zip(strip.images, strip.times, strict=True)):
        row, column = divmod(number, _MOST)
        left, upper = _GAP + column * (tile + _GAP), top + row * (tile + _LINE)
        small = _fit(image, tile)
        sheet.paste(small, (left + (tile - small.width) // 2, upper + (tile - small.height) // 2))
        pen.text((left, upper + tile + 1), f"{time:.2f} s", fill="dimgray", font=font)
    below = top + -(-len(strip.images) // _MOST) * (tile + _LINE)
    text = _shortened(pen, strip, sheet.width - 2 * _GAP, font)
    pen.text((_GAP, below), text, fill="black", font=font)


def _shortened(pen: ImageDraw.ImageDraw, strip: Strip, width: int, font: Any) -> str:
    """The caption, cut where it is too long: in front, as the ends of paths tell files apart.

    What stands alone is a message, and cut at its end.
    """
    # The font has no signs beyond Latin-1: others become question marks.
    text = strip.caption.encode("latin-1", "replace").decode("latin-1")
    whole = text
    while text and pen.textlength(text, font=font) > width:
        whole = whole[1:] if strip.images else whole[:-1]
        text = f"... {whole}" if strip.images else f"{whole} ..."
    return text


def _fit(image: np.ndarray, tile: int) -> Image.Image:
    """As large as the tile allows in whole multiples: pixels stay the model's pixels."""
    height, width = image.shape[:2]
    scale = max(1, tile // max(height, width))
    size = (width * scale, height * scale)
    return Image.fromarray(np.ascontiguousarray(image)).resize(size, Image.Resampling.NEAREST)
