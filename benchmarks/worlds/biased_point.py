"""A point mass whose actions are biased and badly scaled: its middle is not zero, its axes differ.

env=benchmarks.worlds.biased_point:benchmarks/BiasedPoint-v0
"""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

SIZE, RADIUS = 64, 5.0  # pixels
LOW, HIGH = (-0.3, -20.0), (1.0, 8.0)  # of actions
FORCE, FRICTION = 0.06, 0.85  # half-widths of the arena a step squared; of the velocity, kept
SUCCESS_RADIUS = 0.12  # of the half-width


class BiasedPoint(gymnasium.Env[np.ndarray, np.ndarray]):
    """Forces move a disc over a plain ground; the middle of their range moves it nowhere.

    Infos are `position` and `velocity` (2 each, half-widths of the arena), `state`, and at a reset
    `goal_image`. The reset option `state` begins there.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 10}
    restores_state = True

    def __init__(self, render_mode: str | None = None) -> None:
        self.render_mode = render_mode
        self.observation_space = spaces.Box(0, 255, (SIZE, SIZE, 3), np.uint8)
        self.action_space = spaces.Box(np.float32(LOW), np.float32(HIGH))

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin at rest at a random place, or in the state that `options` name."""
        super().reset(seed=seed)
        begun = np.concatenate([self.np_random.uniform(-0.8, 0.8, 2), np.zeros(2)])
        self._goal = self.np_random.uniform(-0.8, 0.8, 2)
        self._state = np.asarray((options or {}).get("state", begun), np.float64).copy()
        return self.render(), self._told() | {"goal_image": draw(self._goal)}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step under a force."""
        low, high = np.float64(LOW), np.float64(HIGH)
        force = (np.asarray(action, np.float64) - (low + high) / 2) / ((high - low) / 2)
        position, velocity = self._state[:2], self._state[2:]
        velocity = FRICTION * velocity + FORCE * np.clip(force, -1, 1)
        position = position + velocity
        velocity = np.where(np.abs(position) > 0.9, 0.0, velocity)
        self._state = np.concatenate([np.clip(position, -0.9, 0.9), velocity])
        return self.render(), 0.0, False, False, self._told()

    def render(self) -> np.ndarray:  # type: ignore[override]
        """The disc now: h w 3, uint8."""
        return draw(self._state[:2])

    def _told(self) -> dict[str, Any]:
        near = np.linalg.norm(self._state[:2] - self._goal) <= SUCCESS_RADIUS
        return {
            "position": self._state[:2].copy(), "velocity": self._state[2:].copy(),
            "state": self._state.copy(), "success": bool(near),
        }  # fmt: skip


def draw(position: np.ndarray) -> np.ndarray:
    """A disc at x y, half-widths of the arena from its middle: h w 3, uint8."""
    x, y = (np.asarray(position) + 1) * SIZE / 2 - 0.5
    rows, columns = np.mgrid[:SIZE, :SIZE]
    inside = np.clip(RADIUS + 0.5 - np.hypot(columns - x, rows - y), 0, 1)[..., None]
    ground, disc = np.array([208.0, 204, 196]), np.array([40.0, 70, 150])
    return (ground + inside * (disc - ground)).round().astype(np.uint8)


gymnasium.register("benchmarks/BiasedPoint-v0", entry_point=BiasedPoint)
