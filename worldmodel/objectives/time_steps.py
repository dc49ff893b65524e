"""The objective `time_steps`: latents of hidden time steps, predicted from those that are seen.

Targets and the regulariser are chosen independently of each other. V-JEPA is targets from an EMA
teacher and no regulariser; the default here is targets from the same encoder, with gradient, and
SIGReg.
"""

import torch
from einops import rearrange, repeat
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.nn.across_ranks import mean
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.nn.masked_predictor import MaskedPredictor, start_from
from worldmodel.nn.patches import Grid
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.epps_pulley import at_least_float32
from worldmodel.objectives.masks import MaskExample, MaskMixture, TimeMasks
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.predicted_latents import PredictedLatents
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets
from worldmodel.types import Mask


def context_latents(
    encoder: Encoder, head: Head, frames: Tensor, context: Tensor
) -> tuple[Tensor, Tensor]:
    """The latents of the visible part of each time step, and which time steps are all hidden.

    The visible tokens are encoded together and put back at their positions; hidden positions stay
    empty.

    Args:
        encoder: of the model.
        head: of the model.
        frames: b t c h w; the encoder drops what is not in `context` before its first block.
        context: b m, ids of the visible tokens on the grid.

    Returns:
        (latents b t m d, hidden b t); the latents of a time step that is all hidden are zero.
    """
    t, h, w = encoder.grid(frames)
    visible = encoder(frames, keep=context)
    empty = visible.new_zeros(len(frames), t * h * w, visible.shape[-1])
    placed = empty.scatter(1, context[..., None].expand_as(visible), visible)
    time_steps = rearrange(placed, "b (t n) d -> b t n d", t=t)
    is_seen = _marked(context, (t, h, w)).any(dim=2)
    # Empty time steps stay out of the head, so that they do not enter its batch statistics.
    latents = head(time_steps[is_seen])
    out = latents.new_zeros(*is_seen.shape, *latents.shape[1:])
    return out.masked_scatter(is_seen[..., None, None], latents), ~is_seen


class TimeSteps(PredictedLatents):
    """Masked prediction by time steps: see part of a clip, predict the latents of what is hidden.

    Where complete time steps are hidden, each of the others is encoded by itself. Where tokens are
    hidden, the visible ones are encoded together. A narrow predictor then fills in the latents of
    every time step of which something is hidden (of the hidden tokens, where the head makes a
    latent for each). The regulariser's sample is the batch at one time step (and position).

    Args:
        model: sizes of the networks that learn.
        masks: draws what is hidden.
        regulariser: keeps the latents from collapsing.
        targets: `live` (with gradient), `stopgrad`, or `ema` (latents of an EMA teacher).
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        momentum: of the EMA teacher; or two, of the first and of the last step.
    """

    head: Head
    masks: MaskMixture

    def __init__(
        self, model: Architecture, *, masks: MaskMixture, regulariser: Regulariser,
        targets: Targets = "live", centre: Centre = "episode", momentum: Momentum = 0.996,
    ) -> None:  # fmt: skip
        check_targets(targets)
        super().__init__(
            model.encoder, model.head(), regulariser=regulariser, targets=targets, centre=centre,
            momentum=momentum,
        )  # fmt: skip
        self.predictor: MaskedPredictor = model.masked_predictor()
        self.masks, self.size = masks, model.size

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The prediction's loss and the regulariser's; the mask comes from `generator`."""
        latents = time_step_latents(self.encoder, self.head, frames)  # b t m d
        kind = self.masks.draw(generator)
        if isinstance(kind, TimeMasks):
            errors = self._time_errors(latents, self.step_targets(frames, latents), kind)
        else:
            grid = self.encoder.grid(frames)
            mask = self.masks.tokens(kind, len(frames), grid, generator).to(frames.device)
            errors = self._token_errors(frames, latents, mask, grid)
        features = latents[..., : self.head.dim]
        error = mean(at_least_float32(errors))
        return self.losses(error, features, step=step, clips_per_video=clips_per_video)

    def _time_errors(self, latents: Tensor, targets: Tensor, kind: TimeMasks) -> Tensor:
        """Squared errors of the hidden time steps, under every pattern."""
        patterns = kind.hidden(latents.shape[1]).to(latents.device)
        hidden = repeat(patterns, "g t -> (b g) t", b=len(latents))
        seen, targets = (
            repeat(x, "b t m d -> (b g) t m d", g=len(patterns)) for x in (latents, targets)
        )
        start = start_from(seen[..., : self.head.dim], hidden)
        return (self.predictor(seen, hidden, start) - targets)[hidden].square()

    def _token_errors(self, frames: Tensor, latents: Tensor, mask: Mask, grid: Grid) -> Tensor:
        """Squared errors of the latents of which something is hidden."""
        targets = self.step_targets(frames, latents)
        to_predict = hidden_latents(mask, grid, per_token=self.head.per_token)  # b t m, bool
        # A start must know nothing of tokens that were dropped either (see `MaskMixture`).
        start = start_from(latents[..., : self.head.dim], ~completely_seen(mask, grid))
        seen, unseen = context_latents(self.encoder, self.head, frames, mask.context)
        return (self.predictor(seen, unseen, start) - targets)[to_predict].square()

    def targets_of(self, frames: Tensor) -> Tensor:
        """The latents of each time step alone that are predicted: b t m d."""
        return self.step_targets(frames, time_step_latents(self.encoder, self.head, frames))

    def check(self, num_frames: int) -> None:
        """Refuse clips that a mask would leave nothing to see or to predict of."""
        self.masks.check(self.encoder.grid_of(num_frames, self.size, self.size))

    def mask_examples(self, grid: Grid, generator: Generator) -> list[MaskExample]:
        """As the masks have it; of time steps that are seen, all is."""
        return self.masks.examples(grid, generator, drop_in_time=False)

    def latents(self, frames: Tensor) -> Tensor:
        """All numbers of the latents of each time step: frames b t c h w -> t m b d."""
        latents = time_step_latents(self.encoder, self.head, frames)
        return rearrange(latents, "b t m d -> t m b d")


def hidden_latents(mask: Mask, grid: Grid, *, per_token: bool) -> Tensor:
    """True for latents that have to be predicted, b t m.

    These are the latents of the hidden tokens or, where a time step has one latent, of every time
    step of which something is hidden.
    """
    hidden = _marked(mask.targets, grid)
    return hidden if per_token else hidden.any(dim=2, keepdim=True)


def completely_seen(mask: Mask, grid: Grid) -> Tensor:
    """True for time steps of which every token is visible, b t."""
    return _marked(mask.context, grid).all(dim=2)


def _marked(ids: Tensor, grid: Grid) -> Tensor:
    """True at the ids (b m) on the grid: b t n."""
    t, h, w = grid
    marked = ids.new_zeros(len(ids), t * h * w, dtype=torch.bool).scatter(1, ids, True)
    return rearrange(marked, "b (t n) -> b t n", t=t)
