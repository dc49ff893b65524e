"""How the thing that matters moves in a flat scene, and what the screens before it do.

Two manners, each for one screen and for two with a gap between them:

- it passes behind a screen that stands, without ever stopping;
- it rolls to a stop in plain view, and a screen rises before it and sinks again.

In a control it was behind the screen from the start: it comes out, or is uncovered. Before that
something else cuts an upper corner of the image and is gone.

Places are as in `drawing.py`, times in seconds. A scene may not fit into its clip; then there is
no script, and another one is drawn.
"""

from dataclasses import dataclass, replace

import numpy as np

from .drawing import REACH, SCREEN_BOTTOM, SCREEN_TOP

HIDDEN = (0.85, 1.25)  # for so long it is behind the screen, or the screen before it
_SEEN = 0.7  # at least, at the end
_RISING = 0.4  # a screen takes, and as long to sink
_CUTTER_SPEED = 0.8  # along each axis
_OUTSIDE = 1.1  # an edge of a screen that reaches over the image's


@dataclass(frozen=True)
class Clock:
    """The frames of a clip.

    Attributes:
        times: t, seconds from 0.
        size: side of a frame in pixels.
    """

    times: np.ndarray
    size: int

    @property
    def last(self) -> float:
        """When the last frame is."""
        return float(self.times[-1])

    def reach(self, radius: float) -> float:
        """How far from its middle a thing is seen, with a pixel to spare for screens' edges."""
        return REACH * radius + 2 / self.size


@dataclass(frozen=True)
class Script:
    """What happens in a scene.

    Attributes:
        radius: of the thing that matters.
        path: t 2, of it.
        screens: left and right edge of each.
        up: t, how far they are up.
        event: seconds; it is behind the screens then, if they are up.
        cutter: t 2, path of what is seen before it in a control.
    """

    radius: float
    path: np.ndarray
    screens: tuple[tuple[float, float], ...]
    up: np.ndarray
    event: float
    cutter: np.ndarray | None = None

    def mirrored(self) -> "Script":
        """The same with left and right exchanged."""
        screens = tuple((-right, -left) for left, right in reversed(self.screens))
        return replace(
            self, path=mirrored(self.path), screens=screens,
            cutter=None if self.cutter is None else mirrored(self.cutter),
        )  # fmt: skip


def mirrored(path: np.ndarray) -> np.ndarray:
    """A path with left and right exchanged."""
    return path * np.array([-1.0, 1.0])


def draw_script(
    clock: Clock, random: np.random.Generator, *, passes: bool, two: bool, control: bool,
    stands: bool,
) -> Script | None:  # fmt: skip
    """A script by chance; None where it does not fit.

    Args:
        clock: the clip's frames.
        random: where it comes from.
        passes: it passes behind a screen that stands; otherwise one rises before it.
        two: two screens, the right one the image of the left one, with a gap between them.
        control: it is hidden from the start.
        stands: screens stand or rise; otherwise they lie, and all is in plain view.
    """
    script = (_pass if passes else _covered)(clock, random, two=two, control=control)
    if script is None:
        return None
    if not stands:
        script = replace(script, up=np.zeros_like(script.up))
    return script.mirrored() if random.random() < 0.5 else script


def _lane(clock: Clock, radius: float, random: np.random.Generator) -> float:
    """Height at which a thing is wholly behind a screen that is up, and clear of one that lies."""
    reach = clock.reach(radius)
    return float(random.uniform(SCREEN_TOP + reach, SCREEN_BOTTOM - 0.1 - reach))


def _along(x: np.ndarray, y: float) -> np.ndarray:
    return np.stack([x, np.full_like(x, y)], axis=1)


def _cutter(clock: Clock, radius: float) -> tuple[np.ndarray, float]:
    """A path over the upper left corner, seen soon after the start; and when it is out again."""
    reach = clock.reach(radius)
    below = SCREEN_TOP - reach  # it clears the screens
    way = _CUTTER_SPEED * clock.times
    gone = (below + 1 + reach) / _CUTTER_SPEED
    return np.stack([way - 1 - reach, below - way], axis=1), gone


