"""The masked predictor: latents of hidden time steps from those of visible ones."""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ShapeError
from worldmodel.nn.blocks import arguments
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, require_head, time_step_latents
from worldmodel.nn.predictor import Prediction, Predictor


class MaskedPredictor(Predictor):
    """Fills in the latents of hidden time steps from those of visible ones; needs no actions.

    A hidden time step is predicted from the nearest visible one. Its latents are (z, c): z is
    predicted, c is only seen. For the time step `n` after it (before it, where n < 0):

        z(n) = z + n B c + f(z, |n|),   one f for after, one for before, B a matrix

    so c is how z changes: what is linear in z, such as a position, has a velocity linear in c.
    (If c were an input of f, it could hold velocity in a different way at each position. One
    transformer over time and mask tokens, as V-JEPA's predictor, Bardes et al. 2024,
    arXiv:2404.08471, hardly learned motion: it had to multiply by the direction of time.)
    A time step that is partly visible is predicted from its visible part.

    Args:
        latents: number of latents of a time step: one, or one for each token.
        seen_width: dimension of a visible latent.
        target_width: how many of those dimensions, from the first, are predicted.
        width: of the networks.
    """

    def __init__(
        self, latents: int, seen_width: int, target_width: int, *, width: int = 384
    ) -> None:
        super().__init__()
        self.spec, self.power = arguments(locals()), 2
        self.latents, self.target_width = latents, target_width
        seen, target = latents * seen_width, latents * target_width
        self.velocity = nn.Linear(seen - target, target, bias=False) if seen > target else None
        self.after, self.before = (_change(target + 1, width, target) for _ in range(2))
        self.within = _change(seen, width, target)
        if self.velocity is not None:
            nn.init.zeros_(self.velocity.weight)

    def forward(self, seen: Tensor, hidden: Tensor, start: Tensor) -> Tensor:
        """Predict the latents of every time step.

        Args:
            seen: b t m d, latents of the visible part of each time step, any value if none.
            hidden: b t, bool: nothing of the time step is visible.
            start: b t m `target_width`, to which the predicted change is added.

        Returns:
            b t m `target_width`.
        """
        near = nearest_seen(hidden)  # b t
        ahead = torch.arange(seen.shape[1], device=seen.device) - near  # b t, in time steps
        from_ = seen.gather(1, near[:, :, None, None].expand_as(seen))
        positions, motions = (
            rearrange(x, "b t m d -> b t (m d)")
            for x in from_.split([self.target_width, seen.shape[-1] - self.target_width], dim=-1)
        )
        steps = ahead[..., None].to(positions.dtype)
        timed = torch.cat([positions, steps.abs()], dim=-1)
        change = torch.zeros_like(positions)
        if self.velocity is not None:
            change = change + steps * self.velocity(motions)
        for network, x, place in (
            (self.after, timed, ahead > 0),
            (self.before, timed, ahead < 0),
            (self.within, torch.cat([positions, motions], dim=-1), ahead == 0),
        ):
            change = change.masked_scatter(place[..., None], change[place] + network(x[place]))
        return start + rearrange(change, "b t (m d) -> b t m d", m=self.latents)

    def predictions(
        self, encoder: Encoder, head: Head | None, frames: Tensor
    ) -> Iterator[Prediction]:
        """Predict every time step but the first from the one before it, all at once.

        Each time step is encoded by itself: no prediction and no target knows later frames.

        Raises:
            ShapeError: the frames do not divide into time steps, or there is one only.
            WorldModelError: there is no head.
        """
        steps = encoder.grid(frames)[0]
        if steps < 2:
            raise ShapeError(f"a clip of {steps} time step leaves nothing to predict: take two")
        head = require_head(head)
        latents = time_step_latents(encoder, head, frames)  # b t m d
        before = rearrange(latents[:, :-1], "b t m d -> (b t) 1 m d")
        pairs = torch.cat([before, torch.zeros_like(before)], dim=1)
        hidden = torch.tensor([False, True], device=frames.device).expand(len(pairs), -1)
        predicted = self(pairs, hidden, start_from(pairs[..., : head.dim], hidden))[:, 1]
        i, target = encoder.tubelet_frames, latents[..., : head.dim]
        prediction = Prediction(
            predicted.unflatten(0, (len(latents), steps - 1)),
            observed=target[:, 1:], persistence=target[:, :-1],
            last_frames=torch.arange(2 * i - 1, frames.shape[1], i), power=self.power,
        )  # fmt: skip
        return iter([prediction])

    def ahead(self, encoder: Encoder, head: Head | None, frames: Tensor, steps: int) -> Tensor:
        """Predict the time steps after a clip, each from the clip's last one: b s m d."""
        latents = time_step_latents(encoder, require_head(head), frames)
        b, t = latents.shape[:2]
        padded = F.pad(latents, (0, 0, 0, 0, 0, steps))
        hidden = (torch.arange(t + steps, device=frames.device) >= t).expand(b, -1)
        start = start_from(padded[..., : self.target_width], hidden)
        return self(padded, hidden, start)[:, t:]

    def observed(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Tensor:
        """The latents of each time step alone, those dimensions that are predicted: b t m d."""
        latents = time_step_latents(encoder, require_head(head), frames)
        return latents[..., : self.target_width]


def _change(inputs: int, width: int, outputs: int) -> nn.Sequential:
    """A network whose output is zero until it has learned something."""
    last = nn.Linear(width, outputs)
    nn.init.zeros_(last.weight)
    nn.init.zeros_(last.bias)
    return nn.Sequential(
        nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), last
    )


def nearest_seen(hidden: Tensor) -> Tensor:
    """For each time step, the index of the nearest visible one, the earlier of two: b t.

    Its own index where it is visible; 0 where none is.
    """
    steps = torch.arange(hidden.shape[1], device=hidden.device)
    distance = (steps[:, None] - steps).abs().float().expand(len(hidden), -1, -1)
    return distance.masked_fill(hidden[:, None], torch.inf).argmin(dim=2)


def start_from(latents: Tensor, hidden: Tensor) -> Tensor:
    """The latents that a prediction adds to: those of the nearest wholly visible time step.

    So a predictor that adds nothing predicts persistence. Zero where every time step is hidden in
    part.

    Args:
        latents: b t m d.
        hidden: b t, bool: some of the time step is hidden.

    Returns:
        b t m d.
    """
    index = nearest_seen(hidden)[:, :, None, None].expand_as(latents)
    nothing_seen = hidden.all(dim=1)[:, None, None, None]
    return latents.gather(1, index).masked_fill(nothing_seen, 0.0)
