"""Distance to a goal along the paths that recorded episodes took."""

from functools import partial

import torch
from torch import Tensor

from ..landmarks import Landmarks
from .cost import Cost
from .goal_state import over_steps, require_weights
from .over_landmarks import OverLandmarks

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


class GoalAlongLandmarks(OverLandmarks):
    """`LandmarkDistance` to the goal image of each episode, over landmarks of recorded episodes.

    Args:
        num_landmarks: See `Landmarks.from_states`.
        weight: See `LandmarkDistance`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(
        self, *, num_landmarks: int = 400, weight: float = 1.0, running: float = 1.0,
        terminal: float = 1.0,
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        build = partial(LandmarkDistance, weight=weight, running=running, terminal=terminal)
        super().__init__(build, num_landmarks=num_landmarks)
