"""The one loop that runs an environment, for collection and for evaluation alike.

An environment is a `gymnasium.Env` whose observations are images, and what acts in it is a
`Policy`; models are not known here. What is recorded is copied at once, so that nothing that the
environment or the policy does to its arrays later can change it.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box

from worldmodel.errors import EnvError

from .infos import copy_info, stack_infos, truth

SUCCESS = ("success", "is_success")  # either info says that the goal is reached


class Policy(ABC):
    """Chooses the actions of an episode: a behaviour, or an agent that plans."""

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:  # noqa: B027
        """Begin an episode; `seed` decides all its randomness, `info` is that of the reset."""

    @abstractmethod
    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a, float32) after seeing `observation` (h w c, uint8)."""

    def numbers(self) -> dict[str, float]:
        """Numbers counted since `reset`, such as decisions, their seconds, and model calls."""
        return {}


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode of `t` steps, as it happened."""

    frames: np.ndarray  # t+1 h w c, uint8; no frames (0 h w c) once dropped to save memory
    actions: np.ndarray  # t a, float32, as the environment took them
    infos: dict[str, np.ndarray]  # name -> t+1 ..., one entry per frame; NaN where not told
    images: dict[str, np.ndarray]  # name -> h w c, one for the episode, such as `goal_image`
    seconds: np.ndarray  # t, wall-clock seconds that each action took to choose
    seed: int  # of the reset
    left_out: dict[str, str] = field(default_factory=dict)  # infos not recorded, and why
    numbers: dict[str, float] = field(default_factory=dict)  # counted by the policy

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return len(self.actions)

    @property
    def success(self) -> bool | None:
        """True if any info said so, None if no info told of success."""
        return self.ever(*SUCCESS)

    def ever(self, *names: str, frames: slice = slice(None)) -> bool | None:
        """True if an info of these names was true in any of the frames, None if none told of it."""
        found = [truth(self.infos[name][frames]) for name in names if name in self.infos]
        told = [value for value in found if value is not None]
        return any(told) if told else None

    def without_frames(self) -> "EpisodeRecord":
        """The record without its frames and images."""
        return replace(self, frames=self.frames[:0], images={})


def make_env(env: str, options: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """The environment with gymnasium id `env`, made with `options` as keyword arguments.

    Raises:
        EnvError: no such environment, or its observations are not `h w 3` uint8 images.
    """
    try:
        made = gymnasium.make(env, disable_env_checker=True, **dict(options or {}))
    except (gymnasium.error.Error, ModuleNotFoundError) as cause:
        hint = ""
        if isinstance(cause, ModuleNotFoundError):
            hint = " PYTHONPATH=. lets Python find modules of this folder."
        elif isinstance(cause, gymnasium.error.NamespaceNotFound | gymnasium.error.NameNotFound):
            hint = (
                " The module that registers it stands before a colon, as in "
                "env=worldmodel.envs:worldmodel/TwoRoom-v0."
            )
        raise EnvError(f"cannot make environment '{env}': {cause}{hint}") from cause
    except (TypeError, ValueError) as cause:
        raise EnvError(
            f"environment '{env}' does not take {dict(options or {})}: {cause}"
        ) from cause
    space = made.observation_space
    if not (
        isinstance(space, Box)
        and space.dtype == np.uint8
        and len(space.shape) == 3
        and space.shape[-1] == 3
    ):
        made.close()
        raise EnvError(
            f"environment '{env}' observes {space}, not images (h w 3, uint8); "
            "wrap it in worldmodel.envs.PixelWorld, as docs/costs.md shows"
        )
    _box_actions(made)
    return made


def run_episode(
    env: gymnasium.Env,
    policy: Policy,
    *,
    seed: int,
    options: Mapping[str, Any] | None = None,
    max_steps: int = 100,
) -> EpisodeRecord:
    """Reset `env` with `seed` and `options`, and let `policy` act until it ends.

    The episode ends when the environment terminates or truncates it, or after `max_steps` steps.
    """
    space = _box_actions(env)
    observation, info = env.reset(seed=seed, options=None if options is None else dict(options))
    policy.reset(space, info, seed=seed)
    frames, infos = [_frame(observation)], [copy_info(info)]
    actions: list[np.ndarray] = []
    seconds: list[float] = []
    ended = False
    while not ended and len(actions) < max_steps:
        start = time.perf_counter()
        action = _inside(policy(frames[-1].copy(), info), space)
        seconds.append(time.perf_counter() - start)
        observation, _, terminated, truncated, info = env.step(action.copy())
        actions.append(action)
        frames.append(_frame(observation, like=frames[0]))
        infos.append(copy_info(info))
        ended = terminated or truncated
    recorded = stack_infos(infos)
    return EpisodeRecord(
        frames=np.stack(frames),
        actions=np.stack(actions) if actions else np.zeros((0, *space.shape), np.float32),
        infos=recorded.arrays,
        images=recorded.images,
        seconds=np.array(seconds),
        seed=seed,
        left_out=recorded.left_out,
        numbers=policy.numbers(),
    )


def _box_actions(env: gymnasium.Env) -> Box:
    space = env.action_space
    if not (isinstance(space, Box) and len(space.shape) == 1):
        raise EnvError(f"actions must be a Box of one axis (a), the environment has {space}")
    return space


def _frame(observation: Any, *, like: np.ndarray | None = None) -> np.ndarray:
    """A copy of an observation, which must be an image of the size of the first one."""
    frame = np.array(observation)
    wanted = frame.shape if like is None else like.shape
    if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape != wanted:
        raise EnvError(
            "observations must be images (h w c, uint8) of one size, the environment returned "
            f"{frame.shape} {frame.dtype}" + ("" if like is None else f" after {like.shape}")
        )
    return frame


def _inside(action: np.ndarray, space: Box) -> np.ndarray:
    action = np.asarray(action, dtype=np.float32)
    if action.shape != space.shape or not np.isfinite(action).all():
        raise EnvError(f"the policy must return {space.shape} finite numbers, got {action}")
    return np.clip(action, space.low, space.high).astype(np.float32)
