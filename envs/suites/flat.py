"""The suites `flat` and `flat_rich`: flat shapes that screens hide.

`flat` has a plain ground and plain screens; `flat_rich` has grounds and screens of its own in every
scene, two screens, other things that move, and small ones before it all.

Four properties, each with one difference between the two possible clips of a scene:

- permanence: there is a thing or there is none;
- shape, colour: it has this one or that one;
- continuity: it comes from the left and goes behind the left one of two screens, or the same from
  the right. Spliced, it goes behind one screen and comes out from behind the other without
  having been seen in the gap.
"""

import colorsys
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from gymnasium.error import Error

from ..layout import TaskError, require_known
from .drawing import Colour, Screen, Thing, draw, texture
from .quadruplet import Quadruplet, hidden_cut, spliced
from .scripts import Clock, Script, draw_script, mirrored

PROPERTIES = ("permanence", "shape", "colour", "continuity")
CONDITIONS = ("visible", "occluded", "control")
PARTS = ("train", "dev", "test", "shifted")
OCCLUDED = 0.75  # share of the training clips in which screens stand or rise
LEAST_RUN, MOST_RUN = 0.7, 2.0  # seconds in which nothing tells the clips of a scene apart
MIN_SIZE, MIN_SECONDS, MIN_FPS, MAX_FPS = 32, 4.0, 5.0, 30.0
_SEEN = 2  # frames that tell clips apart before they agree, and after
_HUES, _FAR_HUES = 12, 3  # and colours of a pair are at least so many of them apart
_MAX_DRAWS = 2000  # of one scene; ten are many


@dataclass(frozen=True)
class _Look:
    """What the things, grounds and screens of a part look like."""

    shapes: tuple[str, ...] = ("disc", "square", "triangle")
    striped: bool = False
    patterns: tuple[str, ...] = ("plain", "blocks", "stripes")


_LOOKS = {part: _Look() for part in PARTS} | {
    "shifted": _Look(("cross", "ring", "bar"), True, ("checks", "waves", "speckle"))
}
_PLAIN_GROUND, _PLAIN_SCREEN = (186, 184, 178), (84, 78, 74)
_FAINT = 22  # grey levels between the two colours of a pattern in the plain suite's shifted part
_Scene = tuple[np.ndarray, np.ndarray, Script]  # both possible clips, and what happens in them


