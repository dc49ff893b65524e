"""Surprise: how far what came was from what was predicted, per time step.

Sees a model and a clip, knows nothing of which clips are possible; that is `violations.py`.
"""

from dataclasses import replace

import torch
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.model import WorldModel
from worldmodel.types import Clip, Surprise


@torch.inference_mode()
def surprise(model: WorldModel, clip: Clip, *, context: int = 2) -> Surprise:
    """Score every tubelet but the first by the error of its prediction from those before it.

    As Garrido et al. 2025 (arXiv:2502.11831), with three differences: the window moves by one
    tubelet, one tubelet is predicted at a time, and the hidden frames never enter the encoder of
    the context.

    Args:
        model: with a masked predictor.
        clip: b t c h w, square frames of the model's size, at least two tubelets.
        context: most tubelets that a prediction looks back on.

    Returns:
        One score for each tubelet from the second on: the mean squared error of its latents, which
        have variance one over the training data.

    Raises:
        ShapeError: the clip is too short, or does not divide into tubelets.
    """
    i = model.tubelet_frames
    steps = clip.frames.shape[1] // i
    if steps < 2 or clip.frames.shape[1] % i:
        raise ShapeError(
            f"surprise takes clips of a multiple of {i} frames, at least {2 * i}, "
            f"got {clip.frames.shape[1]}"
        )
    scores = []
    for step in range(1, steps):
        seen = min(step, context)
        window = _frames(clip, (step - seen) * i, (step + 1) * i)
        predicted, came = model.foresee(window, seen=seen)
        scores.append(mean_error(predicted, came))
    return Surprise(torch.stack(scores, dim=1).cpu(), clip.times[:, 2 * i - 1 :: i])


@torch.inference_mode()
def copy_surprise(model: WorldModel, clip: Clip) -> Surprise:
    """The baseline that predicts no change: the distance from each tubelet's latents to the last.

    Args:
        model: with a head.
        clip: as for `surprise`.
    """
    i = model.tubelet_frames
    latents = model.latents(clip)  # b t m d
    scores = (latents[:, 1:] - latents[:, :-1]).square().mean(dim=(2, 3))
    return Surprise(scores.cpu(), clip.times[:, 2 * i - 1 :: i])


def mean_error(predicted: Tensor, came: Tensor) -> Tensor:
    """Mean squared error of each sample: b m d -> b."""
    return (predicted - came).square().mean(dim=(1, 2))


def _frames(clip: Clip, first: int, end: int) -> Clip:
    return replace(clip, frames=clip.frames[:, first:end], times=clip.times[:, first:end])
