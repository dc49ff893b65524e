"""The objective `contrastive`: tell the latents that come from those of other videos (InfoNCE)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.nn.across_ranks import all_rows, own_rows
from worldmodel.nn.causal_predictor import CausalPredictor
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.nn.patches import Grid
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.masks import MaskExample, horizon_examples
from worldmodel.objectives.next_tokens import require_later_steps
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.predicted_latents import PredictedLatents
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets
from worldmodel.runs.processes import world


class Contrastive(PredictedLatents):
    """Each time step is encoded alone; of later ones, the right latents are picked out of a batch.

    Predictions are those of `next_tokens`. Each is compared by its cosine with its target and with
    the latents of other videos at the same time step (and position), and a softmax must name the
    target: InfoNCE (van den Oord et al. 2018, arXiv:1807.03748, eq. 4). Other latents push each
    other apart, so nothing has to keep them from collapsing. The baseline of energy-based learning:
    low where two things fit, high for what is shown as wrong, and for that alone. What stands still
    in each video is enough to tell it from others.

    Args:
        model: sizes of the encoder and of its latents.
        regulariser: of the latents; `none` is as published.
        targets: `live` (with gradient), `stopgrad`, or `ema` (latents of an EMA teacher, as MoCo,
            arXiv:1911.05722).
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        temperature: that cosines are divided by; 0.1 as in SimCLR (arXiv:2002.05709) and, for
            video, CVRL (arXiv:2008.03800).
        horizons: how many time steps ahead is predicted.
        momentum: of the EMA teacher; or two, of the first and of the last step.
        predictor_width, predictor_depth, predictor_heads: of the transformer that predicts.

    Raises:
        ConfigError: a setting is none of these.
    """

    head: Head

    def __init__(
        self, model: Architecture, *, regulariser: Regulariser, targets: Targets = "live",
        centre: Centre = "episode", temperature: float = 0.1,
        horizons: tuple[int, ...] = (1, 2, 4, 8), momentum: Momentum = 0.996,
        predictor_width: int = 192, predictor_depth: int = 3, predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        check_targets(targets)
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(
                f"objective.temperature divides cosines: it must be positive, got {temperature}"
            )
        super().__init__(
            model.encoder, model.head(), regulariser=regulariser, targets=targets, centre=centre,
            momentum=momentum,
        )  # fmt: skip
        self.predictor: CausalPredictor = CausalPredictor(
            model.tokens if self.head.per_token else 1, self.head.width, self.head.dim,
            horizons=horizons, width=predictor_width, depth=predictor_depth, heads=predictor_heads,
            cosine=True,
        )  # fmt: skip
        self.distance = "cosine"
        self.temperature = temperature

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The mean of InfoNCE over horizons, time steps and positions, and the regulariser's loss.

        Raises:
            ConfigError: the clips are too short for the shortest horizon, or all of one video.
        """
        latents = time_step_latents(self.encoder, self.head, frames)  # b t m d
        require_later_steps(latents.shape[1], self.predictor, self.encoder)
        pairs = self.predictor.pairs(self.predictor(latents), self.step_targets(frames, latents))
        losses = [
            info_nce(
                *(rearrange(x, "b t m d -> b (t m) d") for x in pair),
                temperature=self.temperature, clips_per_video=clips_per_video,
            )
            for pair in pairs
        ]  # fmt: skip
        seen = latents[..., : self.head.dim]
        loss = torch.stack(losses).mean()
        return self.losses(loss, seen, step=step, clips_per_video=clips_per_video)

    def targets_of(self, frames: Tensor) -> Tensor:
        """The latents of each time step alone that are predicted: b t m d."""
        return self.step_targets(frames, time_step_latents(self.encoder, self.head, frames))

    def mask_examples(self, grid: Grid, generator: Generator) -> list[MaskExample]:
        """From each time step that predicts: those up to it are seen, those at horizons are not."""
        return horizon_examples(grid, self.predictor.horizons)

    def latents(self, frames: Tensor) -> Tensor:
        """All numbers of the latents of each time step: frames b t c h w -> t m b d."""
        latents = time_step_latents(self.encoder, self.head, frames)
        return rearrange(latents, "b t m d -> t m b d")


def info_nce(
    predicted: Tensor, targets: Tensor, *, temperature: float, clips_per_video: int = 1
) -> Tensor:
    """The mean cross-entropy of naming each prediction's target among those at its position.

    Args:
        predicted: b n d.
        targets: b n d.
        temperature: that cosines are divided by.
        clips_per_video: so many clips in a row are of one video; they are no wrong answers for one
            another and are left out.

    Returns:
        A scalar. Wrong answers are those of all processes.

    Raises:
        ConfigError: there is one video only.
    """
    b, n, _ = predicted.shape
    whole = b * world()
    if whole <= clips_per_video:
        raise ConfigError(
            f"a batch of {whole} clips, {clips_per_video} of each video, has no other video to "
            f"compare with; say batch={2 * clips_per_video} or more, or data.clips_per_video=1"
        )
    unit, others = (
        rearrange(F.normalize(x, dim=-1), "b n d -> n b d") for x in (predicted, all_rows(targets))
    )
    scores = unit @ rearrange(others, "n c d -> n d c") / temperature  # n b c
    clips = torch.arange(whole, device=scores.device)
    clip = own_rows(clips)
    same = (clip // clips_per_video)[:, None] == clips // clips_per_video
    same &= clip[:, None] != clips
    scores = scores.masked_fill(same, -torch.inf)
    return F.cross_entropy(rearrange(scores, "n b c -> (n b) c"), clip.repeat(n))
