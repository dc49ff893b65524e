"""A cost that is still an image; binding it to a model makes it a cost on states."""

from collections.abc import Callable

from torch import Tensor

from worldmodel.errors import ConfigError

from ..dynamics import ImageDynamics
from ..images import ImageInput, encode_images
from .cost import Cost


class FromImage(Cost):
    """Waits for the model that says which state an image shows.

    Args:
        image: One image; see `encode_images`.
        build: Makes the cost from the image's state (d).
    """

    def __init__(self, image: ImageInput, build: Callable[[Tensor], Cost]) -> None:
        self._image, self._build = image, build

    def bind(self, model: ImageDynamics) -> Cost:
        """The cost on the states of `model`."""
        states = encode_images(model, self._image)
        if len(states) != 1:
            raise ConfigError(f"a goal is one image, got {len(states)}")
        return self._build(states[0])

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Refused: an image has no distance to states before a model has seen it."""
        raise ConfigError("a cost made from an image needs cost.bind(model) first; Agent does it")