def _pass(clock: Clock, random: np.random.Generator, *, two: bool, control: bool) -> Script | None:
    """From the left, behind a screen that stands all the time."""
    # Two screens leave little room: what passes behind them is smaller and slower.
    radius = float(random.uniform(0.09, 0.12) if two else random.uniform(0.15, 0.19))
    speed = float(random.uniform(0.27, 0.32) if two else random.uniform(0.45, 0.7))
    hidden = float(random.uniform(HIDDEN[0], 1.0 if two else HIDDEN[1]))
    reach = clock.reach(radius)
    aside = 2 * radius + (0.02 if two else 0.12) - 1  # it is seen whole before it goes behind
    left, right = _standing(random, speed * hidden + 2 * reach, aside, two=two, control=control)
    if not control and left < aside or not two and right > -aside:
        return None
    cutter = None
    if control:
        cutter, gone = _cutter(clock, radius)
        out = gone + hidden
    else:
        since = (right + 1) / speed - (clock.last - _SEEN)
        if since > 0 or two and right > -REACH * radius:
            return None
        out = (right + 1) / speed + float(random.uniform(0, min(0.6, -since)))
    if out > clock.last - _SEEN:
        return None
    x = right - reach + speed * (clock.times - out)
    screens = ((left, right), (-right, -left)) if two else ((left, right),)
    up = np.ones_like(clock.times)
    return Script(
        radius, _along(x, _lane(clock, radius, random)), screens, up, out - hidden / 2, cutter
    )


def _standing(
    random: np.random.Generator, width: float, aside: float, *, two: bool, control: bool
) -> tuple[float, float]:
    """Edges of the screen that it passes behind, or of the left one of two."""
    if control:  # it comes from outside, behind the screen
        return -_OUTSIDE, float(random.uniform(-0.3, -0.18) if two else random.uniform(-0.4, 0.3))
    if two:
        left = aside + float(random.uniform(0, 0.03))
        return left, left + width
    middle = float(random.uniform(-0.2, 0.2))
    return middle - width / 2, middle + width / 2


def _covered(
    clock: Clock, random: np.random.Generator, *, two: bool, control: bool
) -> Script | None:
    """From the left to a stop; a screen rises before it, and sinks."""
    radius = float(random.uniform(0.12, 0.16) if two else random.uniform(0.15, 0.2))
    reach = clock.reach(radius)
    width = 2 * reach + float(random.uniform(0.05, 0.15) if two else random.uniform(0.2, 0.45))
    if two:
        right = -float(random.uniform(0.1, 0.2))
        left = right - width
    else:
        left = float(random.uniform(-0.98, 0.98 - width))
        right = left + width
    place = float(random.uniform(left + reach, right - reach))
    rolls, waits, hidden = (float(random.uniform(*x)) for x in ((0.7, 1.2), (0.3, 0.5), HIDDEN))
    cutter = None
    if control:
        cutter, gone = _cutter(clock, radius)
        sinks = gone + hidden
        up = _ramp(sinks + _RISING - clock.times)
        x = np.full_like(clock.times, place)
    else:
        starts = float(random.uniform(0, 0.3))
        rises = starts + rolls + waits
        sinks = rises + _RISING + hidden
        up = np.minimum(_ramp(clock.times - rises), _ramp(sinks + _RISING - clock.times))
        left_of_way = 1 - np.clip((clock.times - starts) / rolls, 0, 1)
        x = place - (place + 1 + reach) * left_of_way**2
    if sinks + _RISING > clock.last - _SEEN:
        return None
    screens = ((left, right), (-right, -left)) if two else ((left, right),)
    path = _along(x, _lane(clock, radius, random))
    return Script(radius, path, screens, up, sinks - hidden / 2, cutter)


def _ramp(seconds: np.ndarray) -> np.ndarray:
    return np.clip(seconds / _RISING, 0, 1)
