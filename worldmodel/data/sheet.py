"""The contact sheet: a row of small pictures for each video, in one PNG.

Knows pictures and captions, not where they come from.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from worldmodel.data.files import whole_file

_TILE = (128, 96)  # width, height in pixels
_GAP = 6
_CAPTION = 20


@dataclass(frozen=True)
class Strip:
    """One row of the sheet."""

    caption: str
    pictures: list[np.ndarray]  # h w c, uint8
    times: list[float]  # seconds, one per picture


def write_sheet(strips: Sequence[Strip], path: Path) -> Path:
    """Draw the strips below each other and write them as PNG, whole or not at all."""
    columns = max(len(strip.pictures) for strip in strips)
    row = _CAPTION + _TILE[1] + _GAP
    size = (_GAP + columns * (_TILE[0] + _GAP), _GAP + len(strips) * row)
    sheet = Image.new("RGB", size, "white")
    for number, strip in enumerate(strips):
        _draw(sheet, strip, top=_GAP + number * row)
    with whole_file(path) as temporary:
        sheet.save(temporary, format="PNG")
    return path


def _draw(sheet: Image.Image, strip: Strip, *, top: int) -> None:
    pen = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(13)
    pen.text((_GAP, top), strip.caption, fill="black", font=font)
    for column, (picture, time) in enumerate(zip(strip.pictures, strip.times, strict=True)):
        tile = _fit(picture)
        left, below = _GAP + column * (_TILE[0] + _GAP), top + _CAPTION
        place = (left + (_TILE[0] - tile.width) // 2, below + (_TILE[1] - tile.height) // 2)
        sheet.paste(tile, place)
        corner = (place[0] + 3, place[1] + tile.height - 17)
        # A dark rim keeps the time readable on any picture.
        pen.text(corner, f"{time:.1f} s", fill="white", font=font, stroke_width=2, stroke_fill=0)


def _fit(picture: np.ndarray) -> Image.Image:
    """As large as the tile allows, proportions kept; small pictures keep their pixels visible."""
    height, width = picture.shape[:2]
    scale = min(_TILE[0] / width, _TILE[1] / height)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    kind = Image.Resampling.NEAREST if scale > 1 else Image.Resampling.BOX
    return Image.fromarray(np.ascontiguousarray(picture)).resize(size, kind)
