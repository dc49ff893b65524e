"""Turn any gymnasium environment that renders images into one that observes them."""

import sys
from collections.abc import Callable
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from PIL import Image

from .rendering import choose_gl, import_triton_first

Goal = Callable[[gymnasium.Env[Any, Any]], np.ndarray] | np.ndarray
Info = dict[str, Any]


class PixelWorld(
    gymnasium.Wrapper[np.ndarray, Any, Any, Any],
    RecordConstructorArgs,
):
    """Replaces the observation by the environment's own image, `size size 3` uint8.

    The whole image is kept, averaged over areas; one that is not square is squeezed. The
    environment's own observation is dropped. MuJoCo worlds of others render faster after
    `worldmodel.envs.rendering.strip_effects(env.unwrapped.model)`.

    Args:
        env: made with `render_mode="rgb_array"`.
        size: height and width of the observations in pixels.
        goal: where `info["goal_image"]` of a reset comes from: an image `h w c` uint8 of any
            size, or a function of the wrapped environment, called after each reset, that returns
            one and leaves the environment as it was. Without it, the environment's own
            `goal_image` is used if its info has one.

    Raises:
        ValueError: the environment does not draw into arrays, or `size` is not positive.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], size: int = 64, *, goal: Goal | None = None
    ) -> None:
        RecordConstructorArgs.__init__(self, size=size, goal=goal)
        super().__init__(env)
        if env.render_mode != "rgb_array":
            raise ValueError(
                f"PixelWorld needs an environment made with render_mode='rgb_array', "
                f"{env} has {env.render_mode!r}"
            )
        if size < 1:
            raise ValueError(f"size must be a positive number of pixels, got {size}")
        if "mujoco" in sys.modules:
            import_triton_first()
            choose_gl()
        self._size = size
        self._goal = goal
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Reset the environment; its info gains `goal_image` where a goal is known."""
        _, info = self.env.reset(seed=seed, options=options)
        observation = self._observe()
        goal = info.get("goal_image") if self._goal is None else self._goal
        if goal is not None:
            image = goal(self.env) if callable(goal) else goal
            info = info | {"goal_image": self._resize(image, "the goal")}
        return observation, info

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, Info]:
        """One step of the environment."""
        _, reward, terminated, truncated, info = self.env.step(action)
        return self._observe(), reward, terminated, truncated, info

    def _observe(self) -> np.ndarray:
        return self._resize(self.env.render(), f"the image of {self.env}")

    def _resize(self, image: Any, name: str) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(
                f"{name} must be h w 3 uint8, got shape {array.shape} and dtype {array.dtype}"
            )
        shape = (self._size, self._size)
        # Pillow's box filter is the mean over the area that a pixel covers.
        return np.array(Image.fromarray(array).resize(shape, Image.Resampling.BOX))