class FlatSuite:
    """Makes the scenes of a suite; the same ones for the same seed, each by its number.

    Args:
        rich: `flat_rich` instead of `flat`.
        size: height and width in pixels, at least 32.
        num_frames: of a clip, which lasts for four seconds at least.
        fps: frames per second, from 5 to 30.
        seed: scenes of one seed are none of another's.

    Raises:
        TaskError: a number is out of range.
    """

    properties, conditions, parts = PROPERTIES, CONDITIONS, PARTS

    def __init__(
        self, *, rich: bool = False, size: int = 64, num_frames: int = 24, fps: float = 5.0,
        seed: int = 0,
    ) -> None:  # fmt: skip
        if size < MIN_SIZE:
            raise TaskError(f"size must be at least {MIN_SIZE} pixels, got {size}")
        if not MIN_FPS <= fps <= MAX_FPS:
            raise TaskError(f"fps must lie from {MIN_FPS:g} to {MAX_FPS:g}, got {fps:g}")
        if num_frames < MIN_SECONDS * fps:
            raise TaskError(
                f"num_frames must be at least {MIN_SECONDS * fps:g}, {MIN_SECONDS:g} seconds at "
                f"{fps:g} per second, got {num_frames}"
            )
        self._rich, self._seed, self._fps = rich, seed, fps
        self._clock = Clock(np.arange(num_frames) / fps, size)

    def quadruplet(self, part: str, condition: str, property: str, number: int) -> Quadruplet:
        """A scene.

        Args:
            part: "dev", "test", or "shifted" with shapes and patterns that no other part has.
            condition: "occluded" (what differs is hidden at the cut), "visible" (the screens lie:
                the cut is seen), or "control" (like occluded, but the spliced clips can happen).
            property: see above.
            number: of the scene, from 0.

        Raises:
            TaskError: there is no such part, condition or property.
        """
        for what, name, valid in (
            ("part", part, PARTS[1:]), ("condition", condition, CONDITIONS),
            ("property", property, PROPERTIES),
        ):  # fmt: skip
            require_known(what, name, valid)
        entropy = [CONDITIONS.index(condition) + 1, PROPERTIES.index(property) + 1, number]
        return self._draw(part, condition, property, self._random(part, *entropy))

    def training_clip(self, number: int) -> np.ndarray:
        """A clip that can happen, of a scene that is in no other part: t h w c, uint8."""
        random = self._random("train", 0, 0, number)
        condition = "visible"
        if random.random() < OCCLUDED:
            condition = str(random.choice(["occluded", "control"], p=[2 / 3, 1 / 3]))
        scene = self._draw("train", condition, str(random.choice(PROPERTIES)), random)
        # All clips of a control can happen, and without the spliced ones what cuts the corner would
        # tell what comes out.
        return scene.clips[random.integers(4 if condition == "control" else 2)]

    def _random(self, part: str, *entropy: int) -> np.random.Generator:
        return np.random.default_rng([self._seed, int(self._rich), PARTS.index(part), *entropy])

    def _draw(
        self, part: str, condition: str, property: str, random: np.random.Generator
    ) -> Quadruplet:
        """Scenes until one is hidden for as long as it should be."""
        passes = bool(random.random() < 0.5)
        for _ in range(_MAX_DRAWS):
            script = draw_script(
                self._clock, random, passes=passes, two=property == "continuity",
                control=condition == "control", stands=condition != "visible",
            )  # fmt: skip
            if script is None:
                continue
            first, second = self._possible(script, property, _LOOKS[part], random)
            if condition == "visible":
                return spliced(first, second, int(np.ceil(script.event * self._fps)))
            cut = hidden_cut(first, second, seen=_SEEN)
            if cut is None:
                continue
            found = spliced(first, second, cut)
            if LEAST_RUN <= found.run / self._fps <= MOST_RUN:
                return found
        raise Error(f"no {condition} scene of {property} found; use longer clips")

    def _possible(
        self, script: Script, property: str, look: _Look, random: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray]:
        """The two clips of a scene that can happen, in any order."""
        ground, textures = self._patterns(look, random)
        screens = [
            Screen(left, right, script.up, pattern)
            for (left, right), pattern in zip(script.screens, textures, strict=False)  # 1 or 2 of 2
        ]
        if self._rich:
            screens = _two(screens, textures)
        others, small = self._others(look, random) if self._rich else ([], [])
        sides = _sides(property, script, look, random)
        clips = []
        for things in sides:
            behind = sorted([*things, *others], key=lambda thing: float(thing.path[-1, 1]))
            clips.append(draw(ground, behind, screens, small))
        first, second = clips if random.random() < 0.5 else clips[::-1]
        return first, second

    def _patterns(
        self, look: _Look, random: np.random.Generator
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """The ground, and what two screens look like."""
        pattern = partial(texture, size=self._clock.size, random=random)
        if not self._rich:
            kind = "plain" if "plain" in look.patterns else str(random.choice(look.patterns))
            ground, screen = (
                pattern(kind, colours=(colour, _lighter(colour, _FAINT)))
                for colour in (_PLAIN_GROUND, _PLAIN_SCREEN)
            )
            return ground, [screen, screen]
        bright = random.random() < 0.5
        found = []
        for light in (bright, not bright, not bright):
            grey = random.uniform(155, 205) if light else random.uniform(75, 110)
            first, second = (_muted(grey + random.uniform(-25, 25), random) for _ in range(2))
            found.append(pattern(str(random.choice(look.patterns)), colours=(first, second)))
        return found[0], found[1:]

    def _others(self, look: _Look, random: np.random.Generator) -> tuple[list[Thing], list[Thing]]:
        """One or two more things behind the screens, and one or two small ones before all."""
        times = self._clock.times - self._clock.last / 2
        others, small = [], []
        for _ in range(random.integers(1, 3)):
            speed = 0.0 if random.random() < 0.4 else random.uniform(0.15, 0.5)
            x = random.uniform(-0.8, 0.8) + random.choice([-1, 1]) * speed * times
            y = np.full_like(x, random.uniform(-0.15, 0.65))
            radius = float(random.uniform(0.1, 0.16))
            others.append(_thing(look, radius, np.stack([x, y], axis=1), random))
        for _ in range(random.integers(1, 3)):
            middle, begins = random.uniform(-0.6, 0.6, 2), random.uniform(0, 2 * np.pi, 2)
            far, turns = random.uniform(0.1, 0.4, 2), random.uniform(0.4, 1.6, 2)
            path = middle + far * np.sin(turns * times[:, None] + begins)
            small.append(_thing(look, float(random.uniform(0.05, 0.07)), path, random))
        return others, small


def _sides(
    property: str, script: Script, look: _Look, random: np.random.Generator
) -> tuple[list[Thing], list[Thing]]:
    """What is in the one clip and in the other."""
    thing = _thing(look, script.radius, script.path, random)
    if property == "shape":
        others = [shape for shape in look.shapes if shape != thing.shape]
        other = replace(thing, shape=str(random.choice(others)))
    elif property == "colour":
        other = replace(thing, colour=_colour(random, away_from=thing.colour))
    else:
        other = replace(thing, path=mirrored(thing.path))
    sides = [thing], [] if property == "permanence" else [other]
    if script.cutter is None:
        return sides
    # Before it, the same thing cuts a corner: the one on its side.
    cutters = script.cutter, script.cutter
    if property == "continuity":
        cutters = script.cutter, mirrored(script.cutter)
    first, second = (
        [*things, *(replace(one, path=path) for one in things)]
        for things, path in zip(sides, cutters, strict=True)
    )
    return first, second


def _thing(look: _Look, radius: float, path: np.ndarray, random: np.random.Generator) -> Thing:
    return Thing(str(random.choice(look.shapes)), _colour(random), radius, path, look.striped)


def _colour(random: np.random.Generator, away_from: Colour | None = None) -> Colour:
    """A bright colour; far from another one, if there is one."""
    if away_from is None:
        hue = random.integers(_HUES) / _HUES
    else:
        turn = random.integers(_FAR_HUES, _HUES - _FAR_HUES + 1) / _HUES
        hue = (colorsys.rgb_to_hsv(*(channel / 255 for channel in away_from))[0] + turn) % 1
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.9, 0.95)
    return round(255 * red), round(255 * green), round(255 * blue)


def _muted(grey: float, random: np.random.Generator) -> Colour:
    """A colour that is nearly grey, as things are not."""
    red, green, blue = (int(np.clip(grey + random.uniform(-18, 18), 0, 255)) for _ in range(3))
    return red, green, blue


def _lighter(colour: Colour, levels: int) -> Colour:
    red, green, blue = (channel + levels for channel in colour)
    return red, green, blue


def _two(screens: list[Screen], textures: list[np.ndarray]) -> list[Screen]:
    """Two screens side by side where there is one: neither wide enough to be told by it."""
    if len(screens) == 2:
        return screens
    (screen,) = screens
    left, right = max(screen.left, -1.0), min(screen.right, 1.0)
    middle = (left + right) / 2
    return [replace(screen, right=middle), replace(screen, left=middle, texture=textures[1])]
