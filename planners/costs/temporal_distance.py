"""Steps to a goal, learned from recorded episodes: a distance that does not go through walls."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from scipy.stats import spearmanr
from torch import Generator, Tensor, nn

from worldmodel.errors import ConfigError

from ..episode_states import EpisodeStates
from ..factory import Factory
from ..small_networks import (
    BATCH,
    STEPS,
    Standardise,
    descend,
    every_tenth,
    plain_network,
    require_steps,
)
from .cost import Cost
from .from_image import FromImage, goal_image
from .goal_state import over_steps, require_weights

DIM = 32
STIFF = 100.0  # how much a step resists being longer than 1, against being far from all others
FARTHEST = 100.0  # steps; beyond, nothing is pushed farther


class StepsApart(nn.Module):
    """Points whose distance counts the steps from one state to another.

    Args:
        states: Of the data, n d.
        seed: Of the weights.
    """

    def __init__(self, states: Tensor, *, seed: int) -> None:
        super().__init__()
        self.standardise = Standardise(states)
        self.net = plain_network(states.shape[1], DIM, seed=seed)

    def forward(self, states: Tensor) -> Tensor:
        """Points (... m) of states (... d)."""
        points: Tensor = self.net(self.standardise(states))
        return points

    def between(self, first: Tensor, second: Tensor) -> Tensor:
        """Steps (...) between two sets of states (... d)."""
        return _length(self(first) - self(second))


class TemporalDistance(Cost):
    """Learned steps to a goal: their mean over a plan, and the last.

    Args:
        apart: What was learned.
        state: The goal (d), or several (g d), any of which will do.
        weight: Of this cost among others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
    """

    def __init__(
        self, apart: StepsApart, state: Tensor, *, weight: float = 1.0, running: float = 1.0,
        terminal: float = 1.0,
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        self._apart = apart.to(state.device)
        self._goals = self._apart(state.reshape(-1, state.shape[-1]))
        self.weight, self.running, self.terminal = weight, running, terminal

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d)."""
        apart = _length(self._apart(states)[..., None, :] - self._goals).amin(dim=-1)
        return over_steps(apart, weight=self.weight, running=self.running, terminal=self.terminal)


class GoalInSteps(Factory[Cost]):
    """`TemporalDistance` to the goal image of each episode.

    The largest distance between any two states that leaves every recorded step at most 1 long is
    the number of steps of the shortest way that the data show, put together from any episodes
    (quasimetric reinforcement learning, Wang et al. 2023, arXiv:2304.01203, here with a metric:
    the way back counts as long as the way there).

    Args:
        weight: See `TemporalDistance`, as for the others.
        running: Weight of the mean over all steps.
        terminal: Weight of the last step.
        steps: Of learning.
    """

    needs_episodes = True

    def __init__(
        self, *, weight: float = 1.0, running: float = 1.0, terminal: float = 1.0,
        steps: int = STEPS,
    ) -> None:  # fmt: skip
        require_weights(weight, running, terminal)
        require_steps(steps)
        self._weights = {"weight": weight, "running": running, "terminal": terminal}
        self.steps = steps
        self._apart: StepsApart | None = None
        self._found: dict[str, float] = {}

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "GoalInSteps":
        """Learn from all episodes but every tenth, and look at the steps of those.

        Raises:
            ConfigError: nothing ever moves.
        """
        numbers = recorded.numbers
        first = (numbers[1:] == numbers[:-1]).nonzero().flatten()  # states that another one follows
        left_out = every_tenth(numbers[first])
        begun = first[~left_out]
        if not len(begun) or bool((recorded.states[begun] == recorded.states[begun + 1]).all()):
            raise ConfigError("a temporal distance is learned from episodes in which states change")
        prepared = copy(self)
        apart = StepsApart(recorded.states[begun], seed=seed)
        _learn(apart, recorded.states, begun, seed=seed, steps=self.steps)
        prepared._apart = apart.requires_grad_(False).eval()
        prepared._found = _judged(prepared._apart, recorded, first[left_out])
        return prepared

    def report(self) -> dict[str, float]:
        """How long a step of episodes that were left out is, and how many steps they cross."""
        return self._found

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The steps to the state that `info["goal_image"]` shows."""
        if self._apart is None:
            raise ConfigError("steps are learned from recorded episodes: call prepare() first")
        apart = self._apart
        return FromImage(
            goal_image(info), lambda state: TemporalDistance(apart, state, **self._weights)
        )


def _learn(apart: StepsApart, states: Tensor, begun: Tensor, *, seed: int, steps: int) -> None:
    """Push all states apart, and hold each step to its length."""

    def loss(generator: Generator) -> Tensor:
        here, there = begun[torch.randint(len(begun), (2, BATCH), generator=generator)]
        points = apart(states[here])
        too_long = (_length(points - apart(states[here + 1])) - 1).clamp_min(0)
        far = _length(points - apart(states[there]))
        return STIFF * too_long.square().mean() - far.clamp_max(FARTHEST).mean()

    descend(apart.parameters(), loss, seed=seed, steps=steps)


def _judged(apart: StepsApart, recorded: EpisodeStates, begun: Tensor) -> dict[str, float]:
    """Of episodes that were left out; nothing where there are none."""
    if not len(begun):
        return {}
    states = recorded.states
    ends = recorded.lengths.cumsum(0)
    first = (ends - recorded.lengths)[recorded.numbers[begun]]
    step = apart.between(states[begun], states[begun + 1]).mean()
    told, passed = apart.between(states[first], states[begun]), begun - first
    if told.std(correction=0) == 0 or passed.float().std(correction=0) == 0:
        return {"temporal_step": float(step)}
    rank = spearmanr(told.numpy(), passed.numpy()).statistic
    return {"temporal_step": float(step), "temporal_rank": float(rank)}


def _length(vectors: Tensor) -> Tensor:
    """Of vectors (... m), with a slope at zero."""
    return vectors.square().sum(dim=-1).add(1e-6).sqrt()
