"""The geometry of the two rooms and the tasks in them, without physics and pixels.

Positions are metres from the middle of a 2 m x 2 m box, x to the right and y up in the image.
The agent is a disc; its position is its centre.
"""

import difflib
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from gymnasium.error import Error

AGENT_RADIUS = 0.08
HALF_BOX = 1.0  # inner half width of the box
HALF_WALL = 0.05  # half thickness of the wall between the rooms, at x = 0
DOOR_WIDTH = 0.5
HAZARD_RADIUS = 0.2
HAZARD_CORE = 0.1  # a "hazard" task's straight path comes at least this close to the centre
SUCCESS_DISTANCE = 0.12
MIN_TASK_DISTANCE = 0.5
MAX_DOOR = 0.6  # |door|: leaves wall on both sides of it
TASKS = ("any", "same_room", "other_room", "hazard", "explore")
_MAX_DRAWS = 10_000


class TaskError(Error, ValueError):
    """A task that the world does not have, or a position that the agent cannot have."""


def require_known(what: str, name: str, valid: Sequence[str]) -> None:
    """Refuse a `name` that is not `valid`, with the one that was probably meant."""
    if name not in valid:
        near = difflib.get_close_matches(str(name), valid, n=1)
        hint = f"; did you mean {near[0]!r}?" if near else ""
        raise TaskError(f"unknown {what} {name!r}, valid are {', '.join(valid)}{hint}")


@dataclass(frozen=True)
class Layout:
    """The rooms with their door centred at y = `door`.

    Raises:
        ValueError: the door would not be inside the wall.
    """

    door: float = 0.0

    def __post_init__(self) -> None:
        if not abs(self.door) <= MAX_DOOR:
            raise ValueError(f"door must be in [-{MAX_DOOR}, {MAX_DOOR}], got {self.door}")

    @property
    def hazard(self) -> np.ndarray:
        """Centre of the hazard patch: in the right room, just beside the door."""
        aside = 0.1 if self.door <= 0 else -0.1
        return np.array([0.48, self.door + aside])

    def is_free(self, position: np.ndarray) -> bool:
        """True if the agent fits there without touching a wall; the doorway counts as free."""
        x, y = np.abs(np.asarray(position, dtype=np.float64))
        limit = HALF_BOX - AGENT_RADIUS
        if not (x <= limit and y <= limit):  # NaN is nowhere
            return False
        beside_wall = x >= HALF_WALL + AGENT_RADIUS
        in_door = abs(position[1] - self.door) <= DOOR_WIDTH / 2 - AGENT_RADIUS
        return bool(beside_wall or in_door)

    def in_hazard(self, position: np.ndarray) -> bool:
        """True if the agent's centre is inside the patch; this is `info["hazard_contact"]`."""
        return bool(np.linalg.norm(np.asarray(position) - self.hazard) < HAZARD_RADIUS)

    def path(self, start: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """The straight path from start to goal, bent at the door if they are in different rooms.

        Returns:
            Its corners, `n 2` with n = 2 or 3.
        """
        if (start[0] < 0) == (goal[0] < 0):
            return np.stack([start, goal])
        straight = start[1] + (goal[1] - start[1]) * start[0] / (start[0] - goal[0])
        room = DOOR_WIDTH / 2 - AGENT_RADIUS - 0.01  # a centimetre off the door's posts
        through = np.array([0.0, np.clip(straight, self.door - room, self.door + room)])
        return np.stack([start, through, goal])

    def hazard_distance(self, start: np.ndarray, goal: np.ndarray) -> float:
        """Smallest distance of the patch's centre from the path between start and goal."""
        corners = self.path(start, goal)
        first, along = corners[:-1], np.diff(corners, axis=0)
        share = ((self.hazard - first) * along).sum(1) / (along**2).sum(1).clip(1e-12)
        nearest = first + share.clip(0, 1)[:, None] * along
        return float(np.linalg.norm(nearest - self.hazard, axis=1).min())

    def sample_task(self, task: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """Draw start and goal, uniform over the rooms among the pairs that make this task.

        Args:
            task: one of `TASKS`. "explore" is drawn like "any".
            rng: the only source of randomness.

        Raises:
            TaskError: no such task.
        """
        require_known("task", task, TASKS)
        for _ in range(_MAX_DRAWS):
            start, goal = self.sample_position(rng), self.sample_position(rng)
            if self._is_task(task, start, goal):
                return start, goal
        raise AssertionError(f"no {task!r} task found in {_MAX_DRAWS} draws")

    def sample_position(self, rng: np.random.Generator) -> np.ndarray:
        """A position in one of the rooms, uniform; never in the doorway."""
        limit = HALF_BOX - AGENT_RADIUS
        x = rng.uniform(HALF_WALL + AGENT_RADIUS, limit) * rng.choice([-1.0, 1.0])
        return np.array([x, rng.uniform(-limit, limit)])

    def _is_task(self, task: str, start: np.ndarray, goal: np.ndarray) -> bool:
        if np.linalg.norm(start - goal) < MIN_TASK_DISTANCE:
            return False
        same_room = (start[0] < 0) == (goal[0] < 0)
        if task == "hazard":
            ends = min(np.linalg.norm(p - self.hazard) for p in (start, goal))
            clear = ends > HAZARD_RADIUS + AGENT_RADIUS
            return bool(clear) and self.hazard_distance(start, goal) <= HAZARD_CORE
        return {"same_room": same_room, "other_room": not same_room}.get(task, True)
