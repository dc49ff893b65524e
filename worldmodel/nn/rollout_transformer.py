"""The next state by a transformer that remembers what it has computed of the states so far."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.action_predictor import ActionPredictor, check_least
from worldmodel.nn.blocks import (
    AdaLNBlock,
    KeysValues,
    action_embedding,
    arguments,
    check_heads,
    zeroed,
)
from worldmodel.nn.heads import Head
from worldmodel.nn.positions import Rotary3D, Rotation, rotation_of


class RolloutTransformer(ActionPredictor):
    """A causal transformer with rotary positions: a rollout computes each state once.

    Rotary positions are relative, so what is known of the states so far stays right when another
    one comes, and one history serves all candidates. `ActionTransformer` counts positions back from
    the present, and computes its whole window anew at each step.

    Through its blocks it looks further back than its window, over what it has imagined too, so it
    has to practise rollouts as long as plans are: see `rollouts.length`.

    Args:
        state_dim: dimension of a state.
        action_dim: dimension of an action block.
        width, depth, heads: of the transformer.
        window: states that each block looks at, itself among them.
        least: states that it is given at least.
        head_width: of each head; all together `width` if None.
        mlp_width: of the hidden layer of a block's network; four times `width` if None.
    """

    unrolls = one_history = True

    def __init__(
        self, state_dim: int, action_dim: int, *, width: int = 128, depth: int = 3, heads: int = 4,
        window: int = 3, least: int = 1, head_width: int | None = None,
        mlp_width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("an action predictor", width, heads, rotary=True)
        if (head_width or width // heads) < 6:
            raise ConfigError(
                f"heads of {head_width or width // heads} channels cannot be rotated by time; say "
                "at least 6, as with a width of 32 for 4 heads"
            )
        self.spec = arguments(locals())
        self.window, self.least = window, check_least(least, window)
        self.embed = nn.Linear(state_dim, width)
        self.rotary = Rotary3D(head_width or width // heads)
        self.embed_action = action_embedding(action_dim, width)
        self.blocks = nn.ModuleList(
            AdaLNBlock(width, heads, width, head_width=head_width, mlp_width=mlp_width)
            for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width)
        self.out = zeroed(nn.Linear(width, state_dim))

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "RolloutTransformer":
        """A new one for a head's states."""
        return cls(head.width, action_dim, width=width, depth=depth, window=window, least=least)

    def memory(self) -> list[KeysValues]:
        """An empty memory."""
        return [KeysValues(self.window - 1) for _ in self.blocks]

    def forward(
        self, states: Tensor, actions: Tensor, memory: Sequence[KeysValues] | None = None
    ) -> Tensor:
        """For each state (b t d) and its action (b t a), the next: b t d.

        Args:
            states: b t d; after others that are remembered, one.
            actions: b t a.
            memory: of the states before these, one for each block, which is added to.
        """
        return self._following(states, self._modulations(actions), memory)

    def _modulations(self, actions: Tensor) -> list[Tensor]:
        """What actions (b t a) make of the norms of each block: b t 6d each."""
        condition = self.embed_action(actions)
        return [block.modulation(condition) for block in self._blocks()]

    def _blocks(self) -> list[AdaLNBlock]:
        return [block for block in self.blocks if isinstance(block, AdaLNBlock)]

    def _following(
        self, states: Tensor, modulations: Sequence[Tensor], memory: Sequence[KeysValues] | None
    ) -> Tensor:
        t, before = states.shape[1], memory[0].seen if memory else 0
        rotation = self._rotation(before, t, states.device)
        sees = None
        if t > self.window:
            ago = torch.arange(t, device=states.device)
            ago = ago[:, None] - ago
            sees = (ago >= 0) & (ago < self.window)
        x = self.embed(states)
        memories: Sequence[KeysValues | None] = memory or [None] * len(self.blocks)
        for block, modulation, kept in zip(self._blocks(), modulations, memories, strict=True):
            x = block.modulated(x, modulation, rotation, sees, kept)
        return states + self.out(self.norm(x))

    def rollout(self, states: Tensor, past: Tensor, actions: Tensor) -> Tensor:
        """Each state is looked at once; one history (1 s d) may lead to all: b t d."""
        memory = self.memory()
        if states.shape[1] > 1:
            self(states[:, :-1], past, memory)
        path, state = [], states[:, -1:].expand(len(actions), -1, -1)
        modulations = self._modulations(actions)
        for t in range(actions.shape[1]):
            state = self._following(state, [each[:, t : t + 1] for each in modulations], memory)
            path.append(state)
        return torch.cat(path, dim=1)

    def _rotation(self, before: int, count: int, device: torch.device) -> Rotation:
        """Of so many time steps after others; tables are kept, so their lengths are few."""
        length = 16
        while length < before + count:
            length *= 2
        table = self.rotary.table((length, 1, 1), device)[before : before + count]
        return rotation_of(table[None, None], self.rotary.rope)
