"""A cost that is still a picture; binding it to a model makes it a cost on states."""

from collections.abc import Callable

from torch import Tensor

from worldmodel.errors import ConfigError

from ..dynamics import ImageDynamics
from ..images import Pictures, encode_pictures
from .cost import Cost


class FromImage(Cost):
    """Waits for the model that says which state a picture shows.

    Args:
        image: One picture; see `encode_pictures`.
        build: Makes the cost from the picture's state (d).
    """

    def __init__(self, image: Pictures, build: Callable[[Tensor], Cost]) -> None:
        self._image, self._build = image, build

    def bind(self, model: ImageDynamics) -> Cost:
        """The cost on the states of `model`."""
        states = encode_pictures(model, self._image)
        if len(states) != 1:
            raise ConfigError(f"a goal is one picture, got {len(states)}")
        return self._build(states[0])

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Refused: a picture has no distance to states before a model has seen it."""
        raise ConfigError("a cost made from an image needs cost.bind(model) first; Agent does it")
