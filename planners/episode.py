"""The one loop that runs an environment, for collection and for evaluation alike.

Sees an environment only as a `gymnasium.Env` whose observations are images. Knows nothing of
models: whatever acts is a `Policy`.
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


class Policy(ABC):
    """Whatever chooses the next action of an episode: a behaviour, or an agent that plans."""

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:  # noqa: B027
        """Begin an episode; `seed` decides all randomness of it, `info` is that of the reset."""

    @abstractmethod
    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a, float32) after seeing `observation` (h w c, uint8)."""

    def numbers(self) -> dict[str, float]:
        """What the policy counted since `reset`: decisions, their seconds, model calls."""
        return {}


@dataclass(frozen=True)
class EpisodeRecord:
    """What happened in one episode of `t` steps."""

    frames: np.ndarray  # t+1 h w c, uint8; no frames (0 h w c) once dropped to save memory
    actions: np.ndarray  # t a, float32, as the environment took them
    infos: dict[str, np.ndarray]  # name -> t+1 ..., one entry per frame
    stills: dict[str, np.ndarray]  # name -> what the reset alone told, such as `goal_image`
    success: bool  # whether any info said so
    seconds: np.ndarray  # t, wall-clock seconds that each action took to choose
    seed: int  # of the reset
    numbers: dict[str, float] = field(default_factory=dict)  # what the policy counted

    @property
    def steps(self) -> int:
        """Environment steps taken."""
        return len(self.actions)

    def ever(self, name: str) -> bool:
        """Whether the info `name` was ever true; false where the environment has no such info."""
        return bool(self.infos[name].any()) if name in self.infos else False

    def without_frames(self) -> "EpisodeRecord":
        """The same record without its images."""
        return replace(self, frames=self.frames[:0], stills={})


def make_env(env: str, options: Mapping[str, Any] | None = None) -> gymnasium.Env:
    """The environment with gymnasium id `env`, made with `options` as keyword arguments.

    Raises:
        EnvError: no such environment, or its observations are not `h w 3` uint8 images.
    """
    try:
        made = gymnasium.make(env, disable_env_checker=True, **dict(options or {}))
    except (gymnasium.error.Error, ModuleNotFoundError) as cause:
        raise EnvError(f"cannot make environment '{env}': {cause}") from cause
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
            "wrap it in worldmodel.envs.PixelWorld"
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
    frames, infos = [np.asarray(observation)], [info]
    actions: list[np.ndarray] = []
    seconds: list[float] = []
    ended = False
    while not ended and len(actions) < max_steps:
        start = time.perf_counter()
        action = _inside(policy(frames[-1], infos[-1]), space)
        seconds.append(time.perf_counter() - start)
        observation, _, terminated, truncated, info = env.step(action)
        actions.append(action)
        frames.append(np.asarray(observation))
        infos.append(info)
        ended = terminated or truncated
    common, stills = _arrays(infos)
    return EpisodeRecord(
        frames=np.stack(frames),
        actions=np.stack(actions) if actions else np.zeros((0, *space.shape), np.float32),
        infos=common,
        stills=stills,
        success=bool(common["success"].any()) if "success" in common else False,
        seconds=np.array(seconds),
        seed=seed,
        numbers=policy.numbers(),
    )


def _box_actions(env: gymnasium.Env) -> Box:
    space = env.action_space
    if not (isinstance(space, Box) and len(space.shape) == 1):
        raise EnvError(f"actions must be a Box of one axis (a), the environment has {space}")
    return space


def _inside(action: np.ndarray, space: Box) -> np.ndarray:
    action = np.asarray(action, dtype=np.float32)
    if action.shape != space.shape or not np.isfinite(action).all():
        raise EnvError(f"the policy must return {space.shape} finite numbers, got {action}")
    return np.clip(action, space.low, space.high).astype(np.float32)


def _arrays(infos: list[dict[str, Any]]) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """What every step told, stacked over time, and what the reset alone told."""
    numeric = {
        name: np.asarray(value)
        for name, value in infos[0].items()
        if np.asarray(value).dtype.kind in "biuf"
    }
    common, stills = {}, {}
    for name, first in numeric.items():
        if all(name in info for info in infos) and not name.endswith("_image"):
            common[name] = np.stack([np.asarray(info[name], dtype=first.dtype) for info in infos])
        else:
            stills[name] = first
    return common, stills
