"""MuJoCo worlds of other people, drawn small and without what slows down software OpenGL.

Two kinds of worlds are known: those that draw by gymnasium's `MujocoRenderer`, which is replaced by
ours, and those that keep a `mujoco.Renderer` of their own, which is made anew at the size that is
needed. All others draw as they do, without the effects that their model describes.
"""

import contextlib
import sys
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from .rendering import SUPERSAMPLE, FastRenderer, strip_effects

Camera: TypeAlias = str | int | Mapping[str, Any]
"""A camera's name or number, or how a free one stands: `distance`, `elevation`, `lookat`, ..."""

FREE_CAMERA = ("distance", "azimuth", "elevation", "lookat", "trackbodyid", "type", "fixedcamid")


def is_mujoco(env: gymnasium.Env[Any, Any]) -> bool:
    """True if the world is one of MuJoCo's: its models have effects and cameras."""
    world: Any = env.unwrapped
    mujoco = sys.modules.get("mujoco")
    if mujoco is None:
        return False
    # Some compile their model at the first reset.
    return isinstance(model_of(world), mujoco.MjModel) or hasattr(world, "_mjcf_model")


def model_of(world: Any) -> Any:
    """A world's compiled model; None where it has none, or none yet."""
    with contextlib.suppress(ValueError):  # OGBench's say so before their first reset
        return getattr(world, "model", None)
    return None


