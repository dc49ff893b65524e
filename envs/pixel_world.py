"""Turn any gymnasium environment that draws itself into one that observes its images."""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, SupportsFloat

import gymnasium
import numpy as np
from gymnasium import spaces
from gymnasium.utils import RecordConstructorArgs
from PIL import Image

from .factors import Amount, Factors
from .mujoco_drawing import Camera, Drawing, body_numbers, is_mujoco
from .rendering import choose_gl, import_triton_first
from .simulator_state import SimulatorState

DEFAULT_SIZE = 64
MOST_NUMBERS = 256  # of an observation that is told as an info

Goal = Callable[[gymnasium.Env[Any, Any]], np.ndarray] | np.ndarray
Info = dict[str, Any]
Crop = tuple[float, float, float, float]


class PixelWorld(
    gymnasium.Wrapper[np.ndarray, Any, Any, Any],
    RecordConstructorArgs,
):
    """Replaces the observation by the environment's own image, `size size 3` uint8.

    The image is averaged over areas; one that is not square is squeezed, or cropped first. MuJoCo
    worlds that draw by gymnasium's renderer are drawn at twice the size, without shadows,
    reflections, sky and haze: many times faster.

    Infos gain what the image does not tell exactly: the environment's own observation, as
    `observation` or under its own names where it is a dictionary of numbers; `state`, from which
    the simulator can go on, where `SimulatorState` knows it; and the positions of `bodies`. The
    reset option `state` begins from such a state, after a reset with the other options.

    Args:
        env: made with `render_mode="rgb_array"`.
        size: height and width of the observations in pixels.
        goal: where `info["goal_image"]` of a reset comes from: an image `h w c` uint8 of any
            size, or a function of the wrapped environment, called after each reset, that returns
            one and leaves the environment as it was. Without it, the environment's own
            `goal_image` is used if its info has one.
        crop: the part of the image that is kept: top, bottom, left and right, as shares of it.
        camera: of a MuJoCo world: a camera's name or number, or where a free one stands, as in
            `{"distance": 1.0, "elevation": -90}`; the environment's own if None.
        effects: draw MuJoCo worlds with their shadows, reflections, sky and haze.
        bodies: of a MuJoCo world, whose positions (`3`, metres) are told under their names.
        hidden: bodies and sites of a MuJoCo world that are not drawn.
        factors: of a MuJoCo world, what differs from episode to episode, by the reset's seed; see
            `Factors`. The reset option `factors` fixes some of them.

    Raises:
        ValueError: the environment does not draw into arrays, has no such camera or body, or a
            number is out of range.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], size: int = DEFAULT_SIZE, *, goal: Goal | None = None,
        crop: Sequence[float] | None = None, camera: Camera | None = None, effects: bool = False,
        bodies: Sequence[str] = (), hidden: Sequence[str] = (),
        factors: Mapping[str, Amount] | None = None,
    ) -> None:  # fmt: skip
        RecordConstructorArgs.__init__(
            self, size=size, goal=goal, crop=crop, camera=camera, effects=effects,
            bodies=bodies, hidden=hidden, factors=factors,
        )  # fmt: skip
        super().__init__(env)
        draws = "rgb_array" in (env.metadata.get("render_modes") or ())
        if env.render_mode != "rgb_array" and (draws or env.render_mode is not None):
            raise ValueError(
                f"PixelWorld needs an environment made with render_mode='rgb_array', "
                f"{env} has {env.render_mode!r}"
            )
        if size < 1:
            raise ValueError(f"size must be a positive number of pixels, got {size}")
        self._size, self._goal = size, goal
        self._crop = _checked_crop(crop)
        self._drawn: tuple[int, ...] | None = None  # the shape of the first image
        # Worlds that draw by pygame ask for a screen even where they draw into arrays.
        if sys.platform == "linux" and not os.environ.get("DISPLAY"):
            os.environ.setdefault("SDL_VIDEODRIVER", "dummy")
        if "mujoco" in sys.modules:
            import_triton_first()
            choose_gl()
        self._drawing: Drawing | None = None
        if is_mujoco(env):
            top, bottom, left, right = self._crop
            self._drawing = Drawing(
                env, size=round(size / min(bottom - top, right - left)), camera=camera,
                effects=effects, hidden=hidden,
            )  # fmt: skip
        elif camera is not None or bodies or hidden or factors:
            raise ValueError(
                f"camera, bodies, hidden and factors are for MuJoCo worlds, which {env} is not"
            )
        self._factors = Factors(env, factors) if factors else None
        self._amounts: Info = {}
        self._bodies = body_numbers(env, bodies)
        self._state: SimulatorState | None = None
        self.observation_space = spaces.Box(0, 255, (size, size, 3), np.uint8)

    def reset(
        self, *, seed: int | None = None, options: Info | None = None
    ) -> tuple[np.ndarray, Info]:
        """Reset the environment; its info gains `goal_image` where a goal is known.

        Raises:
            ValueError: `options` name a state, and this world's cannot be set or is another.
        """
        options = dict(options or {})
        state, fixed = options.pop("state", None), options.pop("factors", None)
        own, info = self.env.reset(seed=seed, options=options or None)
        if self._drawing is not None:
            self._drawing.keep_up()
        if self._factors is not None:
            self._amounts = self._factors.vary(seed, fixed or {})
        elif fixed:
            raise ValueError(f"the factors of {self.env} are not varied: make it with factors=")
        self._state = SimulatorState.of(self.env)
        if state is not None:
            if self._state is None:
                raise ValueError(f"the state of {self.env} cannot be set")
            self._state.set(np.asarray(state, np.float64))
            # What the reset told was of another state.
            own, info = self._own_observation(), self._own_infos()
        observation = self._observe()
        info = self._told(own) | info
        goal = info.get("goal_image") if self._goal is None else self._goal
        if goal is not None:
            image = goal(self.env) if callable(goal) else goal
            info = info | {"goal_image": self._resize(image, "the goal")}
        return observation, info

    def step(self, action: Any) -> tuple[np.ndarray, SupportsFloat, bool, bool, Info]:
        """One step of the environment."""
        own, reward, terminated, truncated, info = self.env.step(action)
        return self._observe(), reward, terminated, truncated, self._told(own) | info

    @property
    def restores_state(self) -> bool:
        """True if a reset can begin from the info `state`."""
        return self._state is not None

    def _told(self, own: Any) -> Info:
        """Infos that the environment does not give itself, `own` being its observation."""
        named = own if isinstance(own, Mapping) else {"observation": own}
        told = {k: np.array(v) for k, v in named.items() if np.size(v) <= MOST_NUMBERS}
        told |= {k: v for k, v in self._positions()} | self._amounts
        if self._state is None:
            return told
        return told | self._state.told() | {"state": self._state.read()}

    def _own_observation(self) -> Any:
        """What the environment itself observes now; nothing where it cannot be asked."""
        observe = getattr(self.env.unwrapped, "_get_obs", None)
        with contextlib.suppress(TypeError):  # some want to be told what they observe
            if observe is not None:
                return observe()
        return {} if self._state is None else self._state.observed()

    def _own_infos(self) -> Info:
        """The infos that the environment tells of now; nothing where it cannot be asked."""
        for name in ("get_step_info", "_get_info"):
            ask = getattr(self.env.unwrapped, name, None)
            with contextlib.suppress(TypeError):
                if ask is not None:
                    return dict(ask())
        return {}

    def _positions(self) -> Iterator[tuple[str, np.ndarray]]:
        world: Any = self.env.unwrapped
        for name, number in self._bodies.items():
            yield name, world.data.xpos[number].copy()

    def _observe(self) -> np.ndarray:
        image = self.env.render()
        if image is None:
            raise ValueError(f"{self.env} draws nothing: its render() returned None")
        observation = self._resize(image, f"the image of {self.env}", crop=self._crop)
        shape = np.asarray(image).shape
        if self._drawn not in (None, shape):
            raise ValueError(
                f"the image of {self.env} changed its size from {self._drawn} to {shape}"
            )
        self._drawn = shape
        return observation

    def _resize(self, image: Any, name: str, *, crop: Crop = (0.0, 1.0, 0.0, 1.0)) -> np.ndarray:
        array = np.asarray(image)
        if array.ndim != 3 or array.shape[2] != 3 or array.dtype != np.uint8:
            raise ValueError(
                f"{name} must be h w 3 uint8, got shape {array.shape} and dtype {array.dtype}"
            )
        height, width = array.shape[:2]
        top, bottom, left, right = np.multiply(crop, (height, height, width, width))
        shape = (self._size, self._size)
        # Pillow's box filter is the mean over the area that a pixel covers.
        return np.array(
            Image.fromarray(array).resize(
                shape, Image.Resampling.BOX, box=(left, top, right, bottom)
            )
        )


def _checked_crop(crop: Sequence[float] | None) -> Crop:
    if crop is None:
        return (0.0, 1.0, 0.0, 1.0)
    shares = tuple(map(float, crop))
    if len(shares) != 4 or not (
        0 <= shares[0] < shares[1] <= 1 and 0 <= shares[2] < shares[3] <= 1
    ):
        raise ValueError(
            f"crop is top, bottom, left and right as shares of the image, each between 0 and 1 and "
            f"in this order, as in [0.1,0.9,0,1]; got {list(crop)}"
        )
    return shares
