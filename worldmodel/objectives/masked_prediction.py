"""What a step of learning from video minimises: masked latent prediction + a regulariser.

`targets` and the regulariser are two orthogonal choices. V-JEPA is (ema, none); the default here
is (live, SIGReg): targets from the same encoder, with gradient, and no teacher.
"""

import copy
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from einops import rearrange, repeat
from torch import Generator, Tensor, nn

from worldmodel.errors import ConfigError, nearest
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.nn.masked_predictor import MaskedPredictor, start_from
from worldmodel.nn.patches import Grid
from worldmodel.objectives.masks import MaskMixture, TimeMasks
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.types import Mask

Targets = Literal["live", "stopgrad", "ema"]


@dataclass(frozen=True)
class Losses:
    """The named terms of a batch; the loss is their sum."""

    terms: dict[str, Tensor]  # scalars, already weighted
    features: Tensor | None  # ... b d, detached: what the diagnostics look at; None: nothing learns
    numbers: dict[str, Tensor]  # scalars, detached: diagnostics that cost nothing extra

    @property
    def total(self) -> Tensor:
        """The sum of the terms."""
        return torch.stack(list(self.terms.values())).sum()


def context_latents(
    encoder: Encoder, head: Head, frames: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    """The latents of what is visible of each time step, and which time steps are hidden whole.

    The visible tokens are encoded together; each then stands in its place in its time step, and
    hidden places stay empty.

    Args:
        encoder: of the model.
        head: of the model.
        frames: b t c h w; the encoder drops what is not in `context` before its first block.
        context: b m, ids of the visible tokens on the grid.

    Returns:
        (latents b t m d, hidden b t); the latents of a time step that is hidden whole are zero.
    """
    t, h, w = encoder.grid(frames)
    visible = encoder(frames, keep=context)
    empty = visible.new_zeros(len(frames), t * h * w, visible.shape[-1])
    placed = empty.scatter(1, context[..., None].expand_as(visible), visible)
    time_steps = rearrange(placed, "b (t n) d -> b t n d", t=t)
    is_seen = torch.zeros(len(frames), t, dtype=torch.bool, device=frames.device)
    is_seen = is_seen.scatter(1, context // (h * w), True)
    # Empty time steps stay out of the head, so that they do not enter its batch statistics.
    latents = head(time_steps[is_seen])
    out = latents.new_zeros(*is_seen.shape, *latents.shape[1:])
    return out.masked_scatter(is_seen[..., None, None], latents), ~is_seen


class MaskedPrediction(nn.Module):
    """Masked latent prediction: see part of a clip, predict the latents of what is hidden.

    Where whole time steps are hidden, the others are seen each by itself. Where tokens are hidden,
    what is left is encoded with them dropped. A narrow predictor fills in the latents of every
    time step of which something is hidden (or of the hidden tokens, where the head makes a latent
    for each). The regulariser's sample is the batch at one time step (and place).

    Args:
        encoder, predictor, head: what learns.
        masks: draws what is hidden.
        regulariser: keeps the latents from collapsing.
        targets: `live` (with gradient), `stopgrad`, or `ema` (latents of a slow copy, as V-JEPA).
        momentum: of the slow copy.
    """

    def __init__(
        self, encoder: Encoder, predictor: MaskedPredictor, head: Head, *, masks: MaskMixture,
        regulariser: Regulariser, targets: Targets = "live", momentum: float = 0.996,
    ) -> None:  # fmt: skip
        super().__init__()
        if targets not in get_args(Targets):
            raise ConfigError(f"no targets '{targets}': {nearest(targets, get_args(Targets))}")
        self.encoder, self.predictor, self.head = encoder, predictor, head
        self.masks, self.regulariser, self.targets = masks, regulariser, targets
        self.momentum = momentum
        self.teacher: nn.ModuleList | None = None
        if targets == "ema":
            self.teacher = copy.deepcopy(nn.ModuleList([encoder, head]))
            self.teacher.requires_grad_(False)

    def forward(self, frames: Tensor, *, step: int, generator: Generator) -> Losses:
        """Losses of a batch of frames (b t c h w in [0, 1]); the mask comes from `generator`."""
        latents = time_step_latents(self.encoder, self.head, frames)  # b t m d
        kind = self.masks.draw(generator)
        if isinstance(kind, TimeMasks):
            errors = self._time_errors(latents, self._targets(frames, latents), kind)
        else:
            grid = self.encoder.grid(frames)
            mask = self.masks.tokens(kind, len(frames), grid, generator).to(frames.device)
            errors = self._token_errors(frames, latents, mask, grid)
        features = rearrange(latents[..., : self.head.dim], "b t m d -> (t m) b d")
        regularisation = self.regulariser(features, step=step)
        return Losses(
            terms={"prediction": errors.mean(), "regulariser": regularisation.loss},
            features=features.detach(),
            numbers={"sigreg_over_floor": regularisation.over_floor},
        )

    def _time_errors(self, latents: Tensor, targets: Tensor, kind: TimeMasks) -> Tensor:
        """Squared errors of the time steps that are hidden, under every pattern."""
        patterns = kind.hidden(latents.shape[1]).to(latents.device)
        hidden = repeat(patterns, "g t -> (b g) t", b=len(latents))
        seen, targets = (
            repeat(x, "b t m d -> (b g) t m d", g=len(patterns))
            for x in (latents, targets[..., : self.head.dim])
        )
        start = start_from(seen[..., : self.head.dim], hidden)
        return (self.predictor(seen, hidden, start) - targets)[hidden].square()

    def _token_errors(self, frames: Tensor, latents: Tensor, mask: Mask, grid: Grid) -> Tensor:
        """Squared errors of the latents of which something is hidden."""
        targets = self._targets(frames, latents)[..., : self.head.dim]
        to_predict = hidden_latents(mask, grid, per_token=self.head.per_token)  # b t m, bool
        # Of what is neither seen nor predicted (see `MaskMixture`) the start must not know either.
        start = start_from(latents[..., : self.head.dim], ~seen_whole(mask, grid))
        seen, unseen = context_latents(self.encoder, self.head, frames, mask.context)
        return (self.predictor(seen, unseen, start) - targets)[to_predict].square()

    def _targets(self, frames: Tensor, latents: Tensor) -> Tensor:
        if self.teacher is None:
            return latents if self.targets == "live" else latents.detach()
        encoder, head = self.teacher
        with torch.no_grad():
            return time_step_latents(encoder, head, frames)  # type: ignore[arg-type]

    @torch.no_grad()
    def after_step(self) -> None:
        """Move the slow copy, if there is one, after the optimiser has stepped."""
        if self.teacher is None:
            return
        students = nn.ModuleList([self.encoder, self.head]).state_dict()
        for name, slow in self.teacher.state_dict().items():
            if slow.is_floating_point():
                slow.lerp_(students[name], 1 - self.momentum)
            else:
                slow.copy_(students[name])


def hidden_latents(mask: Mask, grid: Grid, *, per_token: bool) -> Tensor:
    """Which latents have to be predicted: b t m, bool.

    Those of the hidden tokens; where a time step has one latent, that of every time step of which
    something is hidden.
    """
    t, h, w = grid
    hidden = torch.zeros(len(mask.targets), t * h * w, dtype=torch.bool, device=mask.targets.device)
    hidden = rearrange(hidden.scatter(1, mask.targets, True), "b (t n) -> b t n", t=t)
    return hidden if per_token else hidden.any(dim=2, keepdim=True)


def seen_whole(mask: Mask, grid: Grid) -> Tensor:
    """Of which time steps every token is visible: b t, bool."""
    t, h, w = grid
    places = mask.context.new_zeros(len(mask.context), t * h * w, dtype=torch.bool)
    places = places.scatter(1, mask.context, True)
    return rearrange(places, "b (t n) -> b t n", t=t).all(dim=2)
