"""Draws flat shapes, screens and grounds with numpy: all frames of a clip at once.

Places are in halves of the image's side from its middle, x to the right and y down: the image
reaches from -1 to 1.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

REACH = 1.2  # no shape is further from its middle than so many of its radii
_LARGEST = 0.3  # radius of a thing, of the image's half
SCREEN_TOP, SCREEN_BOTTOM = -0.3, 0.85  # y of a screen that is up
_LYING = 0.08  # height that a screen has when it is down
_BLOCK = 8  # cells of a pattern along the image's side
Colour = tuple[int, int, int]
Distance = Callable[[np.ndarray, np.ndarray], np.ndarray]


def _disc(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.hypot(x, y) - 1


def _square(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x), abs(y)) - 0.85


def _triangle(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(y, 0.866 * abs(x) - 0.5 * y) - 0.575


def _cross(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = abs(x), abs(y)
    return np.minimum(np.maximum(x - 1, y - 0.36), np.maximum(y - 1, x - 0.36))


def _ring(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return abs(np.hypot(x, y) - 0.76) - 0.26


def _bar(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    return np.maximum(abs(x) - 0.45, abs(y) - 1.1)


SHAPES: Mapping[str, Distance] = {
    "disc": _disc, "square": _square, "triangle": _triangle,
    "cross": _cross, "ring": _ring, "bar": _bar,
}  # fmt: skip
"""Distance from the outline of each shape of radius 1, negative inside."""


@dataclass(frozen=True)
class Thing:
    """A shape that moves.

    Attributes:
        shape: one of `SHAPES`.
        colour: red, green and blue, 0 to 255.
        radius: of the image's half.
        path: t 2, x and y of its middle in each frame.
        striped: every other stripe of it is darker.
    """

    shape: str
    colour: Colour
    radius: float
    path: np.ndarray
    striped: bool = False


@dataclass(frozen=True)
class Screen:
    """A rectangle that things pass behind.

    Attributes:
        left, right: x of its edges; they are drawn on whole pixels.
        up: t, from 0 where it lies to 1 where it stands.
        texture: h w c, uint8, of the image's size: its upper left corner goes with the screen's.
    """

    left: float
    right: float
    up: np.ndarray
    texture: np.ndarray


def draw(
    ground: np.ndarray, behind: Sequence[Thing], screens: Sequence[Screen], front: Sequence[Thing]
) -> np.ndarray:
    """Draw a clip.

    Args:
        ground: h w c, uint8.
        behind: what screens hide, in the order in which it is drawn.
        screens: before that.
        front: what is before the screens.

    Returns:
        t h w c, uint8, with as many frames as the screens have heights.
    """
    size, frames = len(ground), len(screens[0].up)
    # Shapes are drawn whole, so that none has to be cut: the border is taken off at the end.
    border = int(_LARGEST * REACH * size) + 2
    side = size + 2 * border
    canvas = np.empty((frames, side, side, 3), np.uint8)
    inside = canvas[:, border : border + size, border : border + size]
    inside[:] = ground
    for thing in behind:
        _paint(canvas, thing, size, border)
    for screen in screens:
        left, right = (int(np.clip(_pixel(x, size), 0, size)) for x in (screen.left, screen.right))
        bottom = _pixel(SCREEN_BOTTOM, size)
        for image, up in zip(inside, screen.up, strict=True):
            height = _LYING + float(up) * (SCREEN_BOTTOM - SCREEN_TOP - _LYING)
            top = _pixel(SCREEN_BOTTOM - height, size)
            image[top:bottom, left:right] = screen.texture[: bottom - top, : right - left]
    for thing in front:
        _paint(canvas, thing, size, border)
    return inside.copy()


def _pixel(place: float, size: int) -> int:
    return round((place + 1) / 2 * size)


def _paint(canvas: np.ndarray, thing: Thing, size: int, border: int) -> None:
    """Blend a thing into every frame of a canvas t h w c with a border around the image."""
    patch = int(REACH * thing.radius * size) + 3  # pixels
    middle = (thing.path + 1) / 2 * size  # in pixels of the image
    corner = np.floor(middle - patch / 2).astype(np.int64)
    corner = np.clip(corner, -border, size + border - patch)  # what is further out is not seen
    cells = np.arange(patch)
    columns, rows = (corner[:, None, axis] + cells for axis in (0, 1))  # t p
    scale = 2 / (size * thing.radius)  # radii in a pixel
    x = ((columns + 0.5 - middle[:, :1]) * scale).astype(np.float32)[:, None, :]
    y = ((rows + 0.5 - middle[:, 1:]) * scale).astype(np.float32)[:, :, None]
    x, y = np.broadcast_arrays(x, y)
    cover = np.clip(0.5 - SHAPES[thing.shape](x, y) / scale, 0, 1)[..., None]
    colour = np.array(thing.colour, np.float32)
    if thing.striped:
        colour = colour * np.where(np.floor((x + y) * 1.5) % 2, 0.5, 1.0)[..., None]
    frames = np.arange(len(canvas))[:, None, None]
    place = (frames, rows[:, :, None] + border, columns[:, None, :] + border)
    there = canvas[place].astype(np.float32)
    canvas[place] = np.rint(there + cover * (colour - there)).astype(np.uint8)


def texture(
    pattern: str, size: int, colours: tuple[Colour, Colour], random: np.random.Generator
) -> np.ndarray:
    """A still pattern of two colours: h w c, uint8.

    Args:
        pattern: "plain" (the first colour), "blocks" and "stripes"; "checks", "waves" and
            "speckle".
        size: side in pixels.
        colours: that it mixes.
        random: where it begins, and what its cells are.
    """
    cells = (np.arange(size) + 0.5) / size * _BLOCK
    x, y = cells[None, :] + random.uniform(0, 2), cells[:, None] + random.uniform(0, 2)
    if pattern == "plain":
        mix = np.zeros((size, size))
    elif pattern == "blocks":
        of_cell = random.random((_BLOCK + 3, _BLOCK + 3))
        mix = of_cell[np.floor(y).astype(int), np.floor(x).astype(int)]
    elif pattern == "stripes":
        mix = np.broadcast_to(np.floor(x + random.choice([-1, 0, 1]) * y) % 2, (size, size))
    elif pattern == "checks":
        mix = (np.floor(x) + np.floor(y)) % 2
    elif pattern == "waves":
        mix = 0.5 + 0.5 * np.sin(np.pi * (y + np.sin(x)))
    else:
        assert pattern == "speckle", pattern
        mix = random.random((size, size))
    first, second = (np.array(colour, np.float64) for colour in colours)
    return np.rint(first + mix[..., None] * (second - first)).astype(np.uint8)
