"""LeWorldModel's predictor, as its weights are published."""

from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.action_predictor import ActionPredictor, check_least
from worldmodel.nn.blocks import arguments, zeroed
from worldmodel.nn.heads import Head

NORMS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm}


class LeWMPredictor(ActionPredictor):
    """A causal transformer over a few states, with learned positions; actions set its norms.

    Maes et al. 2026 (arXiv:2603.19312). It differs from `ActionTransformer` in that states are its
    tokens as they are, each attention and each network begins with a norm of its own, and what
    comes out is projected once more.

    Args:
        state_dim: dimension of a state, and of a token.
        action_dim: dimension of an action block.
        depth, heads, head_width, mlp_width: of the transformer.
        action_width: that an action is first mapped to.
        action_hidden: of the network that embeds it.
        project_hidden: of the network that projects what comes out.
        norm: of that network, `batch` as published, or `layer`.
        window: states that a prediction looks at, at most.
        least: states that it is given at least.
        change: the output is a change of the present state; the published one is the next state.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, depth: int = 6, heads: int = 16,
        head_width: int = 64, mlp_width: int = 2048, action_width: int = 10,
        action_hidden: int = 768, project_hidden: int = 2048,
        norm: Literal["batch", "layer"] = "batch", window: int = 3, least: int = 1,
        change: bool = False,
    ) -> None:  # fmt: skip
        super().__init__()
        if norm not in NORMS:
            raise ConfigError(f"norm is batch or layer, got {norm}")
        self.spec = arguments(locals())
        self.window, self.least, self.change = window, check_least(least, window), change
        self.positions = nn.Parameter(torch.randn(window, state_dim) * 0.02)
        self.narrow_action = nn.Linear(action_dim, action_width)
        self.embed_action = nn.Sequential(
            nn.Linear(action_width, action_hidden), nn.SiLU(), nn.Linear(action_hidden, state_dim)
        )
        self.blocks = nn.ModuleList(
            _Block(state_dim, heads, head_width, mlp_width) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(state_dim)
        last = nn.Linear(project_hidden, state_dim)
        if change:
            zeroed(last)
        self.project = nn.Sequential(
            nn.Linear(state_dim, project_hidden), NORMS[norm](project_hidden), nn.GELU(), last
        )

    @classmethod
    def of(
        cls, head: Head, action_dim: int, *, width: int, depth: int, window: int, least: int
    ) -> "LeWMPredictor":
        """A new one for a head's states."""
        return cls(
            head.width, action_dim, depth=depth, heads=4, head_width=max(1, width // 4),
            mlp_width=4 * width, action_hidden=4 * width, project_hidden=4 * width, norm="layer",
            window=window, least=least, change=True,
        )  # fmt: skip

    def forward(self, states: Tensor, actions: Tensor) -> Tensor:
        """For each of at most `window` states (b t d) and its action (b t a), the next: b t d."""
        x = states + self.positions[: states.shape[1]]
        condition = self.embed_action(self.narrow_action(actions))
        for block in self.blocks:
            x = block(x, condition)
        later = self.project(rearrange(self.norm(x), "b t d -> (b t) d"))
        later = rearrange(later, "(b t) d -> b t d", b=len(states))
        return states + later if self.change else later


class _Block(nn.Module):
    """Attention and a network, each with a norm of its own inside that which the action sets."""

    def __init__(self, width: int, heads: int, head_width: int, mlp_width: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1 = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, 1e-6, elementwise_affine=False)
        self.attention_norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * heads * head_width, bias=False)
        self.out = nn.Linear(heads * head_width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, mlp_width), nn.GELU(), nn.Linear(mlp_width, width)
        )
        self.modulation = zeroed(nn.Linear(width, 6 * width))

    def forward(self, x: Tensor, condition: Tensor) -> Tensor:
        """X and condition: b t d."""
        set_by = self.modulation(F.silu(condition)).chunk(6, dim=-1)
        shift1, scale1, gate1, shift2, scale2, gate2 = set_by
        seen = self.attention_norm(self.norm1(x) * (1 + scale1) + shift1)
        q, k, v = rearrange(self.qkv(seen), "b t (s a d) -> s b a t d", s=3, a=self.heads)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        x = x + gate1 * self.out(rearrange(y, "b a t d -> b t (a d)"))
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)
