"""Predictors: latents of what is hidden from what is visible; next states from actions."""

import torch
from einops import rearrange
from torch import Tensor, nn

from worldmodel.nn.blocks import AdaLNBlock


class MaskedPredictor(nn.Module):
    """Fills in the latents of hidden tubelets from those of visible ones; needs no actions.

    A hidden tubelet is predicted from the nearest one that is seen, by one network for what comes
    after it and one for what came before; a tubelet of which a part is seen, from that part, by a
    third. Each adds to a start, so that it says at first that nothing changes.

    Three small networks, and not one transformer over time with mask tokens as V-JEPA's (Bardes et
    al. 2024, arXiv:2404.08471): a network that has to multiply motion by the direction of time
    itself learnt it late (docs/results).

    Args:
        latents: number of latents of a tubelet: one, or one for each token.
        seen_width: numbers in a latent that is seen.
        target_width: numbers in a latent that is predicted.
        width: of the networks.
    """

    def __init__(
        self, latents: int, seen_width: int, target_width: int, *, width: int = 384
    ) -> None:
        super().__init__()
        self.spec = dict(
            latents=latents, seen_width=seen_width, target_width=target_width, width=width
        )
        self.latents = latents
        inputs, outputs = latents * seen_width + 1, latents * target_width
        self.after, self.before, self.within = (_change(inputs, width, outputs) for _ in range(3))

    def forward(self, seen: Tensor, hidden: Tensor, start: Tensor) -> Tensor:
        """Predict the latents of every tubelet.

        Args:
            seen: b t m d, latents of what is visible of each tubelet; any value where nothing is.
            hidden: b t, bool: nothing of the tubelet is visible.
            start: b t m d, what the prediction adds to.

        Returns:
            b t m d of `target_width`.
        """
        near = nearest_seen(hidden)  # b t
        ahead = torch.arange(seen.shape[1], device=seen.device) - near  # b t, in tubelets
        index = near[:, :, None, None].expand_as(seen)
        x = rearrange(seen.gather(1, index), "b t m d -> b t (m d)")
        x = torch.cat([x, ahead[..., None].abs().to(x.dtype)], dim=-1)
        change = x.new_zeros(*x.shape[:2], start.shape[2] * start.shape[3])
        for network, place in (
            (self.after, ahead > 0), (self.before, ahead < 0), (self.within, ahead == 0),
        ):  # fmt: skip
            change = change.masked_scatter(place[..., None], network(x[place]))
        return start + rearrange(change, "b t (m d) -> b t m d", m=self.latents)


def _change(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """A network that says zero until it has learnt something."""
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last
    )


def nearest_seen(hidden: Tensor) -> Tensor:
    """For each tubelet, the index of the nearest that is not hidden, the earlier of two: b t.

    Itself where it is not hidden; 0 where all are.
    """
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    distance = (steps[:, None] - steps).abs().float().expand(len(hidden), -1, -1)
    return distance.masked_fill(hidden[:, None], torch.inf).argmin(dim=2)


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
