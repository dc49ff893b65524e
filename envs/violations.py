"""Matched clips for measuring surprise: one that can happen in the two rooms, one that cannot.

The two clips of a pair are the same up to a frame; then the agent jumps, vanishes or changes
colour. They are never training data.

How the pairs are matched, so that counting changed pixels does not tell them apart:

- The agent drives at full speed and moves at least its own diameter per frame in both clips. A disc
  that does so changes as many pixels as one that jumps across the room.
- It jumps and changes colour only while it moves that fast. Both colours have the same L1 contrast
  to the floor and to the hazard patch.
- It vanishes while it rolls out, when being erased at once changes about as many pixels as rolling
  on would.
- What is left is balanced by choice: of every two pairs kept, one has the larger mean pixel change
  in the possible and one in the impossible clip, and likewise for the largest pixel change. A
  detector that compares either of them within pairs is right half of the time.
"""

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from gymnasium.error import Error

from .layout import AGENT_RADIUS, Layout, TaskError, require_known
from .simulation import AGENT, NO_AGENT, OTHER_AGENT, Simulation

KINDS = ("teleport", "vanish", "colour")
MIN_JUMP = 0.6  # metres
MIN_FRAMES = 8
_WARM_UP_STEPS = 12  # from rest to full speed, before the first frame
_MAX_CANDIDATES = 2000  # for one pair; a few are needed


class ViolationPairs(NamedTuple):
    """Clips in pairs: row i of both arrays is one pair."""

    possible: np.ndarray  # n t h w c, uint8
    impossible: np.ndarray  # n t h w c, uint8
    step: np.ndarray  # n, int64: index of the first frame that differs


@dataclass(frozen=True)
class _Drive:
    """A drive of the agent, sampled at every frame."""

    positions: np.ndarray  # t 2, metres
    velocities: np.ndarray  # t 2, metres per second
    actions: np.ndarray  # (t-1) stride 2

    @property
    def is_fast(self) -> np.ndarray:
        """`t` bool: the agent moved at least its diameter since the last frame."""
        moved = np.linalg.norm(np.diff(self.positions, axis=0), axis=1)
        return np.concatenate([[False], moved >= 2 * AGENT_RADIUS])


def pixel_change(frames: np.ndarray) -> np.ndarray:
    """Mean absolute difference of consecutive frames: the pixel baseline.

    Args:
        frames: `n t h w c`, uint8.

    Returns:
        `n t-1`, float64, in grey levels; entry t is the change from frame t to t + 1.
    """
    # Clip by clip: signed copies of all of them at once would be several times their memory.
    changes = [np.abs(np.diff(clip.astype(np.int16), axis=0)) for clip in frames]
    return np.stack([change.mean(axis=(1, 2, 3), dtype=np.float64) for change in changes])


def violation_pairs(
    kind: str,
    n: int,
    *,
    seed: int,
    num_frames: int = 16,
    stride: int = 1,
    size: int = 64,
    door: float = 0.0,
) -> ViolationPairs:
    """Make `n` pairs of a possible and an impossible clip.

    The first half of a clip is always possible, and the last two frames are always impossible.

    Args:
        kind: "teleport" (a jump of at least 0.6 m, the motion goes on from there), "vanish" or
            "colour" (the motion stays the same).
        n: number of pairs.
        seed: decides everything that is random.
        num_frames: of each clip, at least 8.
        stride: environment steps between frames.
        size: height and width in pixels.
        door: y of the door's centre.

    Raises:
        TaskError: no such kind, or a number out of range.
        gymnasium.error.Error: no matched pair was found.
    """
    require_known("violation", kind, KINDS)
    least = {"n": (n, 1), "num_frames": (num_frames, MIN_FRAMES), "stride": (stride, 1)}
    for name, (value, minimum) in least.items():
        if value < minimum:
            raise TaskError(f"{name} must be at least {minimum}, got {value}")
    rng = np.random.default_rng([seed, KINDS.index(kind)])
    studio = _Studio(Layout(door), num_frames, stride, size)
    tally = np.zeros(2, dtype=np.int64)  # impossible minus possible wins: by mean, by maximum
    pairs = []
    for _ in range(n):
        possible, impossible, step, won = _balanced(studio, kind, rng, tally)
        tally += won
        pairs.append((possible, impossible, step))
    first, second, steps = zip(*pairs, strict=True)
    return ViolationPairs(np.stack(first), np.stack(second), np.array(steps, dtype=np.int64))


