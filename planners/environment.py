"""The border to environments that other people made: how one is made, reset and stepped.

Whatever goes wrong on the other side is one line that names the environment.
"""

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from worldmodel.errors import EnvError, WorldModelError

from .action_space import ActionSpace


class View(Protocol):
    """Makes an environment that observes images of one that draws them."""

    def __call__(self, env: gymnasium.Env, *, size: int | None = None) -> gymnasium.Env:
        """The environment around `env`; `size` in pixels where it has not been told another."""
        ...

    @property
    def chosen(self) -> tuple[str, ...]:
        """The settings that are not as they are by default."""
        ...

    def prepare(self) -> None:
        """Do what has to be done before an environment is made."""
        ...

    def within(self, env_id: str) -> Mapping[str, float]:
        """How near which infos come to the goal's where it is reached; empty where not known."""
        ...


# Packages that bring environments, by the namespace or the module of their ids.
PACKAGES = {
    "gym_pusht": "gym-pusht",
    "gymnasium_robotics": "gymnasium-robotics",
    "ogbench": "ogbench",
    "mujoco": "mujoco",
    "pygame": "pygame",
    "stable_worldmodel": "stable-worldmodel",
}


def make_env(
    env: str, options: Mapping[str, Any] | None = None, view: View | None = None,
    *, size: int | None = None, steps: int | None = None,
) -> gymnasium.Env:  # fmt: skip
    """The environment with gymnasium id `env`, observing images.

    One that observes images by itself is taken as it is; of another one `view` makes one.

    Args:
        env: gymnasium id; the module that registers it may stand before a colon.
        options: Keyword arguments of the environment.
        view: As `worldmodel.envs.View`.
        size: Of the images, in pixels, where `view` has not been told another.
        steps: That an episode may have at least; the environment's own limit is raised to it.

    Raises:
        EnvError: no such environment, it needs a package that is not there, it takes no such
            options, its actions cannot be vectors, or it shows no images.
    """
    options = dict(options or {})
    if view is not None:
        view.prepare()
    made = _make(env, options)
    own = None if made.spec is None else made.spec.max_episode_steps
    if steps is not None and own is not None and own < steps:
        made.close()
        options["max_episode_steps"] = steps
        made = _make(env, options)
    try:
        if not observes_images(made):
            if view is None:
                raise EnvError(
                    f"environment '{env}' observes {made.observation_space}, not images (h w 3, "
                    "uint8); give make_env the view=worldmodel.envs.View() that draws it"
                )
            if made.render_mode != "rgb_array":
                made.close()
                made = _make(env, {"render_mode": "rgb_array"} | options)
            made = called(env, "drawing it", lambda: view(made, size=size))
        elif view is not None and view.chosen:
            raise EnvError(
                f"environment '{env}' observes images by itself, so view.{view.chosen[0]}= changes "
                "nothing: leave it out, or give the environment an option of its own (env_options)"
            )
        ActionSpace.of(made.action_space)
    except EnvError:
        made.close()
        raise
    return made


def _make(env: str, options: dict[str, Any]) -> gymnasium.Env:
    try:
        return gymnasium.make(env, disable_env_checker=True, **options)
    except (gymnasium.error.Error, ImportError) as cause:
        raise EnvError(f"cannot make environment '{env}': {cause}{_hint(env, cause)}") from cause
    except (TypeError, ValueError) as cause:
        raise EnvError(f"environment '{env}' does not take {options}: {cause}") from cause
    except Exception as cause:
        raise EnvError(f"cannot make environment '{env}': {_reason(cause)}") from cause


def _hint(env: str, cause: Exception) -> str:
    module = getattr(cause, "name", None) or env.partition(":")[0].partition("/")[0]
    if package := PACKAGES.get(str(module).partition(".")[0]):
        return f"; install {package}, or with all worlds that are known: worldmodel[worlds]"
    if isinstance(cause, ImportError):
        return "; PYTHONPATH=. lets Python find modules of this folder"
    if isinstance(cause, gymnasium.error.NamespaceNotFound | gymnasium.error.NameNotFound):
        return (
            "; the module that registers it stands before a colon, as in "
            "env=worldmodel.envs:worldmodel/TwoRoom-v0"
        )
    return ""


