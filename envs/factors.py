"""Factors of variation: what of a MuJoCo world differs between episodes, by the seed of the reset.

How much is told as an info, `factor_NAME`, so that a model can be asked where it fails.
"""

import colorsys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import gymnasium
import numpy as np

from .mujoco_drawing import model_of

Amount: TypeAlias = float | Sequence[float]
"""A number, or the two between which one is drawn for each episode."""

ORIGINALS = (
    "light_diffuse", "light_ambient", "geom_rgba", "mat_rgba", "geom_size", "geom_friction",
    "body_mass", "body_inertia", "dof_damping", "cam_fovy",
)  # fmt: skip


def _light(model: Any, amount: float) -> None:
    """Times as bright."""
    model.light_diffuse[:] *= amount
    model.light_ambient[:] *= amount
    for part in ("diffuse", "ambient"):
        light = getattr(model.vis.headlight, part)
        light[:] = light * amount


def _colour(model: Any, amount: float) -> None:
    """Hues turned by a share of the circle; what is grey stays grey."""
    for colours in (model.geom_rgba, model.mat_rgba):
        for colour in colours:
            hue, saturation, value = colorsys.rgb_to_hsv(*colour[:3])
            colour[:3] = colorsys.hsv_to_rgb((hue + amount) % 1, saturation, value)


def _size(model: Any, amount: float) -> None:
    """Times as large, all that can move."""
    moves = model.body_weldid[model.geom_bodyid] != 0
    model.geom_size[moves] *= amount


def _mass(model: Any, amount: float) -> None:
    """Times as heavy."""
    model.body_mass[:] *= amount
    model.body_inertia[:] *= amount


def _friction(model: Any, amount: float) -> None:
    """Times as rough."""
    model.geom_friction[:] *= amount


def _damping(model: Any, amount: float) -> None:
    """Times as much damping of the joints."""
    model.dof_damping[:] *= amount


def _camera(model: Any, amount: float) -> None:
    """Times as wide a view, of the cameras of the model; free ones see as wide as `vis` says."""
    model.cam_fovy[:] *= amount
    model.vis.global_.fovy *= amount


FACTORS: Mapping[str, Callable[[Any, float], None]] = {
    "light": _light, "colour": _colour, "size": _size, "mass": _mass, "friction": _friction,
    "damping": _damping, "camera": _camera,
}  # fmt: skip
"""What can be varied, and how a model is changed by an amount."""


class Factors:
    """Varies a MuJoCo world at each reset.

    Args:
        env: the world.
        amounts: of each factor, a number or the two between which one is drawn.

    Raises:
        ValueError: there is no such factor, or an amount is none.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], amounts: Mapping[str, Amount]) -> None:
        self._env = env
        self._ranges = {name: _range(name, amount) for name, amount in amounts.items()}
        self._random = np.random.default_rng()
        self._model: Any = None
        self._as_made: dict[str, Any] = {}

    def vary(self, seed: int | None, fixed: Mapping[str, float]) -> dict[str, np.ndarray]:
        """Change the model as it was made by new amounts; what they are, as infos.

        Args:
            seed: of the reset; None goes on with the last one.
            fixed: amounts of this episode that are not drawn.

        Raises:
            ValueError: there is no such factor.
        """
        for name, amount in fixed.items():
            _range(name, amount)
        if seed is not None:
            self._random = np.random.default_rng([seed, len(FACTORS)])
        # All are drawn, so that one that is fixed changes no other.
        drawn = {name: self._random.uniform(*ends) for name, ends in self._ranges.items()}
        amounts = drawn | {name: float(amount) for name, amount in fixed.items()}
        self._restore()
        for name, amount in amounts.items():
            FACTORS[name](self._model, amount)
        self._recompute()
        return {f"factor_{name}": np.array(amount) for name, amount in amounts.items()}

    def _restore(self) -> None:
        """The model as it was made: what changes it once must not do so twice."""
        model = model_of(self._env.unwrapped)
        if model is not self._model:
            self._model = model
            self._as_made = {name: getattr(model, name).copy() for name in ORIGINALS}
            head = model.vis.headlight
            self._as_made |= {
                "diffuse": head.diffuse.copy(), "ambient": head.ambient.copy(),
                "fovy": model.vis.global_.fovy,
            }  # fmt: skip
            return
        for name in ORIGINALS:
            getattr(model, name)[:] = self._as_made[name]
        model.vis.headlight.diffuse[:] = self._as_made["diffuse"]
        model.vis.headlight.ambient[:] = self._as_made["ambient"]
        model.vis.global_.fovy = self._as_made["fovy"]

    def _recompute(self) -> None:
        """What MuJoCo derives from masses and sizes; the state of the world stays."""
        import mujoco

        model, data = self._model, self._env.unwrapped.data  # type: ignore[attr-defined]
        which = mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(mujoco.mj_stateSize(model, which))
        mujoco.mj_getState(model, data, state, which)
        mujoco.mj_setConst(model, data)
        mujoco.mj_setState(model, data, state, which)
        mujoco.mj_forward(model, data)


def _range(name: str, amount: Amount) -> tuple[float, float]:
    if name not in FACTORS:
        raise ValueError(f"there is no factor '{name}': choose from {', '.join(FACTORS)}")
    ends = np.atleast_1d(np.asarray(amount, np.float64))
    if ends.shape not in ((1,), (2,)) or not np.isfinite(ends).all() or ends[0] > ends[-1]:
        raise ValueError(
            f"factors.{name} is a number or the two between which it lies, as in [0.7,1.3]; got "
            f"{amount}"
        )
    if name != "colour" and ends[0] <= 0:
        raise ValueError(f"factors.{name} says how many times as much, above 0; got {amount}")
    return float(ends[0]), float(ends[-1])
