"""What planners and agents ask of a model; `worldmodel.WorldModel` has all of it."""

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from worldmodel.types import Clip, History


class Dynamics(Protocol):
    """Predicts the states that follow actions; all that a planner needs."""

    def rollout(self, history: History, actions: Tensor) -> Tensor:
        """States (k t d) after each of the action blocks (k t a); differentiable in them."""
        ...


@runtime_checkable
class BranchingDynamics(Dynamics, Protocol):
    """Also goes on from many histories at once, as planners over virtual states ask."""

    def imagine(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """Continue each of `states` (b s d), led to by `past` (b s-1 a), by `actions` (b t a).

        Differentiable in all of them; b t d.
        """
        ...


class ImageDynamics(Dynamics, Protocol):
    """Also turns images into states, for agents, and for costs made from images."""

    @property
    def action_dim(self) -> int:
        """Dimension of the action of one environment step."""
        ...

    @property
    def action_block(self) -> int:
        """Environment steps of an action block, from one state to the next."""
        ...

    @property
    def state_frames(self) -> int:
        """Frames that one state is made of."""
        ...

    @property
    def size(self) -> int:
        """Side of the square input, in pixels."""
        ...

    def states(self, clip: Clip, proprioception: Tensor | None = None) -> Tensor:
        """States (b t d) of each time step, encoded alone.

        A model that names its `proprioception` is told that too, b t s.
        """
        ...


def described_actions(dim: int, choices: Sequence[int] | None) -> str:
    """Actions of one environment step in words, such as `2 numbers`."""
    return f"choices among {list(choices)} alternatives" if choices else f"{dim} numbers"


def learned_choices(model: ImageDynamics) -> tuple[int, ...] | None:
    """Alternatives of each choice that the model's actions are; None where it does not say."""
    return getattr(model, "action_choices", None)


def told_proprioception(model: ImageDynamics) -> str | None:
    """The info that tells a model what a body knows of itself; None of most models."""
    return getattr(model, "proprioception", None)


def shown_in_images(model: ImageDynamics, states: Tensor) -> Tensor:
    """The part of states (... d) that an image tells, which comes first.

    Goals, and all that is learned from recorded episodes, are of this part; costs and guardrails
    look at as many of a plan's dimensions as they have learned from.
    """
    return states[..., : getattr(model, "image_dim", states.shape[-1])]