def observes_images(env: gymnasium.Env) -> bool:
    """True if its observations are `h w 3`, uint8."""
    space = env.observation_space
    return (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] == 3
    )


def called(env: str, doing: str, function: Callable[[], Any]) -> Any:
    """What an environment's function returns; whatever it raises is one line.

    Raises:
        EnvError: it raised something; named are the environment and what it was doing.
    """
    try:
        return function()
    except WorldModelError:
        raise
    except Exception as cause:
        raise EnvError(f"environment '{env}' failed in {doing}: {_reason(cause)}") from cause


def _reason(cause: Exception) -> str:
    text = str(cause).strip().splitlines()
    return f"{type(cause).__name__}: {text[0]}" if text else type(cause).__name__


def reset(
    env: gymnasium.Env, *, seed: int, options: Mapping[str, Any] | None = None
) -> tuple[np.ndarray, dict[str, Any]]:
    """A copy of the first image, and the infos.

    Some worlds choose by numpy's global generator, as OGBench's do among their tasks; the seed
    decides that too, and the caller's random numbers stay as they are.

    Raises:
        EnvError: the environment failed, or returned something else.
    """
    name, before = name_of(env), np.random.get_state()
    np.random.seed(seed % 2**32)
    try:
        found = called(
            name, f"its reset with seed {seed}",
            lambda: env.reset(seed=seed, options=None if options is None else dict(options)),
        )  # fmt: skip
    finally:
        np.random.set_state(before)
    if not (isinstance(found, tuple) and len(found) == 2 and isinstance(found[1], Mapping)):
        raise EnvError(
            f"the reset of environment '{name}' must return (observation, info), as gymnasium's "
            f"do; it returned {_kind(found)}"
        )
    return image(found[0], name), dict(found[1])


def step(
    env: gymnasium.Env, action: Any, *, number: int, like: np.ndarray
) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
    """A copy of the next image, the reward, if it is over and why, and the infos.

    Args:
        env: It observes images.
        action: As its space takes it.
        number: Of the step, for messages.
        like: The first image; all are of one size.

    Raises:
        EnvError: the environment failed, or returned something else.
    """
    name = name_of(env)
    found = called(name, f"step {number}", lambda: env.step(action))
    if not (isinstance(found, tuple) and len(found) == 5 and isinstance(found[4], Mapping)):
        raise EnvError(
            f"a step of environment '{name}' must return (observation, reward, terminated, "
            f"truncated, info), as gymnasium's do; it returned {_kind(found)}"
        )
    observation, reward, terminated, truncated, info = found
    shown = image(observation, name, like=like)
    given = np.asarray(reward)
    if given.size != 1 or given.dtype.kind not in "biuf" or not np.isfinite(given).all():
        raise EnvError(
            f"the reward of environment '{name}' must be a finite number, step {number} gave "
            f"{reward!r}"
        )
    return shown, float(given.item()), bool(terminated), bool(truncated), dict(info)


def restores_state(env: gymnasium.Env) -> bool:
    """True if the environment says that a reset can begin from the info `state` that it tells."""
    return bool(env.has_wrapper_attr("restores_state") and env.get_wrapper_attr("restores_state"))


def name_of(env: gymnasium.Env) -> str:
    """The id that it was made with, or its class."""
    return env.spec.id if env.spec is not None else type(env.unwrapped).__name__


def image(observation: Any, name: str, *, like: np.ndarray | None = None) -> np.ndarray:
    """A copy of an observation, which must be an image of the size of the first one.

    Raises:
        EnvError: it is not.
    """
    try:
        frame = np.array(observation)
    except ValueError as cause:
        raise EnvError(f"environment '{name}' observes no array: {_reason(cause)}") from cause
    wanted = frame.shape if like is None else like.shape
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != wanted or frame.shape[2] != 3:
        raise EnvError(
            f"observations must be images (h w 3, uint8) of one size, environment '{name}' "
            f"returned {frame.shape} {frame.dtype}"
            + ("" if like is None else f" after {like.shape}")
        )
    return frame


def _kind(found: Any) -> str:
    if isinstance(found, tuple):
        return f"a tuple of {len(found)}"
    return type(found).__name__
