"""Off-screen MuJoCo frames on any machine: find an OpenGL that works, and render fast with it.

MuJoCo picks its OpenGL when it is imported, from the variable `MUJOCO_GL`. `choose_gl` sets the
variable where the user has not, and has MuJoCo look at it again where it was imported before.
"""

import contextlib
import functools
import importlib
import os
import subprocess
import sys
import threading
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.error import Error

if TYPE_CHECKING:
    import mujoco

BACKENDS = ("egl", "osmesa", "glfw")  # in the order in which they are tried
INSTALL_HINT = (
    "no off-screen OpenGL works here (tried egl, osmesa, glfw): install one, on Debian or Ubuntu "
    "with `apt-get install libegl1 libgl1` (or `libosmesa6`), then run again"
)
PROBE_SECONDS = 60  # a driver that hangs must not hang the program
SUPERSAMPLE = 2  # rendered pixels per pixel and axis: half the price of 4x multisampling
# The modules of MuJoCo 3 and 4 that read the variable; a renderer asks them when it is made.
_CHOOSING = ("mujoco.gl_context", "mujoco.rendering.classic.gl_context")
_PROBE = """
import mujoco
ball = '<mujoco><worldbody><geom size="1" rgba="1 1 1 1"/></worldbody></mujoco>'
model = mujoco.MjModel.from_xml_string(ball)
data = mujoco.MjData(model)
mujoco.mj_forward(model, data)
with mujoco.Renderer(model, 8, 8) as renderer:
    renderer.update_scene(data)
    assert renderer.render().any(), "it draws nothing"
"""


class RenderingError(Error, RuntimeError):
    """No OpenGL on this machine draws off screen."""


@functools.cache
def probe_gl(backend: str) -> str | None:
    """Try to draw a frame with `backend` in a process of its own.

    Args:
        backend: a value of `MUJOCO_GL`, such as one of `BACKENDS`.

    Returns:
        None if it works, otherwise the last line of the error.
    """
    env = os.environ | {"MUJOCO_GL": backend}
    # PyOpenGL's own choice must not contradict the one that is tried.
    env.pop("PYOPENGL_PLATFORM", None)
    command = [sys.executable, "-c", _PROBE]
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"no answer within {PROBE_SECONDS} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines()
    return lines[-1] if lines else f"exit status {done.returncode}"


def choose_gl() -> str:
    """Set `MUJOCO_GL` to the first backend that works, unless the user has set it.

    The choice is made once and inherited by child processes.

    Returns:
        The value of `MUJOCO_GL`; empty where the system has only one way, as macOS has.

    Raises:
        RenderingError: no backend works; the message says what to install.
    """
    chosen = os.environ.get("MUJOCO_GL", "")
    if chosen or sys.platform != "linux":
        return chosen
    for backend in BACKENDS:
        if probe_gl(backend) is None:
            os.environ["MUJOCO_GL"] = backend
            for name in _CHOOSING:
                if name in sys.modules:
                    importlib.reload(sys.modules[name])
            return backend
    raise RenderingError(INSTALL_HINT)


def strip_effects(model: "mujoco.MjModel") -> None:
    """Turn off shadows, reflections and multisampling in `model`, which slow down software OpenGL.

    For models of other people's environments, before their first frame is rendered:
    `strip_effects(env.unwrapped.model)`.
    """
    model.vis.quality.offsamples = 0
    model.vis.quality.shadowsize = 0
    model.light_castshadow[:] = 0
    model.mat_reflectance[:] = 0


def import_triton_first() -> None:
    """Load triton's LLVM before the one that Mesa's software OpenGL brings.

    In the other order, the first optimiser that PyTorch builds crashes the process.
    """
    with contextlib.suppress(ImportError):  # a PyTorch without triton has nothing to clash with
        importlib.import_module("triton")


class FastRenderer:
    """Square frames of one model from its cameras, as fast as software OpenGL allows.

    Frames are drawn twice as large and averaged, so that an edge shows where it lies to a
    fraction of a pixel.

    Args:
        model: a compiled model; its effects are turned off (see `strip_effects`).
        size: height and width in pixels.
        effects: leave them as they are.
    """

    def __init__(self, model: "mujoco.MjModel", size: int, *, effects: bool = False) -> None:
        import_triton_first()
        choose_gl()
        import mujoco

        if not effects:
            strip_effects(model)
        room = model.vis.global_
        drawn = SUPERSAMPLE * size
        room.offwidth, room.offheight = max(room.offwidth, drawn), max(room.offheight, drawn)
        self._renderer = mujoco.Renderer(model, drawn, drawn)
        for flag in () if effects else ("SHADOW", "REFLECTION", "SKYBOX", "HAZE", "FOG"):
            self._renderer.scene.flags[getattr(mujoco.mjtRndFlag, f"mjRND_{flag}")] = False
        self._option = mujoco.MjvOption()

    def render(
        self,
        data: "mujoco.MjData",
        camera: "str | int | mujoco.MjvCamera",
        *,
        groups: tuple[int, ...] = (0, 1),
    ) -> np.ndarray:
        """One frame of the world in state `data`; only geoms in `groups` are drawn.

        Returns:
            A new array `h w c`, uint8.
        """
        self._option.geomgroup[:] = 0
        self._option.geomgroup[list(groups)] = 1
        self._renderer.update_scene(data, camera, self._option)
        return _average(self._renderer.render())

    def upload_textures(self) -> None:
        """Draw with what the model's textures have become."""
        import mujoco

        for texture in range(self._renderer.model.ntex):
            mujoco.mjr_uploadTexture(self._renderer.model, self._renderer._mjr_context, texture)

    def close(self) -> None:
        """Give the OpenGL context back."""
        self._renderer.close()


def _average(frame: np.ndarray) -> np.ndarray:
    # Mean of each square of pixels, rounded; strided sums are five times faster than a reshape.
    k = SUPERSAMPLE
    total = np.full((len(frame) // k, len(frame) // k, 3), k * k // 2, np.uint16)
    for row in range(k):
        for column in range(k):
            total += frame[row::k, column::k]
    return (total // (k * k)).astype(np.uint8)


@functools.lru_cache(maxsize=8)
def _shared_renderer(model: Any, size: int, pid: int, thread: int) -> FastRenderer:
    return FastRenderer(model, size)


def fast_renderer(model: "mujoco.MjModel", size: int) -> FastRenderer:
    """The renderer of `model` at `size`, shared by everyone in this thread who asks for it.

    An OpenGL context is expensive to make and belongs to one thread of one process.
    """
    return _shared_renderer(model, size, os.getpid(), threading.get_ident())
