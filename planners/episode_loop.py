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

from .action_space import ActionSpace
from .environment import restores_state, step
from .infos import ENDED, copy_info, stack_infos, truth
from .starts import begun, require_shown, require_told

SUCCESS = ("success", "is_success")  # either info says that the goal is reached


class Policy(ABC):
    """Chooses the actions of an episode: a behaviour, or an agent that plans."""

    def begin(self, *, seed: int, options: Mapping[str, Any]) -> None:  # noqa: B027
        """How the world of the next episode was reset; for a policy that simulates that world."""

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:  # noqa: B027
        """Begin an episode; `seed` decides all its randomness, `info` is that of the reset."""

    @abstractmethod
    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action after seeing `observation` (h w c, uint8): a vector of `ActionSpace`."""

    def numbers(self) -> dict[str, float]:
        """Numbers counted since `reset`, such as decisions, their seconds, and model calls."""
        return {}

    def close(self) -> None:  # noqa: B027
        """Free what it holds; no episode follows."""


@dataclass(frozen=True)
class EpisodeRecord:
    """One episode of `t` steps, as it happened."""

    frames: np.ndarray  # t+1 h w c, uint8; no frames (0 h w c) once dropped to save memory
    actions: np.ndarray  # t r, float32: what the environment was given, see `ActionSpace.recorded`
    rewards: np.ndarray  # t, float64, as the environment gave them
    terminated: bool  # the environment ended it, not the time
    infos: dict[str, np.ndarray]  # name -> t+1 ..., one entry per frame; NaN where not told
    images: dict[str, np.ndarray]  # name -> h w c, one for the episode, such as `goal_image`
    seconds: np.ndarray  # t, wall-clock seconds that each action took to choose
    seed: int  # of the reset
    options: dict[str, Any] = field(default_factory=dict)  # of the reset
    restores: bool = False  # a reset can begin from the info `state`
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

    def first(self, frames: int) -> "EpisodeRecord":
        """Its first frames, at least one, as if its time had been up then."""
        return replace(
            self, frames=self.frames[:frames], actions=self.actions[: frames - 1],
            rewards=self.rewards[: frames - 1], seconds=self.seconds[: frames - 1],
            infos={name: values[:frames] for name, values in self.infos.items()},
            terminated=self.terminated and frames > self.steps,
        )  # fmt: skip

    def without_frames(self) -> "EpisodeRecord":
        """The record without its frames and images."""
        return replace(self, frames=self.frames[:0], images={})


def run_episode(
    env: gymnasium.Env,
    policy: Policy,
    *,
    seed: int,
    draws: int | None = None,
    options: Mapping[str, Any] | None = None,
    max_steps: int = 100,
    replay: np.ndarray | None = None,
    goal: Mapping[str, np.ndarray] | None = None,
    shown: np.ndarray | None = None,
    told: Mapping[str, np.ndarray] | None = None,
) -> EpisodeRecord:
    """Reset `env` with `seed` and `options`, and let `policy` act until it ends.

    The episode ends when the environment terminates or truncates it, or after `max_steps` steps.

    Args:
        env: It observes images.
        policy: Acts.
        seed: Of the reset.
        draws: Seed of the policy; that of the reset if None.
        options: Of the reset.
        max_steps: Most steps of the policy.
        replay: Recorded actions (n r) that are taken first; the episode begins after them.
        goal: Infos of the goal; the policy is told its `goal_image` instead of the environment's.
        shown: What has to be seen at the start (h w 3).
        told: Infos that have to be told there.

    Raises:
        EnvError: the environment fails, or shows or tells something else at the start.
    """
    space = ActionSpace.of(env.action_space)
    first, info = begun(env, space, seed=seed, options=options, replay=replay)
    if shown is not None:
        require_shown(first, shown, env)
    require_told(info, told or {}, env)
    policy.begin(seed=seed, options=options or {})
    asked = {name: value for name, value in (goal or {}).items() if name == "goal_image"}
    policy.reset(space, {**info, **asked}, seed=seed if draws is None else draws)
    frames, infos = [first], [copy_info(info)]
    actions: list[np.ndarray] = []
    rewards: list[float] = []
    seconds: list[float] = []
    terminated = truncated = False
    while not (terminated or truncated) and len(actions) < max_steps:
        start = time.perf_counter()
        action = space.given(policy(frames[-1].copy(), info))
        seconds.append(time.perf_counter() - start)
        actions.append(space.recorded(action).copy())
        frame, reward, terminated, truncated, info = step(
            env, action, number=len(actions), like=first
        )
        frames.append(frame)
        rewards.append(reward)
        infos.append(copy_info(info))
    recorded = stack_infos(infos)
    # Where an episode ended is worth keeping away from; an info of this name says it otherwise.
    ended = np.array([False] * len(actions) + [bool(terminated)])
    width = len(space.recorded_bounds[0])
    return EpisodeRecord(
        frames=np.stack(frames),
        actions=np.array(actions, np.float32).reshape(-1, width),
        rewards=np.array(rewards),
        terminated=terminated,
        infos={ENDED: ended} | recorded.arrays,
        images=recorded.images | asked,
        seconds=np.array(seconds),
        seed=seed,
        options=dict(options or {}),
        restores=restores_state(env),
        left_out=recorded.left_out,
        numbers=policy.numbers(),
    )
