"""Distance to a goal in numbers that are read out of the model's states."""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from sklearn.model_selection import GroupKFold, cross_val_predict
from torch import Tensor

from worldmodel.errors import ConfigError, nearest
from worldmodel.evaluation.readout import scored

from ..episode_states import EpisodeStates
from ..factory import Factory
from .cost import Cost
from .from_image import FromImage, goal_image
from .goal_state import over_steps, require_weights

PENALTIES = (1e-1, 1.0, 1e1, 1e2, 1e3)  # of ridge regression, of which the best is taken
MOST = 20_000  # states that it learns from
FOLDS = 5


@dataclass(frozen=True)
class Linear:
    """Numbers (k), each of deviation 1 in the data, from states (d)."""

    weights: Tensor  # d k
    bias: Tensor  # k
    mean: Tensor  # k, in their own units
    std: Tensor  # k

    def __call__(self, states: Tensor) -> Tensor:
        """States ... d -> numbers ... k."""
        return states[..., : len(self.weights)] @ self.weights.to(states) + self.bias.to(states)

    def of(self, numbers: Sequence[float]) -> Tensor:
        """Numbers in their own units, as they are read out: k.

        Raises:
            ConfigError: there are more or fewer.
        """
        given = torch.as_tensor(numbers, dtype=torch.float32).flatten()
        if given.shape != self.mean.shape:
            raise ConfigError(
                f"target={given.tolist()}: {len(self.mean)} numbers are read out, not {len(given)}"
            )
        return (given - self.mean) / self.std


class ReadOut(Cost):
    """Mean squared difference of what is read out to a goal, over all steps and at the last one.

    Args:
        read: Reads numbers out of states.
        goal: What should be read: k, or g k, any of which will do.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(
        self, read: Linear, goal: Tensor, *, weight: float = 1.0, running: float = 1.0,
        terminal: float = 1.0,
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        self.read, self.goal, self.weight = read, goal, weight
        self.running, self.terminal = running, terminal

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        goals = self.goal.to(states).reshape(-1, self.goal.shape[-1])
        apart = self.read(states)[..., None, :] - goals
        distance = apart.square().mean(dim=-1).amin(dim=-1)
        return over_steps(
            distance, weight=self.weight, running=self.running, terminal=self.terminal
        )


class ReadOutGoal(Factory[Cost]):
    """`ReadOut` of an info that recorded episodes told, by ridge regression.

    Planning goes by what matters of an image: where the arm is, not which colour the wall has.

    Args:
        info: Its name; by default what the environment itself observes.
        target: What it should be, in its own unit; what is read out of the image of the goal if
            None.
        weight: See `ReadOut`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    needs_episodes = True

    def __init__(
        self, info: str = "observation", *, target: Sequence[float] | None = None,
        weight: float = 1.0, running: float = 1.0, terminal: float = 1.0,
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        self.info, self.target = info, target
        self._weights = {"weight": weight, "running": running, "terminal": terminal}
        self._read: Linear | None = None
        self._r2 = float("nan")

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "ReadOutGoal":
        """Learn to read the info out of states.

        Raises:
            ConfigError: the episodes do not tell it, or it never changes.
        """
        if self.info not in recorded.infos:
            raise ConfigError(f"info of ReadOutGoal: {nearest(self.info, recorded.infos)}")
        told = ~recorded.infos[self.info].isnan().any(dim=1)
        order = torch.randperm(len(told), generator=torch.Generator().manual_seed(seed))
        rows = order[told[order]][:MOST]
        values = recorded.infos[self.info][rows]
        if len(rows) < FOLDS or not bool((values.std(dim=0) > 0).all()):
            raise ConfigError(
                f"info {self.info} of ReadOutGoal is told of {len(rows)} states and has to change "
                "in each of its numbers"
            )
        mean, std = values.mean(dim=0), values.std(dim=0)
        x, y = recorded.states[rows].numpy(), ((values - mean) / std).numpy()
        groups = recorded.numbers[rows].numpy()
        prepared = copy(self)
        prepared._r2 = _held_out_r2(x, y, groups)
        ridge = RidgeCV(PENALTIES).fit(x, y)
        weights = torch.from_numpy(np.atleast_2d(ridge.coef_).T.astype(np.float32))
        bias = torch.from_numpy(np.atleast_1d(ridge.intercept_).astype(np.float32))
        prepared._read = Linear(weights, bias, mean, std)
        return prepared

    def report(self) -> dict[str, float]:
        """How well it is read out of episodes that were left out (R²)."""
        return {f"read_out_{self.info}_r2": self._r2}

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The distance to the target, or to what is read out of `info["goal_image"]`."""
        if self._read is None:
            raise ConfigError("a read-out is made from recorded episodes: call prepare() first")
        read = self._read
        if self.target is not None:
            return ReadOut(read, read.of(self.target), **self._weights)

        return FromImage(
            goal_image(info), lambda state: ReadOut(read, read(state), **self._weights)
        )


def _held_out_r2(x: np.ndarray, y: np.ndarray, groups: np.ndarray) -> float:
    """R² on episodes that each fold leaves out; NaN where there are too few of them."""
    if len(np.unique(groups)) < FOLDS:
        return float("nan")
    guessed = cross_val_predict(RidgeCV(PENALTIES), x, y, groups=groups, cv=GroupKFold(FOLDS))
    return scored(guessed, y, groups).r2
