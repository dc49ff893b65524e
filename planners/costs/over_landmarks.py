"""What costs over landmarks share: the graph is made from recorded episodes, once for all goals."""

from collections.abc import Callable, Mapping
from copy import copy
from typing import Any, Self

from torch import Tensor

from worldmodel.errors import ConfigError

from ..episode_states import EpisodeStates
from ..factory import Factory
from ..landmarks import Landmarks
from .cost import Cost
from .from_image import FromImage, goal_image


class OverLandmarks(Factory[Cost]):
    """A cost to the goal image of each episode, over landmarks of recorded episodes.

    Args:
        build: Makes the cost of the landmarks and the goal's state (d).
        num_landmarks: See `Landmarks.from_states`.

    Attributes:
        landmarks: None before `prepare`.
    """

    needs_episodes = True

    def __init__(self, build: Callable[[Landmarks, Tensor], Cost], *, num_landmarks: int) -> None:
        self._build, self.num_landmarks = build, num_landmarks
        self.landmarks: Landmarks | None = None

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> Self:
        """Find the landmarks and the edges between them."""
        prepared = copy(self)
        prepared.landmarks = Landmarks.from_states(
            recorded.sequences, num_landmarks=self.num_landmarks, seed=seed
        )
        return prepared

    def report(self) -> dict[str, float]:
        """How many landmarks there are, and the share that hang together."""
        return self._prepared().report()

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The cost to the state that `info["goal_image"]` shows."""
        landmarks = self._prepared()
        return FromImage(goal_image(info), lambda state: self._build(landmarks, state))

    def _prepared(self) -> Landmarks:
        if self.landmarks is None:
            raise ConfigError("landmarks are made from recorded episodes: call prepare() first")
        return self.landmarks
