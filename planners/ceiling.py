"""What a perfect model could do: the same planner and costs, its predictions made in the simulator.

Everything else is the learned model's: images are encoded by it, and costs and guardrails look at
its states. So what the ceiling does better than the planner is what better predictions are worth;
what it does not reach is for the encoder, the cost, the planner or the budget to answer for. It is
no competitor: nothing outside an evaluation has its world at hand to try plans out in.
"""

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

import gymnasium
import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, EnvError
from worldmodel.types import History

from .action_space import ActionSpace
from .carried_out import Script, ends_of_blocks, frames_of_states
from .dynamics import ImageDynamics
from .environment import name_of, reset, restores_state
from .episode_loop import EpisodeRecord, Policy, run_episode
from .image_states import encode_images
from .planner import Planner
from .starts import FEW, fields_apart, told_otherwise
from .tasks import Task

CEILING = "ceiling"  # its name among the results


class Simulator:
    """`Dynamics` of the world itself: candidates are carried out in it, and what it shows encoded.

    A candidate on whose way the environment ends stands still from there, as it would in truth.
    Where a world draws random numbers, all candidates meet those that follow its reset, which are
    not those that will come.

    Args:
        model: Encodes what is seen; its units of actions are searched in too.
        env: A world of its own, that no episode runs in.
        told: The info that tells the model what a body knows of itself, if it takes that.
    """

    def __init__(
        self, model: ImageDynamics, env: gymnasium.Env, *, told: str | None = None
    ) -> None:
        self._model, self._env, self._told = model, env, told
        # What `Problem.units` asks for, so that the planner searches as it does in the model.
        self.action_mean = getattr(model, "action_mean", None)
        self.action_std = getattr(model, "action_std", None)

    def begin(self, *, seed: int, options: Mapping[str, Any]) -> None:
        """Follow an episode in a world that was reset like this."""
        self._seed, self._options = seed, dict(options)
        # The present image, and those before it that a state is made of.
        self._seen: deque[np.ndarray] = deque(maxlen=self._model.state_frames)

    def stand(self, observation: np.ndarray, info: Mapping[str, Any]) -> None:
        """The next rollout begins where this is seen (h w c, uint8) and told."""
        self._seen.append(observation)
        self._state = np.asarray(info["state"])

    @torch.no_grad()
    def rollout(self, history: History, actions: Tensor) -> Tensor:
        """States (k t d) after each of the action blocks (k t a), whatever the history says.

        Raises:
            ConfigError: slopes are asked for.
            EnvError: the world is not where it was when its state is set again.
        """
        if actions.requires_grad:
            raise ConfigError(_NO_SLOPES.format("the planner"))
        blocks = rearrange(actions, "k t (n a) -> k (t n) a", n=self._model.action_block)
        before = np.array([*self._seen])[:-1]
        seen, known = [], []
        for candidate in blocks.detach().cpu().numpy():
            record = self._carry_out(candidate)
            frames = _standing(record.frames, len(candidate) + 1)
            seen.append(frames_of_states(self._model, frames, before=before))
            if self._told is not None:
                told = _standing(record.infos[self._told], len(candidate) + 1)
                known.append(told[ends_of_blocks(self._model, len(told))])
        states = encode_images(
            self._model, np.concatenate(seen), np.concatenate(known) if known else None
        )
        return rearrange(states, "(k t) d -> k t d", k=len(actions)).to(history.states)

    def _carry_out(self, actions: np.ndarray) -> EpisodeRecord:
        """What comes of actions (n a) from where the episode stands."""
        record = run_episode(
            self._env, Script(actions), seed=self._seed, max_steps=len(actions),
            options=self._options | {"state": self._state.tolist()},
        )  # fmt: skip
        begun = {name: values[0] for name, values in record.infos.items()}
        looks = fields_apart(record.frames[0], self._seen[-1])[0] > FEW
        if looks or told_otherwise(begun, {"state": self._state}) is not None:
            raise EnvError(
                f"environment '{name_of(self._env)}' {'shows' if looks else 'tells'} something "
                "else when the state that it told is set again, so plans cannot be tried out in "
                "it: leave out evaluation.ceiling="
            )
        return record

    def close(self) -> None:
        """Close the world."""
        self._env.close()


class CeilingPolicy(Policy):
    """A policy that plans in a simulator, which is kept where the episode is.

    Args:
        policy: Plans in it.
        simulator: Where it plans.
    """

    def __init__(self, policy: Policy, simulator: Simulator) -> None:
        self._policy, self._simulator = policy, simulator

    def begin(self, *, seed: int, options: Mapping[str, Any]) -> None:
        """Reset the simulator as the world."""
        self._simulator.begin(seed=seed, options=options)

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode."""
        self._policy.reset(space, info, seed=seed)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The next action (a), planned from the state that the world tells."""
        self._simulator.stand(observation, info)
        return self._policy(observation, info)

    def numbers(self) -> dict[str, float]:
        """Those of the policy that plans."""
        return self._policy.numbers()

    def close(self) -> None:
        """Close the simulator."""
        self._simulator.close()


def require_ceiling(make: Callable[[], gymnasium.Env], planner: Planner, task: Task) -> None:
    """Refuse a ceiling that cannot be, before anything is planned.

    Args:
        make: Makes the environment.
        planner: Whose ceiling it would be.
        task: One that it would be asked.

    Raises:
        ConfigError: the planner follows slopes, or the world's state cannot be set.
    """
    if planner.follows_slopes:
        raise ConfigError(_NO_SLOPES.format(type(planner).__name__))
    with make() as env:
        _, info = reset(env, seed=task.seed, options=task.options)
        if not restores_state(env) or "state" not in info:
            raise ConfigError(
                f"evaluation.ceiling= tries plans out in the simulator, and the state of "
                f"environment '{name_of(env)}' cannot be set (docs/worlds.md says what it has to "
                "tell for that); leave it out"
            )


_NO_SLOPES = (
    "evaluation.ceiling= puts the simulator in place of the model, and {} follows slopes, which a "
    "simulator does not have; take planner=cem, icem or mppi, for choices categorical or beam, or "
    "leave it out"
)


def _standing(values: np.ndarray, count: int) -> np.ndarray:
    """As many as `count`: what was last goes on where an episode ended early."""
    return np.concatenate([values, np.repeat(values[-1:], count - len(values), axis=0)])
