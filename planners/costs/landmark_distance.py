"""Distance to a goal along the paths that recorded episodes took."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Tensor

from worldmodel.errors import ConfigError

from ..episode_states import EpisodeStates
from ..factory import Factory
from ..landmarks import Landmarks
from .cost import Cost
from .from_image import FromImage, goal_image
from .goal_state import over_steps, require_weights

NEAREST = 3


class LandmarkDistance(Cost):
    """Steps to the goal over a graph of landmarks: their mean over a plan, and the last.

    Two positions on either side of a wall look alike, so the distance between their states sends
    the agent against the wall (docs/costs.md). No episode ever crossed the wall, so no edge of
    the graph does, and its shortest paths go through the door.

    A state is as far from the goal as its nearest landmarks are, weighted by how near they are,
    plus the direct distance, counted up to `near` steps, so that the goal itself is the minimum.
    Differentiable.

    It knows only what the episodes showed, and needs states that tell positions apart.

    Args:
        landmarks: The graph.
        state: The goal (d), or several (g d), any of which will do.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        near: Steps up to which the direct distance counts.
    """

    def __init__(
        self,
        landmarks: Landmarks,
        state: Tensor,
        *,
        weight: float = 1.0,
        running: float = 1.0,
        terminal: float = 1.0,
        near: float = 3.0,
    ) -> None:
        require_weights(weight, running, terminal, near)
        self.weight, self.running, self.terminal = weight, running, terminal
        self.near = near
        self._landmarks = landmarks
        goals = state.reshape(-1, state.shape[-1])
        self._goals = landmarks.embed(goals)
        self._lengths = torch.stack([landmarks.path_lengths(goal) for goal in goals]).amin(dim=0)
        self._lengths = self._lengths.to(state)
        self._points = landmarks.points.to(state)
        self._squares = self._points.square().sum(dim=-1)
        # Blended over about the distance between neighbours: over less, the cost has steps; over
        # more, it is blurred.
        self._blend = 1 / landmarks.lengths.median().item() ** 2

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        return over_steps(
            self.steps_to_goal(states),
            weight=self.weight,
            running=self.running,
            terminal=self.terminal,
        )

    def steps_to_goal(self, states: Tensor) -> Tensor:
        """Steps (...) from `states` (... d) to the goal."""
        points = self._landmarks.embed(states)
        # |p - c|^2 through one product; |p|^2 is the same for all landmarks.
        relative = self._squares - 2 * points @ self._points.mT
        nearest, index = relative.topk(min(NEAREST, len(self._points)), dim=-1, largest=False)
        share = torch.softmax(-self._blend * nearest, dim=-1)
        along = (share * self._lengths[index]).sum(dim=-1)
        direct = (points[..., None, :] - self._goals).square().sum(dim=-1).amin(dim=-1)
        return along + direct.add(1e-6).sqrt().clamp_max(self.near)


class GoalAlongLandmarks(Factory[Cost]):
    """`LandmarkDistance` to the goal image of each episode, over landmarks of recorded episodes.

    Args:
        num_landmarks: See `Landmarks.from_states`.
        weight: See `LandmarkDistance`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.

    Attributes:
        landmarks: None before `prepare`.
    """

    needs_episodes = True

    def __init__(
        self,
        *,
        num_landmarks: int = 400,
        weight: float = 1.0,
        running: float = 1.0,
        terminal: float = 1.0,
    ) -> None:
        require_weights(weight, running, terminal)
        self.num_landmarks = num_landmarks
        self._weights = {"weight": weight, "running": running, "terminal": terminal}
        self.landmarks: Landmarks | None = None

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "GoalAlongLandmarks":
        """Find the landmarks and the edges between them."""
        prepared = copy(self)
        prepared.landmarks = Landmarks.from_states(
            recorded.sequences, num_landmarks=self.num_landmarks, seed=seed
        )
        return prepared

    def report(self) -> dict[str, float]:
        """How many landmarks there are, and the share that hang together."""
        return require_landmarks(self.landmarks).report()

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The steps to the state that `info["goal_image"]` shows."""
        landmarks = require_landmarks(self.landmarks)
        return FromImage(
            goal_image(info), lambda state: LandmarkDistance(landmarks, state, **self._weights)
        )


def require_landmarks(landmarks: Landmarks | None) -> Landmarks:
    """The landmarks that a factory has made; refused before it was prepared."""
    if landmarks is None:
        raise ConfigError("landmarks are made from recorded episodes: call prepare() first")
    return landmarks