class Drawing:
    """How a MuJoCo world is drawn, kept up where a reset compiles its model anew.

    Args:
        env: the world.
        size: of its images in pixels, where they can be chosen.
        camera: that is looked through; the world's own if None.
        effects: keep shadows, reflections, sky and haze.
        hidden: bodies and sites that are not drawn.

    Raises:
        ValueError: it has no such camera, body or site, or none that can be chosen.
    """

    def __init__(
        self, env: gymnasium.Env[Any, Any], *, size: int, camera: Camera | None, effects: bool,
        hidden: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self._env, self._size, self._camera, self._effects = env, size, camera, effects
        self._hidden = hidden
        self._model: Any = None
        self.keep_up()

    def keep_up(self) -> None:
        """Draw the model that there is now as was said."""
        world: Any = self._env.unwrapped
        model = model_of(world)
        if model is None or model is self._model:
            return
        self._model = model
        if not self._effects:
            strip_effects(model)
        hide(self._env, self._hidden)
        holder = next((w for w in _parts(world) if hasattr(w, "mujoco_renderer")), None)
        if holder is not None:
            known = holder.mujoco_renderer
            holder.mujoco_renderer = SmallRenderer(
                known, self._size, camera=self._camera, effects=self._effects
            )
            return
        if self._camera is not None:
            raise ValueError(
                f"camera={self._camera!r} cannot be chosen in {self._env}, which does not draw by "
                "gymnasium's renderer; it may take one of its own: env_options={...}"
            )
        if hasattr(world, "_render_width") and hasattr(world, "_renderer"):
            drawn = SUPERSAMPLE * self._size
            world._render_width = world._render_height = drawn
            model.vis.global_.offwidth = model.vis.global_.offheight = drawn
            if world._renderer is not None:
                world._renderer.close()
            world._renderer = None


class SmallRenderer:
    """In the place of gymnasium's `MujocoRenderer`: the same camera, our own drawing.

    Its viewers leave the textures of all others in disorder when they are thrown away, as they free
    them in whatever OpenGL context is current then; and they read depths that nobody asked for.

    Args:
        renderer: that is replaced.
        size: of its images in pixels.
        camera: that is looked through; that of `renderer` if None.
        effects: keep shadows, reflections, sky and haze.
    """

    def __init__(self, renderer: Any, size: int, *, camera: Camera | None, effects: bool) -> None:
        self.model, self.data, self.width, self.height = renderer.model, renderer.data, size, size
        self.default_cam_config = dict(renderer.default_cam_config or {})
        self.camera_id = renderer.camera_id
        self._effects, self._size = effects, size
        self._drawn: FastRenderer | None = None
        self._view: Any = None
        if camera is not None:
            self._choose(camera)

    def render(self, render_mode: str | None = "rgb_array") -> np.ndarray:
        """The world now: h w c, uint8."""
        if self._drawn is None:
            self._drawn = FastRenderer(self.model, self._size, effects=self._effects)
            self._view = self._placed()
        return self._drawn.render(self.data, self._view, groups=(0, 1, 2))

    def close(self) -> None:
        """Give the OpenGL context back."""
        if self._drawn is not None:
            self._drawn.close()
            self._drawn = None

    def _placed(self) -> Any:
        """The camera, as gymnasium places it, but whatever was reset first: by the model alone."""
        import mujoco

        if self.camera_id is not None and self.camera_id >= 0:
            return self.camera_id
        camera = mujoco.MjvCamera()
        camera.type, camera.fixedcamid = mujoco.mjtCamera.mjCAMERA_FREE, -1
        still = mujoco.MjData(self.model)
        mujoco.mj_forward(self.model, still)
        camera.lookat[:] = np.median(still.geom_xpos, axis=0)
        camera.distance = self.model.stat.extent
        for name, value in self.default_cam_config.items():
            if name == "lookat":
                camera.lookat[:] = value
            else:
                setattr(camera, name, value)
        return camera

    def _choose(self, camera: Camera) -> None:
        import mujoco

        if isinstance(camera, Mapping):
            if unknown := sorted(set(camera) - set(FREE_CAMERA)):
                raise ValueError(
                    f"a free camera has no {', '.join(unknown)}: choose from "
                    f"{', '.join(FREE_CAMERA)}"
                )
            self.default_cam_config |= camera
            self.camera_id = -1
            return
        kind, count = mujoco.mjtObj.mjOBJ_CAMERA, self.model.ncam
        names = [mujoco.mj_id2name(self.model, kind, i) for i in range(count)]
        if isinstance(camera, str) and camera not in names:
            raise ValueError(
                f"there is no camera '{camera}': choose from "
                f"{', '.join(filter(None, names)) or 'none'}, or place a free one, as in "
                "camera={distance:1,elevation:-90}"
            )
        number = names.index(camera) if isinstance(camera, str) else camera
        if not 0 <= number < count:
            raise ValueError(f"there is no camera {number}: the model has {count}")
        self.camera_id = number


def body_numbers(env: gymnasium.Env[Any, Any], names: Sequence[str]) -> dict[str, int]:
    """The numbers of a MuJoCo world's bodies by their names.

    Raises:
        ValueError: it has no such body.
    """
    if not names:
        return {}
    there = _named(env, "body")
    if missing := [name for name in names if name not in there]:
        raise ValueError(
            f"there is no body '{missing[0]}' in {env}: choose from {', '.join(there)}"
        )
    return {name: there[name] for name in names}


def hide(env: gymnasium.Env[Any, Any], names: Sequence[str]) -> None:
    """Draw bodies, with all that is fixed to them, and sites of a MuJoCo world no longer.

    Raises:
        ValueError: it has neither a body nor a site of a name.
    """
    if not names:
        return
    bodies, sites = _named(env, "body"), _named(env, "site")
    model = model_of(env.unwrapped)
    for name in names:
        if name in bodies:
            model.geom_rgba[model.geom_bodyid == bodies[name], 3] = 0
            model.site_rgba[model.site_bodyid == bodies[name], 3] = 0
        elif name in sites:
            model.site_rgba[sites[name], 3] = 0
        else:
            there = ", ".join({**bodies, **sites})
            raise ValueError(f"there is no body or site '{name}' in {env}: choose from {there}")


def _named(env: gymnasium.Env[Any, Any], kind: str) -> dict[str, int]:
    """The numbers of a world's bodies, but for the world itself, or of its sites, by name."""
    import mujoco

    model = model_of(env.unwrapped)
    if model is None:
        raise ValueError(f"bodies of {env} are not known before its first reset")
    which = {"body": mujoco.mjtObj.mjOBJ_BODY, "site": mujoco.mjtObj.mjOBJ_SITE}[kind]
    first, count = {"body": (1, model.nbody), "site": (0, model.nsite)}[kind]
    names = {mujoco.mj_id2name(model, which, i): i for i in range(first, count)}
    return {name: number for name, number in names.items() if name}


def _parts(world: Any) -> list[Any]:
    """A world, and the worlds inside it, as the mazes of gymnasium-robotics have."""
    return [world, *(v for v in vars(world).values() if isinstance(v, gymnasium.Env))]
