"""The physics and the image of the two rooms, without goals and episodes."""

import functools
from pathlib import Path
from typing import Any

import numpy as np

from .layout import DOOR_WIDTH, HALF_BOX, HALF_WALL, Layout
from .rendering import choose_gl, fast_renderer

choose_gl()

import mujoco  # noqa: E402  its OpenGL is chosen when it is imported

PHYSICS_STEPS = 10  # of 0.01 s: one environment step is 0.1 s
STEP_SECONDS = 0.1
AGENT, OTHER_AGENT, NO_AGENT = (0, 1), (0, 2), (0,)  # geom groups to draw


@functools.lru_cache(maxsize=32)
def build_model(layout: Layout) -> Any:
    """The compiled MuJoCo model of a layout. Shared by all who ask: it must not be changed."""
    spec = mujoco.MjSpec.from_file(str(Path(__file__).with_name("two_room.xml")))
    edges = (layout.door - DOOR_WIDTH / 2, layout.door + DOOR_WIDTH / 2)
    for name, low, high in (
        ("below_door", -HALF_BOX, edges[0]),
        ("above_door", edges[1], HALF_BOX),
    ):
        wall = spec.geom(name)
        wall.size = [HALF_WALL, (high - low) / 2, wall.size[2]]
        wall.pos = [0, (high + low) / 2, wall.pos[2]]
    hazard = spec.geom("hazard")
    hazard.pos = [*layout.hazard, hazard.pos[2]]
    return spec.compile()


class Simulation:
    """The agent in its rooms, to be placed, pushed, and drawn from above."""

    def __init__(self, layout: Layout) -> None:
        self._model = build_model(layout)
        self._data = mujoco.MjData(self._model)
        self.place(np.array([-HALF_BOX / 2, 0.0]))

    @property
    def position(self) -> np.ndarray:
        """Centre of the agent, a new array `2`, float64, metres."""
        return self._data.qpos.copy()

    @property
    def velocity(self) -> np.ndarray:
        """Velocity of the agent, a new array `2`, float64, metres per second."""
        return self._data.qvel.copy()

    def place(self, position: np.ndarray, velocity: np.ndarray | None = None) -> None:
        """Put the agent at `position`, at rest unless a velocity is given."""
        # Resetting also clears the solver's warm start, so the same position has the same future.
        mujoco.mj_resetData(self._model, self._data)
        self._data.qpos[:] = position
        self._data.qvel[:] = 0.0 if velocity is None else velocity
        mujoco.mj_forward(self._model, self._data)

    def advance(self, action: np.ndarray) -> None:
        """Push with `action` (`2`, in [-1, 1]) for `STEP_SECONDS`."""
        self._data.ctrl[:] = action
        mujoco.mj_step(self._model, self._data, PHYSICS_STEPS)

    def frame(self, size: int, *, groups: tuple[int, ...] = AGENT) -> np.ndarray:
        """The rooms from above, a new array `h w c`, uint8, drawing `groups` of geoms."""
        # A step leaves the positions of the geoms one physics step behind.
        mujoco.mj_kinematics(self._model, self._data)
        return fast_renderer(self._model, size).render(self._data, "top", groups=groups)
