"""`worldmodel/Cups-v0`: three cups, a ball under one of them, and a hand that lifts one."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .layout import TaskError

Info = dict[str, Any]

PLACES = (-0.6, 0.0, 0.6)  # of the cups, along x; the table reaches from -1 to 1
REACH = 0.25  # from the hand to a cup's middle, so that lifting lifts it
MOST_HAND = 0.95  # x of the hand, either way
SPEED = 0.15  # of the hand at full action, each step
SHOWN, LOWERING, SWAPPING = 3, 3, 6  # steps: the ball is seen, cups come down, two change places
MOST_SWAPS = 3
STEPS_PER_SECOND = 10
TASKS = ("any", "still", "swapped", "explore")
_TABLE, _CUP, _RIM = (196, 182, 160), (66, 96, 150), (44, 64, 104)
_BALL, _HAND = (214, 62, 50), (60, 60, 60)
_FINE = 3  # each pixel is the mean of so many along each side
_LIFTED = 0.55  # how high a cup is up, of the image's half


class Cups(gymnasium.Env[np.ndarray, np.ndarray]):
    """Lift the cup that a ball went under; the ball is not seen when it matters.

    The cups are up at first and the ball is seen, for three steps. They come down; then up to three
    times two neighbours change places, and the ball goes with its cup. Nothing in the image tells
    where it is from then on, and the goal does not either: it is three images, of the ball below a
    lifted cup at each place. So who sees the last moments alone is right in one of three.

    Observation: the cups from the front and the hand before them, `h w c` uint8.
    Action: how the hand moves along x, and if it lifts (above 0), each in [-1, 1].
    Reward: 1 in the step that lifts the cup with the ball, otherwise 0. Lifting any cup ends the
    episode, once all have come to rest; before that, lifting does nothing.
    Info: `hand` (x of the hand, `1`), `ball` (x of the ball), `cups` (x of the three), `resting`
    (cups may be lifted), `success` (the ball's cup is lifted), `state` (`4 + MOST_SWAPS`, float64,
    from which a reset can begin); at reset also `goal_image` (`3 h w c`): any of them is the goal.

    Reset options: `{"task": name}` with name one of
    "any" (the default): no swap to three; "still": none; "swapped": one to three;
    "explore": as "any", but lifting does not end the episode, and a cup is up while it is lifted;
    with an option `state` beside it, the episode begins there.

    Args:
        render_mode: None or "rgb_array".
        size: Height and width of observations in pixels.
    """

    restores_state = True
    metadata = {"render_modes": ["rgb_array"], "render_fps": STEPS_PER_SECOND}

    def __init__(self, render_mode: str | None = None, *, size: int = 64) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        if size < 16:
            raise ValueError(f"size must be at least 16 pixels, got {size}")
        self.render_mode, self.size = render_mode, size
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._time, self._hand, self._ball = 0, 0.0, 0  # steps, x, the cup that hides the ball
        self._lifted = -1  # the cup, or none
        self._swaps = np.zeros(MOST_SWAPS, int)  # 0: none; 1: the left two places; 2: the right two
        self._ends = True

    def reset(
        self, *, seed: int | None = None, options: Mapping[str, Any] | None = None
    ) -> tuple[np.ndarray, Info]:
        """Start an episode; see the class for `options`."""
        super().reset(seed=seed)
        options = dict(options or {})
        state, task = options.pop("state", None), options.pop("task", "any")
        if task not in TASKS or options:
            raise TaskError(
                f"options of a reset are task= ({', '.join(TASKS)}) and state=, "
                f"got {task!r} and {sorted(options)}"
            )
        least, most = {"still": (0, 0), "swapped": (1, MOST_SWAPS)}.get(task, (0, MOST_SWAPS))
        count = int(self.np_random.integers(least, most + 1))
        self._swaps = np.zeros(MOST_SWAPS, int)
        self._swaps[:count] = self.np_random.integers(1, 3, count)
        self._ball = int(self.np_random.integers(3))
        self._hand = float(self.np_random.uniform(-0.9, 0.9))
        self._time, self._lifted, self._ends = 0, -1, task != "explore"
        if state is not None:
            self._restore(state)
        return self.render(), self._info() | {"goal_image": self._goal_images()}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Move the hand, lift, and let a step of time pass."""
        move, lift = np.clip(np.asarray(action, np.float64), -1, 1)
        if not np.isfinite(move + lift):
            raise ValueError(f"an action is two finite numbers, got {action!r}")
        self._hand = float(np.clip(self._hand + SPEED * move, -MOST_HAND, MOST_HAND))
        near = np.abs(self._cups() - self._hand)
        wanted = lift > 0 and near.min() <= REACH and self._resting
        self._lifted = int(near.argmin()) if wanted else -1
        self._time += 1
        success = self._lifted == self._ball
        ended = self._ends and self._lifted >= 0
        return self.render(), float(success), ended, False, self._info()

    def render(self) -> np.ndarray:
        """The image (h w 3, uint8)."""
        return _draw(self._cups(), self._depths(), self._up(), self._ball, self._hand, self.size)

    @property
    def _resting(self) -> bool:
        """All cups are down and at their last places."""
        return bool(self._time >= SHOWN + LOWERING + SWAPPING * np.count_nonzero(self._swaps))

    def _up(self) -> np.ndarray:
        """How far each cup is up, from 0 to 1."""
        first = np.clip((SHOWN + LOWERING - self._time) / LOWERING, 0, 1)
        return np.maximum(first, np.arange(3) == self._lifted)

    def _cups(self, time: int | None = None) -> np.ndarray:
        """Where each cup is (3), along x."""
        steps = (self._time if time is None else time) - SHOWN - LOWERING
        order, moved = [0, 1, 2], np.array(PLACES)  # the cup at each place
        for number, swap in enumerate(self._swaps):
            done = np.clip((steps - SWAPPING * number) / SWAPPING, 0, 1)
            if not swap or done == 0:
                break
            left, right = order[swap - 1], order[swap]
            share = (1 - np.cos(np.pi * done)) / 2
            gap = PLACES[swap] - PLACES[swap - 1]
            moved[left], moved[right] = (
                PLACES[swap - 1] + share * gap, PLACES[swap] - share * gap,
            )  # fmt: skip
            order[swap - 1], order[swap] = right, left
        return moved

    def _depths(self) -> np.ndarray:
        """How far each cup is behind (-1) or before (1) the others: one that moves left is."""
        ahead = self._cups(self._time + 1) - self._cups(self._time - 1)
        return -np.sign(np.round(ahead, 6)) * self._halfway()

    def _halfway(self) -> float:
        """How far two cups that change places are on the way, from 0 to 1 in the middle to 0."""
        steps = self._time - SHOWN - LOWERING
        moving = 0 <= steps < SWAPPING * np.count_nonzero(self._swaps)
        return float(np.sin(np.pi * (steps % SWAPPING) / SWAPPING)) if moving else 0.0

    def _goal_images(self) -> np.ndarray:
        cups = np.array(PLACES)
        return np.stack([
            _draw(cups, np.zeros(3), np.arange(3) == place, place, cups[place], self.size)
            for place in range(3)
        ])  # fmt: skip

    def _info(self) -> Info:
        cups = self._cups()
        state = [self._time, self._hand, self._ball, self._lifted, *self._swaps]
        return {
            "hand": np.array([self._hand], np.float32),
            "ball": np.array([cups[self._ball]], np.float32),
            "cups": cups.astype(np.float32),
            "resting": self._resting,
            "success": self._lifted == self._ball,
            "state": np.array(state, np.float64),
        }

    def _restore(self, state: Any) -> None:
        try:
            numbers = np.asarray(state, np.float64)
        except (TypeError, ValueError):
            numbers = np.empty(0)
        if numbers.shape != (4 + MOST_SWAPS,) or not np.isfinite(numbers).all():
            raise TaskError(f"a state is {4 + MOST_SWAPS} finite numbers, got {state!r}")
        hand, (time, ball, lifted, *swaps) = numbers[1], np.delete(numbers, 1).astype(int)
        places = [place for place in swaps if place]
        if (
            (np.delete(numbers, 1) % 1).any() or abs(hand) > MOST_HAND or time < 0
            or ball not in range(3) or lifted not in range(-1, 3)
            or swaps != places + [0] * (MOST_SWAPS - len(places)) or not {*places} <= {1, 2}
        ):  # fmt: skip
            raise TaskError(
                "a state is the time, the hand, the ball's cup (0 to 2), the lifted cup (-1 to 2) "
                f"and the swaps (1 or 2, then 0), got {state!r}"
            )
        self._time, self._hand, self._ball, self._lifted = time, float(hand), ball, lifted
        self._swaps = np.array(swaps, int)


