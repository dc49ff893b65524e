"""Receding horizon: observe, plan, carry out the first block of the plan, observe again."""

from collections import deque
from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, EnvError, ShapeError
from worldmodel.types import Clip, History

from .action_space import ActionSpace
from .costs.cost import Cost
from .dynamics import (
    Dynamics,
    ImageDynamics,
    described_actions,
    learned_choices,
    told_proprioception,
)
from .episode_loop import Policy
from .factory import Factory, made_for
from .guardrails.guardrail import Guardrail
from .image_states import fit_square
from .planner import Plan, Planner
from .problem import Problem


class Agent:
    """Chooses actions by planning in a world model.

    Args:
        model: Encodes images and predicts states.
        planner: Searches for actions.
        costs: What a plan should make small; bound to the model here.
        guardrails: What a plan must not cross; bound to the model here.
        replan_every: Action blocks that are carried out before the next plan.
        max_history: Most states of the history that the model predicts from.
        seed: Decides all the randomness of the agent.
        predicts: Predicts states in place of the model, which then only encodes; see `ceiling.py`.

    Attributes:
        plan: The latest plan; None before the first.
        plans: Number of plans since `reset`.
        problem: What the latest plan was asked; None before the first.
    """

    def __init__(
        self,
        model: ImageDynamics,
        planner: Planner,
        *,
        costs: Sequence[Cost],
        guardrails: Sequence[Guardrail] = (),
        replan_every: int = 1,
        max_history: int = 3,
        seed: int = 0,
        predicts: Dynamics | None = None,
    ) -> None:
        if min(replan_every, max_history) < 1:
            raise ConfigError(
                "replan_every and max_history must be at least 1, "
                f"got {replan_every} and {max_history}"
            )
        if not costs:
            raise ConfigError("an agent needs at least one cost, otherwise any action will do")
        if any(isinstance(part, Factory) for part in (*costs, *guardrails)):
            raise ConfigError("an agent takes what a Factory makes: call its for_episode(info)")
        self._model, self._planner = model, planner
        self._predicts: Dynamics = model if predicts is None else predicts
        self._costs = [cost.bind(model) for cost in costs]
        self._guardrails = [guardrail.bind(model) for guardrail in guardrails]
        self._replan_every, self._max_history = replan_every, max_history
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget all observations and actions; the next observation begins an episode."""
        self._generator = torch.Generator().manual_seed(self._seed)
        self._frames: deque[Tensor] = deque(maxlen=self._model.state_frames)
        self._known: Tensor | None = None
        self._states: deque[Tensor] = deque(maxlen=self._max_history)
        self._blocks: deque[Tensor] = deque(maxlen=self._max_history)
        self._ahead: deque[Tensor] = deque()  # blocks of the plan that are still to be done
        self._actions: deque[Tensor] = deque()  # of the block that is being done
        self._warm_start: Tensor | None = None
        self.plan: Plan | None = None
        self.problem: Problem | None = None
        self.plans = 0

    def act(self, observation: np.ndarray, proprioception: np.ndarray | None = None) -> np.ndarray:
        """The next action (a, float32) after `observation` (h w 3, uint8).

        Call it once for every environment step. It plans at the first step of each
        `replan_every` action blocks, and at the others only takes in the observation.

        Args:
            observation: What is seen now.
            proprioception: What a body knows of itself now, for a model that takes it.
        """
        self._take_in(observation)
        if proprioception is not None:
            self._known = torch.as_tensor(np.asarray(proprioception)).float().flatten()
        if not self._actions:
            self._states.append(self._encode())
            if not self._ahead:
                self._plan_ahead()
            block = self._ahead.popleft()
            self._blocks.append(block)
            self._actions.extend(rearrange(block, "(t a) -> t a", a=self._model.action_dim))
        return self._actions.popleft().cpu().numpy().astype(np.float32)

    def _take_in(self, observation: np.ndarray) -> None:
        frame = torch.as_tensor(observation)
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != torch.uint8:
            raise ShapeError(
                f"an observation must be h w 3, uint8, got {tuple(frame.shape)} {frame.dtype}"
            )
        frame = rearrange(frame, "h w c -> c h w").clone()
        # The world began at rest: the frames before the first one looked like it.
        missing = self._model.state_frames - len(self._frames) if not self._frames else 1
        self._frames.extend([frame] * missing)

    @torch.no_grad()
    def _encode(self) -> Tensor:
        """The state (d) that the latest frames show."""
        frames = fit_square(torch.stack(list(self._frames))[None], self._model.size)
        clip = Clip.from_uint8(frames)
        if self._known is None:
            return self._model.states(clip)[0, -1]
        return self._model.states(clip, self._known[None, None])[0, -1]

    def _plan_ahead(self) -> None:
        states = torch.stack(list(self._states))
        block = self._model.action_dim * self._model.action_block
        # One block fewer than states: the last state is where the next block starts.
        done = list(self._blocks)[len(self._blocks) + 1 - len(states) :]
        actions = torch.stack(done) if done else states.new_zeros(0, block)
        self.problem = Problem(
            self._predicts,
            History(states, actions),
            costs=self._costs,
            guardrails=self._guardrails,
        )
        self.plan = self._planner.plan(
            self.problem, generator=self._generator, warm_start=self._warm_start
        )
        self.plans += 1
        self._ahead.extend(self.plan.actions[: self._replan_every])
        self._warm_start = self.plan.handed_on(done=len(self._ahead))


@dataclass(frozen=True)
class AgentSettings:
    """How an agent acts, besides its planner, its main cost and its guardrail."""

    replan_every: int = 1  # see `Agent`
    max_history: int = 3  # see `Agent`
    more_costs: Sequence[Cost | Factory[Cost]] = ()
    more_guardrails: Sequence[Guardrail | Factory[Guardrail]] = ()
    proprioception: str | None = None  # info that tells it, for a model that names none


class PlanningPolicy(Policy):
    """A fresh `Agent` for each episode, for `run_episode`; keeps within the action space.

    Args:
        model: Encodes images and predicts states.
        planner: Searches for actions.
        costs: What a plan should make small, or factories that make it for each episode.
        guardrails: What a plan must not cross, or factories alike.
        replan_every: See `Agent`.
        max_history: See `Agent`.
        proprioception: The info that tells what a body knows of itself, for a model that takes it
            and does not name it.

    Attributes:
        model: As given.
        agent: That of the present episode.
    """

    agent: Agent

    def __init__(
        self,
        model: ImageDynamics,
        planner: Planner,
        *,
        costs: Sequence[Cost | Factory[Cost]],
        guardrails: Sequence[Guardrail | Factory[Guardrail]] = (),
        replan_every: int = 1,
        max_history: int = 3,
        proprioception: str | None = None,
    ) -> None:
        self._predicts: Dynamics | None = None
        self._told = told_proprioception(model) or proprioception
        self.model, self._planner, self._costs = model, planner, costs
        # Bound once for all episodes: fitting a guardrail to images takes a while.
        self._guardrails = [g if isinstance(g, Factory) else g.bind(model) for g in guardrails]
        self._replan_every, self._max_history = replan_every, max_history

    def predicting_by(self, dynamics: Dynamics) -> "PlanningPolicy":
        """The same policy, but that `dynamics` predict in place of the model, which encodes."""
        other = copy(self)
        other._predicts = dynamics
        return other

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode: its own costs, its own randomness.

        Raises:
            EnvError: the model has learned actions of another kind.
        """
        learned = learned_choices(self.model)
        if space.dim != self.model.action_dim or learned not in (None, space.choices):
            raise EnvError(
                f"the environment takes {space.space}, which are "
                f"{described_actions(space.dim, space.choices)}; the model has learned actions of "
                f"{described_actions(self.model.action_dim, learned)}: plan in the environment "
                "that its episodes were collected in"
            )
        self.agent = Agent(
            self.model,
            self._planner,
            costs=[made_for(cost, info) for cost in self._costs],
            guardrails=[
                space.guardrail,
                *(made_for(guardrail, info) for guardrail in self._guardrails),
            ],
            replan_every=self._replan_every,
            max_history=self._max_history,
            seed=seed,
            predicts=self._predicts,
        )
        self._numbers = dict.fromkeys(("decisions", "seconds", "model_calls", "unsafe"), 0.0)

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The agent's next action (a)."""
        before = self.agent.plans
        action = self.agent.act(observation, self._proprioception(info))
        if self.agent.plans > before:
            plan = self.agent.plan
            assert plan is not None
            self._numbers["decisions"] += 1
            self._numbers["seconds"] += plan.seconds
            self._numbers["model_calls"] += plan.model_calls
            self._numbers["unsafe"] += not plan.safe
        return action

    def _proprioception(self, info: Mapping[str, Any]) -> np.ndarray | None:
        name = self._told
        if name is not None and name not in info:
            raise EnvError(
                f"the model is to be told the info {name}, which this environment does not tell"
            )
        return None if name is None else np.asarray(info[name])

    def numbers(self) -> dict[str, float]:
        """Decisions, their seconds and model calls, and how many found no safe plan."""
        return dict(self._numbers)
