"""The objective `contrastive`: tell the latents that come from those of other videos (InfoNCE)."""

import math

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.nn.across_ranks import all_rows, own_rows
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.later_steps import LaterSteps
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets
from worldmodel.runs.processes import world


class Contrastive(LaterSteps):
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

    def __init__(
        self, model: Architecture, *, regulariser: Regulariser, targets: Targets = "live",
        centre: Centre = "episode", temperature: float = 0.1,
        horizons: tuple[int, ...] = (1, 2, 4, 8), momentum: Momentum = 0.996,
        predictor_width: int = 192, predictor_depth: int = 3, predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        if not (temperature > 0 and math.isfinite(temperature)):
            raise ConfigError(
                f"objective.temperature divides cosines: it must be positive, got {temperature}"
            )
        super().__init__(
            model, regulariser=regulariser, targets=targets, centre=centre, distance="cosine",
            horizons=horizons, momentum=momentum, width=predictor_width, depth=predictor_depth,
            heads=predictor_heads,
        )  # fmt: skip
        self.temperature = temperature

    def error(self, predicted: Tensor, targets: Tensor, *, clips_per_video: int) -> Tensor:
        """InfoNCE of every time step and position.

        Raises:
            ConfigError: all clips are of one video.
        """
        pair = (rearrange(x, "b t m d -> b (t m) d") for x in (predicted, targets))
        return info_nce(*pair, temperature=self.temperature, clips_per_video=clips_per_video)


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
