"""States that a plan must not enter, told by examples."""

from torch import Tensor

from worldmodel.errors import ConfigError

from ..dynamics import ImageDynamics
from ..images import ImageInput, encode_images
from .boundary import Boundary, fit_boundary
from .guardrail import Guardrail


class KeepOut(Guardrail):
    """Every predicted state scores as safe by a boundary learned from examples.

    What is promised: of hazards like the examples at most `miss_rate` count as safe. What is not:
    that the model predicts rightly where a plan leads, anything about what happens between two
    states, and that rate on plans. A planner that wants to go through a hazard goes along its
    edge, where the misses are; `buffer` keeps it off.

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
        """From states in the hazard (n d) and, better, states that are not (m d)."""
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

        Still images show states at rest; clips of moving hazards teach the boundary that the
        hazard is a place whatever the speed.
        """
        return _FromImages(hazards, safe, miss_rate=miss_rate, buffer=buffer, seed=seed)

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """How far below the boundary's threshold each state scores (k t)."""
        return self.boundary.margin(states) - self.buffer


class _FromImages(Guardrail):
    """Waits for the model that says which states the images show."""

    def __init__(
        self,
        hazards: ImageInput,
        safe: ImageInput | None,
        *,
        miss_rate: float,
        buffer: float,
        seed: int,
    ) -> None:
        self._hazards, self._safe = hazards, safe
        self._miss_rate, self._buffer, self._seed = miss_rate, buffer, seed

    def bind(self, model: ImageDynamics) -> Guardrail:
        """Encode the images and fit the boundary."""
        return KeepOut.from_states(
            encode_images(model, self._hazards),
            None if self._safe is None else encode_images(model, self._safe),
            miss_rate=self._miss_rate,
            buffer=self._buffer,
            seed=self._seed,
        )

    def margin(self, states: Tensor, actions: Tensor) -> Tensor:
        """Refused: nothing is known before a model has seen the images."""
        raise ConfigError(
            "a guardrail made from images needs guardrail.bind(model) first; Agent does it"
        )
