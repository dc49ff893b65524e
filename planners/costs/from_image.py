"""A cost given as an image of the goal; binding it to a model makes it a cost on states."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from torch import Tensor

from worldmodel.errors import ConfigError, EnvError

from ..dynamics import ImageDynamics, shown_in_images
from ..image_states import ImageInput, encode_images
from .cost import Cost


class FromImage(Cost):
    """A cost that is complete once a model has encoded its image, or a set of images.

    Args:
        image: One image, or several, any of which is the goal; see `encode_images`.
        build: Makes the cost from the image's state (d), or from those of several (g d).
    """

    def __init__(self, image: ImageInput, build: Callable[[Tensor], Cost]) -> None:
        self._image, self._build = image, build

    def bind(self, model: ImageDynamics) -> Cost:
        """The cost for the states of `model`."""
        states = shown_in_images(model, encode_images(model, self._image))
        return self._build(states[0] if len(states) == 1 else states)

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Refused: an image has no distance to states before a model has seen it."""
        raise ConfigError("a cost made from an image needs cost.bind(model) first; Agent does it")


def goal_image(info: Mapping[str, Any]) -> np.ndarray:
    """The image of the goal, or the images, that an episode's reset told in its `info`.

    Raises:
        EnvError: there is none.
    """
    if "goal_image" not in info:
        raise EnvError(
            "the environment's reset returns no info goal_image, which this cost takes as its "
            "goal; say goal=episodes, goal=crossed or goal=path.png, or wrap the environment in "
            "worldmodel.envs.PixelWorld(env, goal=...)"
        )
    return np.asarray(info["goal_image"])
