"""Has a model learned what stands still, and not what moves?

Every clip of real video has a background of its own. Latents that hold it and nothing else are as
varied over a batch as can be, and to copy them is a nearly exact prediction: the loss is low, and
no sign of collapse shows. Three numbers tell it: nearly all variance lies between clips, copying
the last latents is nearly right, and prediction is hardly better than copying. The alarm needs all
three; `benchmarks/static_shortcut.py` measures how often it is wrong.
"""

import math
from dataclasses import asdict, dataclass

import torch
from einops import reduce
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.model import WorldModel
from worldmodel.runs.processes import sums

# Where only models that had learned the background alone were found, on development runs.
MIN_BETWEEN = 0.95
MAX_COPY_ERROR = 0.05
MIN_OVER_COPYING = 0.8


@dataclass(frozen=True)
class Stillness:
    """How much of what a model knows of clips stands still in them."""

    between_clips: float  # share of the variance of latents that lies between clips, 0 to 1
    copy_error: float  # squared change from one time step to the next over the variance
    prediction_over_copying: float  # error of prediction over that of copying; 1: no better

    def numbers(self) -> dict[str, float]:
        """The numbers by name, for a log."""
        return asdict(self)

    @property
    def alarm(self) -> str | None:
        """One line that says what is wrong, or None."""
        # Written so that a number that is not finite raises no alarm: collapse has its own.
        if not (
            self.between_clips > MIN_BETWEEN
            and self.copy_error < MAX_COPY_ERROR
            and self.prediction_over_copying > MIN_OVER_COPYING
        ):
            return None
        return (
            "latents hold what stands still in a clip and not what moves: "
            f"{100 * self.between_clips:.1f}% of their variance lies between clips, to copy the "
            f"last ones errs by {100 * self.copy_error:.2g}% of it, and prediction by "
            f"{self.prediction_over_copying:.2g} times that; say objective.centre=episode and "
            "data.clips_per_video=4"
        )


def between_clips(latents: Tensor) -> float:
    """The share of the variance of latents t m b d that the means of clips over time have.

    Raises:
        ShapeError: there is one clip, or one time step, only.
    """
    t, _, b, _ = latents.shape
    if t < 2 or b < 2:
        raise ShapeError(f"what stands still shows in two clips of two time steps, got {b} of {t}")
    latents = latents.double()
    means = reduce(latents, "t m b d -> m b d", "mean")
    return float(means.var(1).mean() / latents.var(2).mean())


def copy_error(latents: Tensor) -> float:
    """The mean squared change of latents t m b d from a time step to the next, by the variance."""
    latents = latents.double()
    return float(latents.diff(dim=0).square().mean() / latents.var(2).mean())


@torch.inference_mode()
def stillness(model: WorldModel, latents: Tensor, frames: Tensor) -> Stillness | None:
    """Look at latents t m b d, and at what the model predicts of their frames b t c h w.

    Where several processes share a training, the latents are those of all of them, and the frames
    those that this one has.

    Returns:
        None where there is nothing to see: a single time step, or nothing that predicts.
    """
    if model.masked_predictor is None or latents.shape[0] < 2 or latents.shape[2] < 2:
        return None
    error = copying = 0.0
    for found in model.masked_predictor.predictions(model.encoder, model.head, frames):
        error += float(found.errors().sum())
        copying += float(found.persistence_errors().sum())
    error, copying = sums(error, copying)
    over = error / copying if copying else math.nan
    return Stillness(between_clips(latents), copy_error(latents), over)
