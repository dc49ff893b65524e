"""What collects data in worlds where random actions hardly ever touch anything.

Scripts that look at what the world tells of itself (a model sees images only), with noise.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np

from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.episode_loop import Policy

Info = Mapping[str, Any]


class PushBlock(Policy):
    """PushT: goes round the block, pushes it somewhere, and sometimes only wanders about.

    Args:
        noise: Deviation of each action, pixels.
        wandering: Share of the ways that touch nothing.
    """

    AROUND, REACH = 105.0, 60.0  # pixels: of the way round the block, and of one action
    INSIDE = (110.0, 402.0)  # where a block can be pushed to from all sides
    PATIENCE = 30  # actions of going round the block

    def __init__(self, *, noise: float = 6.0, wandering: float = 0.2) -> None:
        self.noise, self.wandering = noise, wandering

    def reset(self, space: ActionSpace, info: Info, *, seed: int) -> None:
        """Begin an episode."""
        self._space, self._random = space, np.random.default_rng(seed)
        self._choose(np.asarray(info["block_position"]))

    def __call__(self, observation: np.ndarray, info: Info) -> np.ndarray:
        """Where the agent is sent next (2), pixels."""
        agent, block = (np.asarray(info[name]) for name in ("pos_agent", "block_position"))
        wanted = self._wanted(agent, block)
        if self._left <= 0:
            self._choose(block)
        step = wanted - agent
        step *= min(1.0, self.REACH / max(float(np.linalg.norm(step)), 1e-6))
        action = agent + step + self._random.normal(0, self.noise, 2)
        return np.clip(action, self._space.low, self._space.high).astype(np.float32)

    def _choose(self, block: np.ndarray) -> None:
        """Where the block is pushed, and how far; or where the agent goes without it."""
        self._pushing = bool(self._random.random() >= self.wandering)
        for _ in range(20):  # until there is room for the agent on the other side
            aim = self._random.uniform(*self.INSIDE, 2)
            self._ahead = (aim - block) / max(float(np.linalg.norm(aim - block)), 1.0)
            start = block - self.AROUND * self._ahead
            if start.min() > 20 and start.max() < 492:
                break
        self._waited = 0
        self._left = int(self._random.integers(5, 15))  # actions of the push, once it has begun
        self._aim, self._behind = self._random.uniform(40, 472, 2), False

    def _wanted(self, agent: np.ndarray, block: np.ndarray) -> np.ndarray:
        if not self._pushing:
            self._left -= 1
            return self._round(agent, block, towards=self._aim - block, reach=self._aim)
        if not self._behind:
            start = block - self.AROUND * self._ahead
            self._behind = bool(np.linalg.norm(start - agent) < 40)
            self._waited += 1
            self._left -= 1 if self._waited > self.PATIENCE else 0  # the wall may be in the way
            return self._round(agent, block, towards=-self._ahead, reach=start)
        self._left -= 1
        return agent + self.REACH * self._ahead

    def _round(
        self, agent: np.ndarray, block: np.ndarray, *, towards: np.ndarray, reach: np.ndarray
    ) -> np.ndarray:
        """On a circle around the block until the way to a place is free."""
        here = np.arctan2(*(agent - block)[::-1])
        there = np.arctan2(*towards[::-1])
        turn = (there - here + np.pi) % (2 * np.pi) - np.pi
        if abs(turn) < 0.4:
            return reach
        angle = here + np.clip(turn, -0.3, 0.3)
        return block + self.AROUND * np.array([np.cos(angle), np.sin(angle)])


class PickAndPlace(Policy):
    """OGBench's cubes: takes the first one up and puts it down elsewhere, again and again.

    Args:
        noise: Largest deviation of the movements, in half-widths of the actions; each episode has
            one of its own.
    """

    TABLE = ((0.32, -0.25), (0.52, 0.25))  # metres: where a cube is put down
    LOW, HIGH, NEAR = 0.02, 0.2, 0.025  # metres: heights of grasping and of carrying; what is there
    PATIENCE = 25  # actions of one movement

    def __init__(self, *, noise: float = 0.3) -> None:
        self.noise = noise

    def reset(self, space: ActionSpace, info: Info, *, seed: int) -> None:
        """Begin an episode."""
        self._space, self._random = space, np.random.default_rng(seed)
        self._std = self._random.uniform(0, self.noise)
        self._begin()

    def __call__(self, observation: np.ndarray, info: Info) -> np.ndarray:
        """The next action (5): a movement of the hand, its turn, and the gripper's."""
        hand, cube = (
            np.asarray(info[f"{name}_pos"]) for name in ("proprio/effector", "privileged/block_0")
        )
        turn = float(np.ravel(info["privileged/block_0_yaw"])[0])
        turn -= float(np.ravel(info["proprio/effector_yaw"])[0])
        turn = (turn + np.pi / 4) % (np.pi / 2) - np.pi / 4  # a cube looks the same from four sides
        stages = [
            (np.array([*cube[:2], self.HIGH]), -1.0),
            (np.array([*cube[:2], self.LOW]), -1.0),
            (hand, 1.0),  # closes
            (np.array([*hand[:2], self.HIGH]), 1.0),
            (np.array([*self._place, self.HIGH]), 1.0),
            (np.array([*self._place, self.LOW + 0.01]), 1.0),
            (hand, -1.0),  # opens
            (np.array([*hand[:2], self.HIGH]), -1.0),
        ]
        place, grip = stages[self._stage]
        self._waited += 1
        still = place is hand
        there = self._waited >= 6 if still else bool(np.linalg.norm(place - hand) < self.NEAR)
        if there or self._waited > self.PATIENCE:
            self._stage, self._waited = self._stage + 1, 0
            if self._stage == len(stages):
                self._begin()
        move = np.array([*(5 * (place - hand)), 3 * turn if self._stage < 2 else 0.0, grip])
        move[:4] += self._random.normal(0, self._std, 4)
        return np.clip(move, self._space.low, self._space.high).astype(np.float32)

    def _begin(self) -> None:
        self._stage = self._waited = 0
        self._place = self._random.uniform(*self.TABLE)
