"""Surprise: how far what came was from what was predicted, per time step.

Sees a model and a clip, knows nothing of which clips are possible; that is `violations.py`.
"""

import torch

from worldmodel.errors import ShapeError
from worldmodel.model import WorldModel
from worldmodel.types import Clip, Surprise


@torch.inference_mode()
def surprise(model: WorldModel, clip: Clip) -> Surprise:
    """Score every moment but the first by the error of its prediction from the one before it.

    As Garrido et al. 2025 (arXiv:2502.11831), with three differences: a prediction looks back on
    one moment, whose latents hold what is and how it changes; one moment is predicted at a time;
    and the hidden frames never enter the encoder of what is seen.

    Args:
        model: with a masked predictor.
        clip: b t c h w, square frames of the model's size, at least two moments.

    Returns:
        One score for each moment from the second on: the mean squared error of its latents, which
        have variance one over the training data.

    Raises:
        ShapeError: the clip is too short, or does not divide into moments.
    """
    i = model.tubelet_frames
    frames = clip.frames.shape[1]
    if frames < 2 * i or frames % i:
        raise ShapeError(
            f"surprise takes clips of a multiple of {i} frames, at least {2 * i}, got {frames}"
        )
    predicted, came = model.foresee(clip)
    scores = (predicted - came).square().mean(dim=(2, 3))
    return Surprise(scores.cpu(), clip.times[:, 2 * i - 1 :: i])


@torch.inference_mode()
def copy_surprise(model: WorldModel, clip: Clip) -> Surprise:
    """The baseline that predicts no change: the distance from each moment's latents to the last.

    Args:
        model: with a head.
        clip: as for `surprise`.
    """
    i = model.tubelet_frames
    latents = model.latents(clip)  # b t m d
    scores = (latents[:, 1:] - latents[:, :-1]).square().mean(dim=(2, 3))
    return Surprise(scores.cpu(), clip.times[:, 2 * i - 1 :: i])
