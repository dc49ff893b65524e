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
from .goal_state import require_weights


class RewardHead(nn.Module):
    """The reward of an action block from the block and the state that it led to.

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

    Rewards are those of all steps of an action block. What an episode's end cuts off of a block is
    not learned from.

    Args:
        info: The name of what is made large, `reward` unless an info of one's own, which counts as
            it is told at the last step of a block.
        weight: Of this cost among others.
        steps: Of learning.
    """

    needs_episodes = True

    def __init__(self, info: str = "reward", *, weight: float = 1.0, steps: int = STEPS) -> None:
        require_weights(weight)
        require_steps(steps)
        self.info, self.weight, self.steps = info, weight, steps
        self._head: RewardHead | None = None
        self._found: dict[str, float] = {}

    def prepare(self, recorded: EpisodeStates, *, seed: int) -> "LearnedReward":
        """Learn from all episodes but every tenth, and hold it against those.

        Raises:
            ConfigError: no episode with actions tells the info, it is more than one number, or it
                never changes.
        """
        if self.info not in recorded.infos:
            raise ConfigError(f"info of LearnedReward: {nearest(self.info, recorded.infos)}")
        begun = recorded.numbers[1:] == recorded.numbers[:-1]  # a state and the one before it
        told, blocks = recorded.infos[self.info][1:], recorded.blocks[:-1]
        if told.shape[1] != 1:
            raise ConfigError(
                f"info {self.info} of LearnedReward is {told.shape[1]} numbers; a reward is one"
            )
        acted = begun & blocks.isfinite().all(dim=1)
        usable = acted & told[:, 0].isfinite()
        if not bool(usable.any()) or not blocks.shape[1]:
            raise ConfigError(
                f"LearnedReward learns from episodes with actions that tell {self.info}; there "
                "are none"
            )
        states, blocks, rewards = recorded.states[1:][usable], blocks[usable], told[usable, 0]
        numbers = recorded.numbers[1:][usable]
        left_out = every_tenth(numbers)
        learned_from = rewards[~left_out]
        if bool((learned_from == learned_from[0]).all()):
            raise ConfigError(
                f"info {self.info} of LearnedReward is {learned_from[0]:g} in all "
                f"{len(learned_from)} action blocks that it would learn from; collect with a "
                "behaviour that is rewarded sometimes"
            )
        prepared = copy(self)
        fit = (states[~left_out], blocks[~left_out], learned_from)
        prepared._head = head = _learn(*fit, seed=seed, steps=self.steps)
        prepared._found = {}
        if bool(left_out.any()) and rewards[left_out].std(correction=0) > 0:
            found = head(states[left_out], blocks[left_out])[:, None]
            given = head.rewards(rewards[left_out, None])
            groups = numbers[left_out].numpy()
            r2 = scored(found.detach().numpy(), given.numpy(), groups).r2
            prepared._found = {f"expected_{self.info}_r2": r2}
        return prepared

    def report(self) -> dict[str, float]:
        """How well it is expected in episodes that were left out (R²), if there are any."""
        return self._found

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
