"""The next state from past states and actions: the role, and a causal transformer."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import (
    AdaLNBlock,
    action_embedding,
    arguments,
    check_heads,
    zeroed,
)
from worldmodel.nn.heads import Head


class ActionPredictor(nn.Module, ABC):
    """Next state from past states and actions. A subclass is registered by its name.

    Attributes:
        spec: the constructor's arguments, as JSON.
        window: states that a prediction looks at, at most, the present one among them.
        least: states that it is given at least: before those that there are, the world was at rest.
        unrolls: it takes any number of states, each of which looks at those before it, and through
            its blocks further back than its window.
        one_history: its rollouts take a history (1 s d) once for all sequences of actions.
    """

    registry: ClassVar[dict[str, type["ActionPredictor"]]] = {}
    spec: dict[str, Any]
    window: int
    least: int
    unrolls: bool = False
    one_history: bool = False

    def __init_subclass__(cls) -> None:
        ActionPredictor.registry[cls.__name__] = cls

    @classmethod
    @abstractmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "ActionPredictor":
        """A new one for a head's states, which is given at least `least` of them.

        Raises:
            ConfigError: it cannot predict such states.
        """

    @abstractmethod
    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For at most `window` states (b t d) and their actions (b t a), the next: b t d.

        Predictions of all but the last may be missing: b 1 d.
        """

    def rollout(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """Continue each of `states` (b s d), led to by `past` (b s-1 a), by `actions` (b t a).

        Each state that is predicted is looked at in its turn.

        Returns:
            b t d.
        """
        path, done = list(states.unbind(1)), list(past.unbind(1))
        for action in actions.unbind(1):
            done.append(action)
            seen = path[-self.window :]
            led = torch.stack(done[-len(seen) :], dim=1)
            path.append(self(torch.stack(seen, dim=1), led)[:, -1])
        return torch.stack(path[states.shape[1] :], dim=1)

    @property
    def alone(self) -> Sequence["ActionPredictor"]:
        """Its members, each by itself; of most predictors it is the only one."""
        return [self]

    def each(self, states: Tensor, actions: Tensor) -> Tensor:
        """What each of its members says, of those that have several: e b t d."""
        following: Tensor = self(states, actions)
        return following[None]


class ActionTransformer(ActionPredictor):
    """A causal transformer over states; actions set its norms.

    The output is the present state plus a learned change, so an untrained predictor says that
    nothing changes.

    Args:
        state_dim: dimension of a state.
        action_dim: dimension of an action block.
        width, depth, heads: of the transformer.
        window: states that a prediction looks at, at most.
        least: states that it is given at least: 1 where a state holds velocities, 2 where it is one
            of a single frame.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, width: int = 128, depth: int = 3, heads: int = 4,
        window: int = 2, least: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("an action predictor", width, heads)
        self.spec = arguments(locals())
        self.window, self.least = window, check_least(least, window)
        self.embed = nn.Linear(state_dim, width)
        self.positions = nn.Parameter(torch.randn(window, width) * 0.02)
        self.embed_action = action_embedding(action_dim, width)
        self.blocks = nn.ModuleList(AdaLNBlock(width, heads, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = zeroed(nn.Linear(width, state_dim))

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "ActionTransformer":
        """A new one for a head's states."""
        return cls(head.width, action_dim, width=width, depth=depth, window=window, least=least)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For each of at most `window` states (b t d) and its action (b t a), the next: b t d."""
        # Positions count back from the present: a short history looks like the end of a long one.
        x = self.embed(states) + self.positions[-states.shape[1] :]
        condition = self.embed_action(actions)
        for block in self.blocks:
            x = block(x, condition)
        return states + self.out(self.norm(x))

    def rollout(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """As any predictor does, with less work: b t d.

        What an action makes of the norms is computed once, and not in each window that it is in;
        so is each state's embedding. The last block computes the present alone.
        """
        condition = self.embed_action(torch.cat([past, actions], dim=1))
        blocks = [block for block in self.blocks if isinstance(block, AdaLNBlock)]
        modulations = [block.modulation(condition) for block in blocks]
        embedded, state, found = list(self.embed(states).split(1, dim=1)), states[:, -1:], []
        for end in range(states.shape[1], states.shape[1] + actions.shape[1]):
            first = max(0, end - self.window)
            x = torch.cat(embedded[first:], dim=1) + self.positions[first - end :]
            for number, (block, modulation) in enumerate(zip(blocks, modulations, strict=True), 1):
                x = block.modulated(x, modulation[:, first:end], last=number == len(blocks))
            state = state + self.out(self.norm(x[:, -1:]))
            found.append(state)
            embedded.append(self.embed(state))
        return torch.cat(found, dim=1)


ActionPredictor.registry["ActionPredictor"] = ActionTransformer  # its name in older models


def check_least(least: int, window: int) -> int:
    """`least`, if a window holds so many states.

    Raises:
        ConfigError: it does not.
    """
    if not 1 <= least <= window:
        raise ConfigError(f"least must lie between 1 and window={window}, got {least}")
    return least