def _balanced(
    studio: "_Studio", kind: str, rng: np.random.Generator, tally: np.ndarray
) -> tuple[np.ndarray, np.ndarray, int, np.ndarray]:
    """The next pair that leaves neither pixel statistic ahead by more than one pair."""
    for _ in range(_MAX_CANDIDATES):
        candidate = studio.video_pair(kind, rng)
        if candidate is None:
            continue
        possible, impossible, step = candidate
        before, after = pixel_change(np.stack([possible, impossible]))
        won = np.array([np.sign(f(after) - f(before)) for f in (np.mean, np.max)], np.int64)
        if (np.abs(tally + won) <= 1).all():
            return possible, impossible, step, won
    raise Error(f"no matched {kind} pair found; use more frames or a smaller stride")


class _Studio:
    """Drives the agent and draws possible and impossible clips of it."""

    def __init__(self, layout: Layout, num_frames: int, stride: int, size: int) -> None:
        self._layout = layout
        self._simulation = Simulation(layout)
        self._num_frames = num_frames
        self._stride = stride
        self._size = size

    def video_pair(
        self, kind: str, rng: np.random.Generator
    ) -> tuple[np.ndarray, np.ndarray, int] | None:
        """One candidate: possible and impossible `t h w c` and the step, or None if too slow."""
        half, last = self._num_frames // 2, self._num_frames - 2
        rolls_out = kind == "vanish"
        stop = int(rng.integers(half - 2, last)) if rolls_out else self._num_frames
        drive = self._drive(rng, stop)
        steps = np.arange(max(half, stop), last + 1) if rolls_out else np.arange(half, last + 1)
        if not rolls_out:
            steps = steps[drive.is_fast[steps]]
        if not len(steps) or not drive.is_fast[:half].any():
            return None
        step = int(rng.choice(steps))
        possible = self._video(drive.positions, AGENT)
        positions, groups = drive.positions[step:], NO_AGENT if rolls_out else OTHER_AGENT
        if kind == "teleport":
            positions, groups = self._jump(drive, step, rng), AGENT
        return possible, np.concatenate([possible[:step], self._video(positions, groups)]), step

    def _drive(self, rng: np.random.Generator, stop: int) -> _Drive:
        """Drive from position to position at full speed; without force from frame `stop` on."""
        simulation, target = self._simulation, self._layout.sample_position(rng)
        simulation.place(self._layout.sample_position(rng))
        force = np.zeros(2)
        seen, actions = [], []
        for k in range(-_WARM_UP_STEPS, (self._num_frames - 1) * self._stride + 1):
            if k >= 0 and k % self._stride == 0:
                seen.append((simulation.position, simulation.velocity))
            ahead = self._layout.path(simulation.position, target)[1] - simulation.position
            if np.linalg.norm(ahead) < 3 * AGENT_RADIUS:
                target = self._layout.sample_position(rng)
            # Halfway to the new direction each step: turns are smooth, straights are at full force.
            full = ahead / np.abs(ahead).max().clip(1e-6)
            force = (force + full) / 2 if k < stop * self._stride else np.zeros(2)
            simulation.advance(force)
            actions.append(force)
        positions, velocities = (np.array(x) for x in zip(*seen, strict=True))
        driven = np.array(actions[_WARM_UP_STEPS:-1])
        return _Drive(positions, velocities, driven.reshape(-1, self._stride, 2))

    def _jump(self, drive: _Drive, step: int, rng: np.random.Generator) -> np.ndarray:
        """Positions from `step` on, after a jump and with the same velocity and forces."""
        near = drive.positions[step - 1 : step + 1]
        place = self._layout.sample_position(rng)
        while np.linalg.norm(near - place, axis=1).min() < MIN_JUMP:
            place = self._layout.sample_position(rng)
        self._simulation.place(place, drive.velocities[step])
        positions = [place]
        for forces in drive.actions[step:]:
            for force in forces:
                self._simulation.advance(force)
            positions.append(self._simulation.position)
        return np.array(positions)

    def _video(self, positions: np.ndarray, groups: tuple[int, ...]) -> np.ndarray:
        """Frames `t h w c` of the agent at `positions`, drawing `groups` of geoms."""
        frames = []
        for position in positions:
            self._simulation.place(position)
            frames.append(self._simulation.frame(self._size, groups=groups))
        return np.stack(frames)
