"""States that a plan must not enter, learned from examples."""

from collections.abc import Callable, Mapping
from copy import copy
from functools import partial
from typing import Any

from torch import Tensor

from worldmodel.errors import ConfigError

from ..dynamics import ImageDynamics
from ..episode_states import EpisodeStates
from ..factory import Factory
from ..image_states import ImageInput, encode_images
from .boundary import Boundary, fit_boundary
from .guardrail import Guardrail

# Hazards that a guardrail learns from, at most, and four times as many safe states.
MAX_EXAMPLES = 500


class KeepOut(Guardrail):
    """Every predicted state is on the safe side of a boundary learned from examples.

    Of hazards like the examples, at most `miss_rate` count as safe. Nothing is promised about the
    model's predictions, about what happens between two states, or about the rate of misses on
    plans: a planner that wants to go through a hazard goes along its edge, where the misses are,
    and `buffer` keeps it away.

    Args:
        boundary: Between hazards and the rest, on states.
        buffer: How much further than the calibrated boundary to stay away, in units of its score.
    """

    def __init__(self, boundary: Boundary, *, buffer: float = 0.0) -> None:
        if buffer < 0:
            raise ConfigError(f"buffer must be at least 0, got {buffer}")
        self.boundary, self.buffer = boundary, buffer

    @staticmethod
    def from_states(
        hazards: Tensor,
        safe: Tensor | None = None,
        *,
        miss_rate: float = 0.05,
        buffer: float = 0.0,
        seed: int = 0,
    ) -> "KeepOut":
        """From states in the hazard (n d) and, for a tighter boundary, safe states (m d)."""
        return KeepOut(fit_boundary(hazards, safe, miss_rate=miss_rate, seed=seed), buffer=buffer)

    @staticmethod
    def from_images(
        hazards: ImageInput,
        safe: ImageInput | None = None,
        *,
        miss_rate: float = 0.05,
        buffer: float = 0.0,
        seed: int = 0,
    ) -> Guardrail:
        """From images or short clips of them; see `encode_images` for the layouts.

        Still images show states at rest; clips teach that the hazard is there at any speed.
        """
        build = partial(KeepOut.from_states, miss_rate=miss_rate, buffer=buffer, seed=seed)
        return _FromImages(hazards, safe, build)

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """How far below the boundary's threshold each state scores (k t)."""
        return self.boundary.margin(states) - self.buffer


class _FromImages(Guardrail):
    """A guardrail that `build` completes once a model has encoded its images."""

    def __init__(
        self, hazards: ImageInput, safe: ImageInput | None, build: Callable[..., Guardrail]
    ) -> None:
        self._hazards, self._safe, self._build = hazards, safe, build

    def bind(self, model: ImageDynamics) -> Guardrail:
        """Encode the images and fit the boundary."""
        safe = None if self._safe is None else encode_images(model, self._safe)
        return self._build(encode_images(model, self._hazards), safe)

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """Refused: without a model, no state can be compared with the images."""
        raise ConfigError(
            "a guardrail made from images needs guardrail.bind(model) first; Agent does it"
        )


class KeepOutFlagged(Factory[Guardrail]):
    """`KeepOut` of the states that recorded episodes flag as violations.

    Args:
        miss_rate: Largest share of new hazards that may count as safe.
        buffer: See `KeepOut`.

    Attributes:
        guardrail: None before `prepare`.
        num_examples: Hazards that it was learned from.
    """

    needs_episodes = True

    def __init__(self, *, miss_rate: float = 0.02, buffer: float = 2.0) -> None:
        self.miss_rate, self.buffer = miss_rate, buffer
        self.guardrail: Guardrail | None = None
        self.num_examples = 0

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "KeepOutFlagged":
        """Learn the boundary."""
        hazards, safe = recorded.examples(MAX_EXAMPLES, seed=seed)
        prepared = copy(self)
        prepared.num_examples = len(hazards)
        prepared.guardrail = KeepOut.from_states(
            hazards, safe, miss_rate=self.miss_rate, buffer=self.buffer, seed=seed
        )
        return prepared

    def report(self) -> dict[str, float]:
        """How many hazards it was learned from."""
        return {"guardrail_examples": float(self.num_examples)}

    def for_episode(self, info: Mapping[str, Any]) -> Guardrail:
        """The same guardrail for every episode."""
        return self._prepared()

    def _prepared(self) -> Guardrail:
        if self.guardrail is None:
            raise ConfigError("KeepOutFlagged learns from recorded episodes: call prepare() first")
        return self.guardrail
