"""Distance to a goal along the ways that the episodes took."""

from functools import partial

import torch
from torch import Tensor

from ..images import ImageInput
from ..landmarks import Landmarks
from .cost import Cost
from .from_image import FromImage
from .goal_state import along_the_way, require_weights

NEAREST = 3


class LandmarkDistance(Cost):
    """Steps to the goal over a graph of landmarks, along the way and at the end.

    Why it exists: two places on both sides of a wall look alike, so a distance between states
    sends the agent against the wall (docs/costs.md). No episode ever crossed
    the wall, so no edge of the graph does, and its shortest paths go through the door.

    The length of a state is that of its nearest landmarks, blended by how near they are, plus the
    direct distance, counted up to `near` steps, so that the goal itself is the minimum.
    Differentiable.

    What it cannot know: anything that the episodes did not show. It needs states in which one
    landmark is one place.

    Args:
        landmarks: The graph.
        state: The goal (d).
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
        self._goal = landmarks.place(state)
        self._lengths = landmarks.path_lengths(state).to(state)
        self._points = landmarks.points.to(state)
        self._squares = self._points.square().sum(dim=-1)
        # Blending over about the distance between neighbours: less makes steps, more makes mush.
        self._blend = 1 / landmarks.lengths.median().item() ** 2

    @staticmethod
    def from_image(
        image: ImageInput,
        landmarks: Landmarks,
        *,
        weight: float = 1.0,
        running: float = 1.0,
        terminal: float = 1.0,
    ) -> Cost:
        """The same for the state that an image of the goal shows, at rest."""
        build = partial(
            LandmarkDistance, landmarks, weight=weight, running=running, terminal=terminal
        )
        return FromImage(image, build)

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        return along_the_way(
            self.steps_to_goal(states),
            weight=self.weight,
            running=self.running,
            terminal=self.terminal,
        )

    def steps_to_goal(self, states: Tensor) -> Tensor:
        """Steps (...) from `states` (... d) to the goal."""
        points = self._landmarks.place(states)
        # |p - c|^2 through one product; |p|^2 is the same for all landmarks.
        relative = self._squares - 2 * points @ self._points.mT
        nearest, index = relative.topk(min(NEAREST, len(self._points)), dim=-1, largest=False)
        share = torch.softmax(-self._blend * nearest, dim=-1)
        along = (share * self._lengths[index]).sum(dim=-1)
        direct = (points - self._goal).square().sum(dim=-1).add(1e-6).sqrt()
        return along + direct.clamp_max(self.near)
