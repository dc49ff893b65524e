"""`worldmodel/TwoRoom-v0`: a disc in two rooms joined by a door, seen from above."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces

from .layout import SUCCESS_DISTANCE, Layout, TaskError
from .simulation import STEP_SECONDS, Simulation

Info = dict[str, Any]
_EXPLICIT = {"position", "goal"}


class TwoRoom(gymnasium.Env[np.ndarray, np.ndarray]):
    """Push a disc to the position that a goal image shows; a hazard patch lies on the floor.

    Observation: the rooms from above, `h w c` uint8. The goal is not in it.
    Action: force along x and y, each in [-1, 1], held for 0.1 s. With full force the disc moves
    its own diameter (0.16) per step after five steps.
    Reward: 1 in the step that reaches the goal, which ends the episode, otherwise 0.
    Info: `position`, `velocity`, `goal` (`2`, float32, metres and metres per second), `state` (both
    of the first, `4`, float64, from which a reset can begin), `distance` to the goal, `success`
    (distance < 0.12), `hazard_contact` (the disc's centre is inside the patch; contact has no
    effect on the motion); at reset also `goal_image`.

    Reset options: `{"task": name}` with name one of
    "any" (the default), "same_room", "other_room": the room of the goal, relative to the start;
    "hazard": the straight path crosses the patch, start and goal are clear of it;
    "explore": as "any", but reaching the goal does not end the episode;
    or `{"position": xy, "goal": xy}`. The agent starts at rest, at least 0.5 from a drawn goal;
    with an option `state` beside the others it starts there, as fast as it was.

    Args:
        render_mode: None or "rgb_array".
        size: height and width of observations in pixels.
        door: y of the door's centre, in [-0.6, 0.6].
    """

    restores_state = True
    metadata = {"render_modes": ["rgb_array"], "render_fps": round(1 / STEP_SECONDS)}

    def __init__(
        self, render_mode: str | None = None, *, size: int = 64, door: float = 0.0
    ) -> None:
        if render_mode not in (None, *self.metadata["render_modes"]):
            raise ValueError(f"render_mode must be None or 'rgb_array', got {render_mode!r}")
        if size < 16:
            raise ValueError(f"size must be at least 16 pixels, got {size}")
        self.render_mode = render_mode
        self.size = size
        self.layout = Layout(door)
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)
        self.action_space = spaces.Box(-1.0, 1.0, (2,), np.float32)
        self._simulation = Simulation(self.layout)
        self._goal = np.zeros(2)
        self._ends = True  # whether reaching the goal ends the episode

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Start an episode; see the class for `options`."""
        super().reset(seed=seed)
        options = dict(options or {})
        state = options.pop("state", None)
        start, goal = self._start_and_goal(options)
        self._ends = options.get("task") != "explore"
        self._goal = goal
        goal_image = self.image_at(goal)
        if state is None:
            self._simulation.place(start)
        else:
            placed = np.asarray(state, dtype=np.float64)
            if placed.shape != (4,) or not np.isfinite(placed).all():
                raise TaskError(f"a state is four finite numbers, got {state!r}")
            self._simulation.place(placed[:2], placed[2:])
        return self._simulation.frame(self.size), self._info() | {"goal_image": goal_image}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, Info]:
        """Push with `action` for one step; forces outside [-1, 1] are clipped."""
        force = np.asarray(action, dtype=np.float64)
        if force.shape != (2,) or not np.isfinite(force).all():
            raise ValueError(f"action must be two finite numbers in [-1, 1], got {action!r}")
        self._simulation.advance(force.clip(-1.0, 1.0))
        info = self._info()
        success = info["success"]
        ends = success and self._ends
        return self._simulation.frame(self.size), float(success), ends, False, info

    def render(self) -> np.ndarray | None:
        """The current observation, or None without a render mode."""
        return None if self.render_mode is None else self._simulation.frame(self.size)

    def image_at(self, position: np.ndarray, *, size: int | None = None) -> np.ndarray:
        """The image of the world with the agent at `position`; the episode does not change."""
        scratch = Simulation(self.layout)
        scratch.place(position)
        return scratch.frame(size or self.size)

    def _start_and_goal(self, options: Info) -> tuple[np.ndarray, np.ndarray]:
        if not options.keys() & _EXPLICIT:
            if options.keys() - {"task"}:
                raise TaskError(f"reset options are task, or position and goal; got {[*options]}")
            return self.layout.sample_task(options.get("task", "any"), self.np_random)
        if options.keys() != _EXPLICIT:
            raise TaskError(f"explicit tasks name position and goal, no more; got {[*options]}")
        start, goal = (self._checked(name, options[name]) for name in ("position", "goal"))
        if np.linalg.norm(start - goal) < SUCCESS_DISTANCE:
            raise TaskError(f"goal {goal} is already reached from position {start}")
        return start, goal

    def _checked(self, name: str, position: Any) -> np.ndarray:
        checked = np.asarray(position, dtype=np.float64)
        if checked.shape != (2,) or not self.layout.is_free(checked):
            raise TaskError(f"{name} must be two numbers clear of the walls, got {position!r}")
        return checked

    def _info(self) -> Info:
        position = self._simulation.position
        distance = float(np.linalg.norm(position - self._goal))
        return {
            "position": position.astype(np.float32),
            "velocity": self._simulation.velocity.astype(np.float32),
            "state": np.concatenate([position, self._simulation.velocity]),
            "goal": self._goal.astype(np.float32),
            "distance": distance,
            "success": distance < SUCCESS_DISTANCE,
            "hazard_contact": self.layout.in_hazard(position),
        }
