"""The state of other people's simulators: told as one array, and set again.

MuJoCo's is everything that its integration depends on. The worlds of gymnasium's classic control
keep theirs in an attribute. Of others nothing is known: a kind that keeps it elsewhere is one more
class here.
"""

import sys
from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np

from .mujoco_drawing import model_of


class SimulatorState(ABC):
    """Reads and sets the state of one kind of simulator."""

    @staticmethod
    def of(env: gymnasium.Env[Any, Any]) -> "SimulatorState | None":
        """What knows the state of this environment; None if nothing does."""
        kinds = (kind for kind in SimulatorState.__subclasses__() if kind.knows(env.unwrapped))
        kind = next(kinds, None)
        return None if kind is None else kind(env.unwrapped)

    def __init__(self, world: Any) -> None:
        self.world = world

    def observed(self) -> Any:
        """What the world itself observes in its state; nothing where that is not known."""
        return {}

    def told(self) -> dict[str, np.ndarray]:
        """Numbers that say what reaching a goal means, and that the world does not tell itself."""
        return {}

    @staticmethod
    @abstractmethod
    def knows(world: Any) -> bool:
        """True for worlds of this kind."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """The state, a new array `s`, float64."""

    @abstractmethod
    def set(self, state: np.ndarray) -> None:
        """Continue from a state that `read` returned.

        Raises:
            ValueError: it is of another size.
        """


class MuJoCoState(SimulatorState):
    """Positions, velocities and whatever else MuJoCo's next step depends on."""

    @staticmethod
    def knows(world: Any) -> bool:
        """By its `model` and `data`."""
        mujoco = sys.modules.get("mujoco")
        return (
            mujoco is not None
            and isinstance(model_of(world), mujoco.MjModel)
            and isinstance(getattr(world, "data", None), mujoco.MjData)
        )

    def read(self) -> np.ndarray:
        """As MuJoCo's `mj_getState` tells it."""
        import mujoco

        which = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(self.world.model, which))
        mujoco.mj_getState(self.world.model, self.world.data, state, which)
        return state

    def set(self, state: np.ndarray) -> None:
        """By MuJoCo's `mj_setState`; what follows from it is computed again."""
        import mujoco

        model, which = self.world.model, mujoco.mjtState.mjSTATE_INTEGRATION
        _check_size(state, mujoco.mj_stateSize(model, which))
        mujoco.mj_setState(model, self.world.data, np.asarray(state, np.float64), which)
        mujoco.mj_forward(model, self.world.data)


class AttributeState(SimulatorState):
    """A vector in the attribute `state`, as in gymnasium's classic control.

    After it stands the last torque of the pendulum, which is drawn; NaN before there is one.
    """

    @staticmethod
    def knows(world: Any) -> bool:
        """By its module."""
        return type(world).__module__.startswith("gymnasium.envs.classic_control")

    def read(self) -> np.ndarray:
        """The attribute, and the torque."""
        state = np.array(self.world.state, np.float64)
        if not hasattr(self.world, "last_u"):
            return state
        return np.append(state, np.nan if self.world.last_u is None else self.world.last_u)

    def set(self, state: np.ndarray) -> None:
        """The attribute, in full precision: some begin in half of it and go on in full."""
        now = np.asarray(self.world.state)
        _check_size(state, len(self.read()))
        self.world.state = np.array(state[: now.size], np.float64).reshape(now.shape)
        if hasattr(self.world, "last_u"):
            self.world.last_u = None if np.isnan(state[-1]) else np.float32(state[-1])
        if hasattr(self.world, "steps_beyond_terminated"):
            self.world.steps_beyond_terminated = None

    def observed(self) -> np.ndarray:
        """The attribute."""
        return np.array(self.world.state, np.float32)


class PushTState(SimulatorState):
    """gym-pusht's: the agent, the block, and the target of the last action, which is drawn."""

    @staticmethod
    def knows(world: Any) -> bool:
        """By its module."""
        return type(world).__module__.startswith("gym_pusht.")

    def read(self) -> np.ndarray:
        """Positions, velocities, angle and target (12)."""
        agent, block, last = self.world.agent, self.world.block, self.world._last_action
        target = (np.nan, np.nan) if last is None else last
        parts = (
            agent.position, agent.velocity, block.position, (block.angle,), block.velocity,
            (block.angular_velocity,), target,
        )  # fmt: skip
        return np.concatenate([np.asarray(part, np.float64) for part in parts])

    def set(self, state: np.ndarray) -> None:
        """All of it; contacts are found again at the next step."""
        _check_size(state, 12)
        agent, block, values = self.world.agent, self.world.block, np.asarray(state).tolist()
        agent.position, agent.velocity = tuple(values[:2]), tuple(values[2:4])
        block.angle, block.position = values[6], tuple(values[4:6])  # turning moves the position
        block.velocity, block.angular_velocity = tuple(values[7:9]), values[9]
        self.world._last_action = None if np.isnan(values[10]) else np.array(values[10:])
        self.world.space.reindex_shapes_for_body(agent)
        self.world.space.reindex_shapes_for_body(block)

    def told(self) -> dict[str, np.ndarray]:
        """Where the block is, and its direction as a point on the circle, whose distances count."""
        pose = self.world.block
        return {
            "block_position": np.array(pose.position),
            "block_direction": np.array([np.cos(pose.angle), np.sin(pose.angle)]),
        }


def _check_size(state: np.ndarray, size: int) -> None:
    if np.shape(state) != (size,):
        raise ValueError(
            f"a state of this world has {size} numbers, got an array of shape {np.shape(state)}"
        )
