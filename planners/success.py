"""When a goal counts as reached: as the environment says, by distances to the goal, by return."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from worldmodel.errors import ConfigError, EnvError, nearest

from .episode_loop import SUCCESS, EpisodeRecord

HELD = 0.2  # the last share of an episode's steps in which a goal that is held is never left


@dataclass(frozen=True)
class Success:
    """What success is; without settings, what the infos `success` or `is_success` say.

    Attributes:
        within: Info -> how near (Euclidean, in its own unit) it must be to the goal's; all at once.
        total_reward: The sum of rewards from which on an episode has succeeded.
    """

    within: Mapping[str, float] = field(default_factory=dict)
    total_reward: float | None = None

    def __post_init__(self) -> None:
        if self.within and self.total_reward is not None:
            raise ConfigError("success.within and success.total_reward exclude each other")
        if wrong := [name for name, radius in self.within.items() if not radius > 0]:
            raise ConfigError(f"success.within: the radius of {wrong[0]} must be positive")

    @property
    def words(self) -> str:
        """For the protocol."""
        if self.total_reward is not None:
            return f"total reward of {self.total_reward:g} or more"
        near = (f"{name} within {radius:g} of the goal's" for name, radius in self.within.items())
        return " and ".join(near) or "as the environment tells it"

    def reached(self, record: EpisodeRecord, goal: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """At which frames (t+1, bool) the goal is reached; None if nothing tells.

        Args:
            record: An episode.
            goal: The infos at its goal.

        Raises:
            EnvError: an info to go by is not told.
        """
        if self.total_reward is not None:
            return np.concatenate([[0.0], record.rewards]).cumsum() >= self.total_reward
        if self.within:
            ratios = self.ratio({name: _told(record.infos, name) for name in self.within}, goal)
            return ratios <= 1
        told = [
            np.asarray(record.infos[name], np.float64).reshape(record.steps + 1, -1)
            for name in SUCCESS
            if name in record.infos
        ]
        if not told or all(np.isnan(t).all() for t in told):
            return None
        return np.any([(np.nan_to_num(t) != 0).any(axis=1) for t in told], axis=0)

    def ratio(self, infos: Mapping[str, np.ndarray], goal: Mapping[str, np.ndarray]) -> np.ndarray:
        """How far (t) infos over time are from the goal's, in radii; the farthest of them."""
        distances = []
        for name, radius in self.within.items():
            there = np.asarray(_told(goal, name), np.float64).ravel()
            here = np.asarray(infos[name], np.float64).reshape(len(infos[name]), -1)
            if here.shape[1] != len(there):
                raise EnvError(
                    f"success.within compares '{name}', which has {here.shape[1]} numbers in the "
                    f"episode and {len(there)} at the goal"
                )
            distances.append(np.linalg.norm(here - there, axis=1) / radius)
        return np.max(distances, axis=0)


AS_TOLD = Success()
"""What the environment says."""


def _told(infos: Mapping[str, np.ndarray], name: str) -> np.ndarray:
    if name not in infos:
        raise EnvError(
            f"success.within goes by the info '{name}', which is not told: "
            f"{nearest(name, infos) if infos else 'no info is'}"
        )
    return infos[name]


@dataclass(frozen=True)
class Outcome:
    """How an episode ended, counted three ways; None where nothing tells."""

    once: bool | None  # reached at any step
    at_end: bool | None  # reached at the last frame
    held: bool | None  # reached in all of the last fifth; None where the world ended it at its goal
    steps: int  # taken
    first: int | None  # the step at which it was first reached

    @staticmethod
    def of(
        record: EpisodeRecord, success: Success, goal: Mapping[str, np.ndarray], *, budget: int
    ) -> "Outcome":
        """The outcome of an episode that had `budget` steps."""
        reached = success.reached(record, goal)
        if reached is None:
            return Outcome(None, None, None, record.steps, None)
        steps = np.flatnonzero(reached)
        last = max(1, round(HELD * min(budget, record.steps)))
        # A world that ends an episode at its goal leaves no time to stay there; one that ends it
        # elsewhere has been failed, and one whose own time is up was held for as long as it went.
        if record.terminated:
            held = None if reached[-1] else False
        else:
            held = bool(reached[-last:].all())
        first = int(steps[0]) if len(steps) else None
        return Outcome(bool(reached.any()), bool(reached[-1]), held, record.steps, first)
