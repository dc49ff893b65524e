"""Worlds of our own making to learn from: labelled videos in memory, drawn from a seed."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.worlds.digits import digits
from benchmarks.worlds.solids import solids
from benchmarks.worlds.two_room import two_room
from benchmarks.worlds.videos import PARTS, Part, Videos, load_videos, save_videos


@dataclass(frozen=True)
class World:
    """A world, and what can be read out of what was learned of it.

    Attributes:
        make: so many videos from a seed, of one part, with nothing of another.
        size: side of the frames in pixels.
        patch: side of a patch: 4 x 4 of them in a frame.
        classes: labels that are one of several.
        numbers: labels that are numbers.
    """

    make: Callable[[int, int, Part], Videos]
    size: int
    patch: int
    classes: tuple[str, ...]
    numbers: tuple[str, ...]

    def videos(self, count: int, seed: int, *, part: Part, kept_in: Path) -> Videos:
        """Videos, drawn once and kept in a file."""
        path = kept_in / f"{self.name}-{count}-{seed}-{part}.safetensors"
        if not path.is_file():
            save_videos(self.make(count, seed, part), path)
        return load_videos(path)

    @property
    def name(self) -> str:
        """What it is called in tables."""
        return next(name for name, world in WORLDS.items() if world is self)


def _two_room(own_ground: bool, count: int, seed: int, part: Part) -> Videos:
    return two_room(count, seed + 1000 * PARTS.index(part), own_ground=own_ground)


def _digits(own_ground: bool, count: int, seed: int, part: Part) -> Videos:
    return digits(count, seed, own_ground=own_ground, part=part)


def _solids(own_ground: bool, count: int, seed: int, part: Part) -> Videos:
    return solids(count, seed + 1000 * PARTS.index(part), own_ground=own_ground)


WORLDS = {
    name + "_own_ground" * own: World(partial(make, own), size, patch, classes, numbers)
    for name, make, size, patch, classes, numbers in (
        ("tworoom", _two_room, 64, 16, (), ("position", "velocity")),
        ("digits", _digits, 48, 12, ("digit", "direction", "speed"), ("position",)),
        ("solids", _solids, 64, 16, ("shape", "colour", "collision"), ("position", "velocity")),
    )
    for own in (False, True)
}
"""Each with one ground, and with a ground of its own in every video."""
