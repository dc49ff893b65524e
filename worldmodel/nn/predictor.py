"""Predictors: latents of what is hidden from what is visible; next states from actions."""

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.nn.blocks import AdaLNBlock, Block
from worldmodel.nn.patches import Rotary3D


class MaskedPredictor(nn.Module):
    """Fills in the latents of hidden tubelets from those of visible ones; needs no actions.

    A narrow transformer over time, with a learnt mask token for each tubelet that is hidden whole
    (after V-JEPA's predictor, Bardes et al. 2024, arXiv:2404.08471).

    Args:
        latents: number of latents of a tubelet: one, or one for each token.
        seen_width: numbers in a latent that is seen.
        target_width: numbers in a latent that is predicted.
        width, depth, heads: of the transformer.
    """

    def __init__(
        self, latents: int, seen_width: int, target_width: int, *, width: int = 256,
        depth: int = 2, heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = dict(
            latents=latents, seen_width=seen_width, target_width=target_width, width=width,
            depth=depth, heads=heads,
        )  # fmt: skip
        self.latents = latents
        self.embed = nn.Linear(latents * seen_width, width)
        self.mask_token = nn.Parameter(torch.zeros(width))
        nn.init.trunc_normal_(self.mask_token, std=0.02)
        self.rotary = Rotary3D(width // heads)
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(width)
        self.out = nn.Linear(width, latents * target_width)
        nn.init.zeros_(self.out.weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, seen: Tensor, hidden: Tensor, start: Tensor) -> Tensor:
        """Predict the latents of every tubelet.

        Args:
            seen: b t m d, latents of what is visible of each tubelet; any value where nothing is.
            hidden: b t, bool: nothing of the tubelet is visible.
            start: b t m d, what the prediction adds to.

        Returns:
            b t m d of `target_width`.
        """
        x = self.embed(rearrange(seen, "b t m d -> b t (m d)"))
        x = torch.where(hidden[..., None], self.mask_token, x)
        rotation = self.rotary((x.shape[1], 1, 1), None, x.device)
        for block in self.blocks:
            x = block(x, rotation)
        change = self.out(self.norm(x))
        return start + rearrange(change, "b t (m d) -> b t m d", m=self.latents)


class ActionPredictor(nn.Module):
    """Next state from past states and actions: a causal transformer, actions set its norms.

    `window` states are looked at, the present one among them; the output is the present state plus
    a learnt change, so an untrained predictor says that nothing moves.

    Args:
        state_dim: numbers in a state.
        action_dim: numbers in an action block.
        width, depth, heads: of the transformer.
        window: states that a prediction may look at.
    """

    def __init__(
        self, state_dim: int, action_dim: int, *, width: int = 128, depth: int = 3, heads: int = 4,
        window: int = 2,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = dict(
            state_dim=state_dim, action_dim=action_dim, width=width, depth=depth, heads=heads,
            window=window,
        )  # fmt: skip
        self.window = window
        self.embed = nn.Linear(state_dim, width)
        self.place = nn.Parameter(torch.randn(window, width) * 0.02)
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
        # Places count back from the present, so that a short history looks like the end of a long.
        x = self.embed(states) + self.place[-states.shape[1] :]
        condition = self.embed_action(actions)
        for block in self.blocks:
            x = block(x, condition)
        return states + self.out(self.norm(x))

