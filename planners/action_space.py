"""What an environment takes as actions, and the vectors that policies choose and models learn from.

A policy returns a vector (a, float32). For a Box of any shape and type it is the numbers of the
action; for a choice among `n` it holds `n` numbers, of which the largest is chosen.
"""

from abc import ABC, abstractmethod
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium import spaces

from worldmodel.errors import EnvError

from .action_units import ActionUnits
from .guardrails.action_bounds import ActionBounds
from .guardrails.choices import Choices
from .guardrails.guardrail import Guardrail

EXACT = 2.0**24  # whole numbers up to here are exact in float32


class ActionSpace(ABC):
    """The actions of an environment as vectors.

    Attributes:
        space: The environment's own.
        low, high: Bounds of each number of a vector (a, float32); may be infinite.
        choices: How many alternatives each choice has; empty where actions are numbers.
        whole: Only whole numbers are taken.
    """

    space: Any
    low: np.ndarray
    high: np.ndarray
    choices: tuple[int, ...] = ()
    whole: bool = False

    @staticmethod
    def of(space: gymnasium.Space) -> "ActionSpace":
        """How the actions of a space are vectors.

        Raises:
            EnvError: it is no Box, and no choice among a number of actions.
        """
        if isinstance(space, spaces.Box):
            return Numbers(space)
        if isinstance(space, spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary):
            return Choice(space)
        raise EnvError(
            f"actions must be a Box, Discrete, MultiDiscrete or MultiBinary, the environment has "
            f"{space}; gymnasium.wrappers.TransformAction makes one of it"
        )

    @property
    def dim(self) -> int:
        """How many numbers a vector has."""
        return len(self.low)

    @property
    def units(self) -> ActionUnits:
        """What random actions are drawn in, of a vector."""
        return ActionUnits.of(torch.from_numpy(self.low), torch.from_numpy(self.high))

    @property
    @abstractmethod
    def guardrail(self) -> Guardrail:
        """Keeps a plan to what the environment takes."""

    @abstractmethod
    def given(self, vector: np.ndarray) -> Any:
        """What the environment is given for a vector (a): the nearest that it takes, as its type.

        Raises:
            EnvError: the vector has another width, or numbers that are not finite.
        """

    @abstractmethod
    def recorded(self, action: Any) -> np.ndarray:
        """What the environment was given, as it is recorded (r, float32): exactly that."""

    @abstractmethod
    def again(self, recorded: np.ndarray) -> Any:
        """What the environment was given when this (r) was recorded."""

    @property
    @abstractmethod
    def recorded_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The least and the most of each number that is recorded, r each, float32."""

    def _checked(self, vector: np.ndarray) -> np.ndarray:
        checked = np.asarray(vector, dtype=np.float32)
        if checked.shape != (self.dim,) or not np.isfinite(checked).all():
            raise EnvError(
                f"the policy must return {self.dim} finite numbers for {self.space}, got {vector}"
            )
        return checked


class Numbers(ActionSpace):
    """A Box of any shape, type and bounds, whole numbers too.

    What the environment is given can be written as float32, so that exactly it is recorded.
    """

    def __init__(self, space: spaces.Box) -> None:
        self.space = space
        low, high = (bound.astype(np.float64).ravel() for bound in (space.low, space.high))
        self.whole = np.issubdtype(space.dtype, np.integer)
        if self.whole:  # what float32 holds exactly, and no conversion overflows
            low, high = low.clip(-EXACT, EXACT), high.clip(-EXACT, EXACT)
        # Rounding to float32 must not lead out of the bounds.
        self.low, self.high = low.astype(np.float32), high.astype(np.float32)
        inward = np.float32(np.inf)
        self.low = np.where(self.low < low, np.nextafter(self.low, inward), self.low)
        self.high = np.where(self.high > high, np.nextafter(self.high, -inward), self.high)

    @property
    def guardrail(self) -> Guardrail:
        """The bounds."""
        return ActionBounds(self.low.tolist(), self.high.tolist(), whole=self.whole)

    def given(self, vector: np.ndarray) -> np.ndarray:
        """The nearest action that the space holds, in its type and shape."""
        inside = np.clip(self._checked(vector), self.low, self.high)
        dtype = self.space.dtype
        cast = (np.rint(inside) if self.whole else inside).astype(dtype)
        if np.issubdtype(dtype, np.floating):  # rounding to fewer digits, as float16 has
            cast = np.clip(cast, self.space.low.ravel(), self.space.high.ravel())
        return cast.reshape(self.space.shape)

    def recorded(self, action: Any) -> np.ndarray:
        """Its numbers."""
        return np.asarray(action).astype(np.float32).ravel()

    def again(self, recorded: np.ndarray) -> np.ndarray:
        """The action with these numbers."""
        return self.given(recorded)

    @property
    def recorded_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """Those of the space."""
        return self.low, self.high


class Choice(ActionSpace):
    """One of `n` actions, or several such choices at once; recorded as the numbers of the chosen.

    A vector holds a number for each action of each choice, one choice after the other.
    """

    def __init__(self, space: spaces.Discrete | spaces.MultiDiscrete | spaces.MultiBinary) -> None:
        self.space = space
        if isinstance(space, spaces.MultiDiscrete):
            counts, first = space.nvec, space.start
        elif isinstance(space, spaces.Discrete):
            counts, first = np.array(space.n), np.array(space.start)
        else:
            counts, first = np.full(space.shape, 2), np.zeros(space.shape, np.int64)
        self._first = first.ravel()
        self._last = self._first + counts.ravel() - 1
        self.choices = tuple(map(int, counts.ravel()))
        self.low = np.zeros(sum(self.choices), np.float32)
        self.high = np.ones_like(self.low)

    @property
    def guardrail(self) -> Guardrail:
        """One action of each choice."""
        return Choices(self.choices)

    def given(self, vector: np.ndarray) -> Any:
        """The action with the largest number of each choice; the first of equal ones."""
        parts = np.split(self._checked(vector), np.cumsum(self.choices)[:-1])
        chosen = np.array([part.argmax() for part in parts]) + self._first
        # A Discrete has no axes, and takes a number rather than an array of none.
        return chosen.astype(self.space.dtype).reshape(self.space.shape)[()]

    def recorded(self, action: Any) -> np.ndarray:
        """The numbers of the chosen actions."""
        return np.asarray(action).astype(np.float32).ravel()

    def again(self, recorded: np.ndarray) -> Any:
        """The chosen actions."""
        return recorded.astype(self.space.dtype).reshape(self.space.shape)[()]

    @property
    def recorded_bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """The first and the last action of each choice."""
        return self._first.astype(np.float32), self._last.astype(np.float32)