def _draw(
    cups: np.ndarray, depths: np.ndarray, up: np.ndarray, ball: int, hand: float, size: int
) -> np.ndarray:
    """Cups from the front; nearer ones are lower and hide others, and the hand is before all."""
    fine = size * _FINE
    rows, columns = np.mgrid[:fine, :fine]
    x, y = (columns + 0.5) / fine * 2 - 1, (rows + 0.5) / fine * 2 - 1
    image = np.full((fine, fine, 3), _TABLE, np.uint8)
    for cup in np.argsort(depths, kind="stable"):
        ground = 0.44 + 0.12 * depths[cup]
        if cup == ball:  # it goes with its cup
            image[(x - cups[cup]) ** 2 + (y - ground + 0.1) ** 2 <= 0.1**2] = _BALL
        bottom = ground - _LIFTED * float(up[cup])
        inside = (y <= bottom) & (y >= bottom - 0.5)
        inside &= np.abs(x - cups[cup]) <= 0.16 + 0.16 * (y - bottom + 0.5)
        image[inside] = _CUP
        image[inside & (y > bottom - 0.08)] = _RIM
    image[(np.abs(x - hand) <= 0.4 * (y - 0.66)) & (y >= 0.66) & (y <= 0.94)] = _HAND
    parts = image.reshape(size, _FINE, size, _FINE, 3).astype(np.float32)
    return np.rint(parts.mean(axis=(1, 3))).astype(np.uint8)
