"""The next state from past states and actions."""

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import AdaLNBlock, arguments, check_heads


class ActionPredictor(nn.Module):
    """Next state from past states and actions: a causal transformer, actions set its norms.

    It looks at `window` states, the present one among them. The output is the present state plus a
    learned change, so an untrained predictor says that nothing changes.

    Args:
        state_dim: dimension of a state.
        action_dim: dimension of an action block.
        width, depth, heads: of the transformer.
        window: states that a prediction looks at, at most.
        least: states that it is given at least: before those that there are, the world was at rest.
            1 where a state holds velocities, 2 where it is one of a single frame.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, width: int = 128, depth: int = 3, heads: int = 4,
        window: int = 2, least: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("an action predictor", width, heads)
        if not 1 <= least <= window:
            raise ConfigError(f"least must lie between 1 and window={window}, got {least}")
        self.spec = arguments(locals())
        self.window, self.least = window, least
        self.embed = nn.Linear(state_dim, width)
        self.positions = nn.Parameter(torch.randn(window, width) * 0.02)
        self.embed_action = nn.Sequential(
            nn.Linear(action_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.blocks = nn.ModuleList(AdaLNBlock(width, heads, width) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, state_dim)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For each of at most `window` states (b t d) and its action (b t a), the next: b t d."""
        # Positions count back from the present: a short history looks like the end of a long one.
        x = self.embed(states) + self.positions[-states.shape[1] :]
        condition = self.embed_action(actions)
        for block in self.blocks:
            x = block(x, condition)
        return states + self.out(self.norm(x))
