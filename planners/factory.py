"""Costs and guardrails that cannot be made before there are episodes.

A cost that needs the goal, or a guardrail that is learned from recorded episodes, is a class of
`Factory` in a file of its own: it is named in YAML by `_target_` like any other, and may stand
wherever a plain cost or guardrail may.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Generic, TypeVar

from .episode_states import EpisodeStates

Part = TypeVar("Part")


class Factory(ABC, Generic[Part]):
    """Makes a cost (`Factory[Cost]`) or a guardrail (`Factory[Guardrail]`) for each episode.

    Attributes:
        needs_episodes: True for a class that overrides `prepare`, which is called only then.
    """

    needs_episodes: ClassVar[bool] = False

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "Factory[Part]":
        """A factory that has learned from recorded episodes; called once, before any episode."""
        return self

    def report(self) -> dict[str, float]:
        """Results about what was learned, by name."""
        return {}

    @abstractmethod
    def for_episode(self, info: Mapping[str, Any]) -> Part:
        """The cost or guardrail of an episode whose reset returned `info`."""


def made_for(part: Part | Factory[Part], info: Mapping[str, Any]) -> Part:
    """The part for an episode whose reset returned `info`; a plain part is the same in all."""
    return part.for_episode(info) if isinstance(part, Factory) else part
