"""A reward that an environment gave, learned from recorded episodes, as a cost."""

from collections.abc import Mapping
from copy import copy
from typing import Any

import torch
from torch import Generator, Tensor, nn

from worldmodel.errors import ConfigError, nearest
from worldmodel.evaluation.readout import scored

from ..episode_states import EpisodeStates
from ..factory import Factory
from ..small_networks import BATCH, STEPS, Standardise, descend, plain_network
from .cost import Cost
from .goal_state import require_weights

LEFT_OUT = 10  # every tenth episode, by which what was learned is judged


class RewardHead(nn.Module):
    """The reward of a step from the state that it led to and the action block that was taken.

    Args:
        states: Of the data, n d.
        blocks: That led to them, n a.
        rewards: What was given for it, n.
        seed: Of the weights.
    """

    def __init__(self, states: Tensor, blocks: Tensor, rewards: Tensor, *, seed: int) -> None:
        super().__init__()
        self.states, self.blocks = Standardise(states), Standardise(blocks)
        self.rewards = Standardise(rewards[:, None])
        self.net = plain_network(states.shape[1] + blocks.shape[1], 1, seed=seed)

    def forward(self, states: Tensor, blocks: Tensor) -> Tensor:
        """Rewards (...), in deviations of the data, of states (... d) after blocks (... a)."""
        found: Tensor = self.net(torch.cat([self.states(states), self.blocks(blocks)], dim=-1))
        return found[..., 0]


class ExpectedReward(Cost):
    """Minus the mean reward that is expected along a plan, in deviations of the data's.

    Args:
        head: What expects it.
        weight: Of this cost among others.
    """

    def __init__(self, head: RewardHead, *, weight: float = 1.0) -> None:
        require_weights(weight)
        self.head, self.weight = head, weight

    def __call__(self, states: Tensor, actions: Tensor) -> Tensor:
        """Cost (k) of `states` (k t d), each after a block of `actions` (k t a)."""
        return -self.weight * self.head.to(states.device)(states, actions).mean(dim=1)


class LearnedReward(Factory[Cost]):
    """`ExpectedReward` by a small network, from the rewards that recorded episodes tell.

    It needs no goal: what is worth something is what the environment rewarded. Where that happens
    far beyond the end of a plan, nothing here says so.

    Args:
        info: The name of what is made large, `reward` unless an info of one's own.
        weight: Of this cost among others.
        steps: Of learning.
    """

    needs_episodes = True

    def __init__(self, info: str = "reward", *, weight: float = 1.0, steps: int = STEPS) -> None:
        require_weights(weight)
        self.info, self.weight, self.steps = info, weight, steps
        self._head: RewardHead | None = None
        self._r2 = float("nan")

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "LearnedReward":
        """Learn from all episodes but every tenth, and hold it against those.

        Raises:
            ConfigError: the episodes tell no such reward with their actions, or it never changes.
        """
        if self.info not in recorded.infos:
            raise ConfigError(f"info of LearnedReward: {nearest(self.info, recorded.infos)}")
        begun = recorded.numbers[1:] == recorded.numbers[:-1]  # a state and the one before it
        told, blocks = recorded.infos[self.info][1:], recorded.blocks[:-1]
        if told.shape[1] != 1:
            raise ConfigError(f"info {self.info} of LearnedReward is {told.shape[1]} numbers")
        usable = begun & told[:, 0].isfinite() & blocks.isfinite().all(dim=1)
        states, blocks, rewards = recorded.states[1:][usable], blocks[usable], told[usable, 0]
        numbers = recorded.numbers[1:][usable]
        left_out = numbers % LEFT_OUT == LEFT_OUT - 1
        learned_from = rewards[~left_out]
        if not len(learned_from) or bool((learned_from == learned_from[0]).all()):
            raise ConfigError(
                f"info {self.info} of LearnedReward is the same in all {len(rewards)} steps with "
                "actions; collect with a behaviour that is rewarded sometimes"
            )
        prepared = copy(self)
        fit = (states[~left_out], blocks[~left_out], learned_from)
        prepared._head = head = _learn(*fit, seed=seed, steps=self.steps)
        if bool(left_out.any()):
            found = head(states[left_out], blocks[left_out])[:, None]
            given = head.rewards(rewards[left_out, None])
            groups = numbers[left_out].numpy()
            prepared._r2 = scored(found.detach().numpy(), given.numpy(), groups).r2
        return prepared

    def report(self) -> dict[str, float]:
        """How well it is expected in episodes that were left out (R²)."""
        return {f"expected_{self.info}_r2": self._r2}

    def for_episode(self, info: Mapping[str, Any]) -> Cost:
        """The same in every episode."""
        if self._head is None:
            raise ConfigError("a reward is learned from recorded episodes: call prepare() first")
        return ExpectedReward(self._head, weight=self.weight)


def _learn(states: Tensor, blocks: Tensor, rewards: Tensor, *, seed: int, steps: int) -> RewardHead:
    head = RewardHead(states, blocks, rewards, seed=seed)
    wanted = head.rewards(rewards[:, None])[:, 0]

    def loss(generator: Generator) -> Tensor:
        rows = torch.randint(len(states), (BATCH,), generator=generator)
        return (head(states[rows], blocks[rows]) - wanted[rows]).square().mean()

    descend(head.parameters(), loss, seed=seed, steps=steps)
    return head.requires_grad_(False).eval()
