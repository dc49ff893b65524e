"""Receding horizon: see, plan, do the first block of the plan, see again."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from einops import rearrange
from gymnasium.spaces import Box
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.types import Clip, History

from .costs.cost import Cost
from .dynamics import ImageDynamics
from .episode import Policy
from .guardrails.action_bounds import ActionBounds
from .guardrails.guardrail import Guardrail
from .images import fit_square
from .planner import Plan, Planner


class Agent:
    """Chooses actions by planning in a world model.

    Args:
        model: Sees and predicts.
        planner: Searches.
        costs: What a plan should make small; those made from images are bound here.
        guardrails: What a plan must not cross; bound here too.
        replan_every: Action blocks that are carried out before the next plan.
        max_history: States that the model is shown of what was seen before.
        seed: All the randomness of the agent.

    Attributes:
        plan: The latest plan, None before the first.
        plans: How many were made since `reset`.
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
    ) -> None:
        if min(replan_every, max_history) < 1:
            raise ConfigError(
                "replan_every and max_history must be at least 1, "
                f"got {replan_every} and {max_history}"
            )
        if not costs:
            raise ConfigError("an agent needs at least one cost, otherwise any action will do")
        self._model, self._planner = model, planner
        self._costs = [cost.bind(model) for cost in costs]
        self._guardrails = [guardrail.bind(model) for guardrail in guardrails]
        self._replan_every, self._max_history = replan_every, max_history
        self._seed = seed
        self.reset()

    def reset(self) -> None:
        """Forget everything seen and done; the next observation begins an episode."""
        self._generator = torch.Generator().manual_seed(self._seed)
        self._frames: deque[Tensor] = deque(maxlen=self._model.tubelet_frames)
        self._states: deque[Tensor] = deque(maxlen=self._max_history)
        self._blocks: deque[Tensor] = deque(maxlen=self._max_history)
        self._ahead: deque[Tensor] = deque()  # blocks of the plan that are still to be done
        self._actions: deque[Tensor] = deque()  # of the block that is being done
        self._warm_start: Tensor | None = None
        self.plan: Plan | None = None
        self.plans = 0

    def act(self, observation: np.ndarray) -> np.ndarray:
        """The next action (a, float32) after seeing `observation` (h w 3, uint8).

        To be called once for every environment step: the model counts in steps. It plans at
        the first step of each `replan_every` blocks and otherwise only looks.
        """
        self._see(observation)
        if not self._actions:
            self._states.append(self._look())
            if not self._ahead:
                self._think()
            block = self._ahead.popleft()
            self._blocks.append(block)
            self._actions.extend(rearrange(block, "(t a) -> t a", a=self._model.action_dim))
        return self._actions.popleft().cpu().numpy().astype(np.float32)

    def _see(self, observation: np.ndarray) -> None:
        frame = torch.as_tensor(observation)
        if frame.ndim != 3 or frame.shape[-1] != 3 or frame.dtype != torch.uint8:
            raise ShapeError(
                f"an observation must be h w 3, uint8, got {tuple(frame.shape)} {frame.dtype}"
            )
        frame = rearrange(frame, "h w c -> c h w").clone()
        # The world began at rest: what was before the first frame looked like it.
        missing = self._model.tubelet_frames - len(self._frames) if not self._frames else 1
        self._frames.extend([frame] * missing)

    @torch.no_grad()
    def _look(self) -> Tensor:
        """The state (d) that the latest frames show."""
        frames = fit_square(torch.stack(list(self._frames))[None], self._model.size)
        return self._model.states(Clip.from_uint8(frames))[0, -1]

    def _think(self) -> None:
        states = torch.stack(list(self._states))
        block = self._model.action_dim * self._model.action_block
        # One block fewer than states: the last state is where the next block starts.
        done = list(self._blocks)[len(self._blocks) + 1 - len(states) :]
        actions = torch.stack(done) if done else states.new_zeros(0, block)
        self.plan = self._planner.plan(
            self._model,
            History(states, actions),
            costs=self._costs,
            guardrails=self._guardrails,
            action_dim=block,
            generator=self._generator,
            warm_start=self._warm_start,
        )
        self.plans += 1
        self._ahead.extend(self.plan.actions[: self._replan_every])
        later = self.plan.actions[len(self._ahead) :]
        rest = torch.zeros_like(self.plan.actions[: len(self._ahead)])
        self._warm_start = torch.cat([later, rest])


class PlanningPolicy(Policy):
    """A fresh `Agent` for each episode, for `run_episode`; keeps within the action space.

    Args:
        model: Sees and predicts.
        planner: Searches.
        make_costs: The costs of an episode, from the info of its reset.
        guardrails: Bound once, for all episodes.
        replan_every: See `Agent`.
        max_history: See `Agent`.
    """

    def __init__(
        self,
        model: ImageDynamics,
        planner: Planner,
        *,
        make_costs: Callable[[Mapping[str, Any]], Sequence[Cost]],
        guardrails: Sequence[Guardrail] = (),
        replan_every: int = 1,
        max_history: int = 3,
    ) -> None:
        self._model, self._planner, self._make_costs = model, planner, make_costs
        self._guardrails = [guardrail.bind(model) for guardrail in guardrails]
        self._replan_every, self._max_history = replan_every, max_history

    def reset(self, action_space: Box, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode: its own costs, its own randomness."""
        bounds = ActionBounds(action_space.low.tolist(), action_space.high.tolist())
        self._agent = Agent(
            self._model,
            self._planner,
            costs=self._make_costs(info),
            guardrails=[bounds, *self._guardrails],
            replan_every=self._replan_every,
            max_history=self._max_history,
            seed=seed,
        )
        self._numbers = {"decisions": 0.0, "seconds": 0.0, "model_calls": 0.0, "unsafe": 0.0}

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The agent's next action (a)."""
        before = self._agent.plans
        action = self._agent.act(observation)
        if self._agent.plans > before:
            plan = self._agent.plan
            assert plan is not None
            self._numbers["decisions"] += 1
            self._numbers["seconds"] += plan.seconds
            self._numbers["model_calls"] += plan.model_calls
            self._numbers["unsafe"] += not plan.safe
        return action

    def numbers(self) -> dict[str, float]:
        """Decisions, their seconds and model calls, and how many found nothing safe."""
        return dict(self._numbers)
