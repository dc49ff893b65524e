"""Surprise: how far what came was from what was predicted, per time step.

Sees a model and a clip, knows nothing of which clips are possible; that is `violations.py`.
"""

import torch

from worldmodel.errors import ShapeError
from worldmodel.model import WorldModel
from worldmodel.types import Clip, Surprise


@torch.inference_mode()
def surprise(model: WorldModel, clip: Clip) -> Surprise:
    """Score the steps of a clip by the error of their prediction from what came before them.

    A model of time steps (`MaskedPredictor`) predicts every time step but the first from the one before
    it. As Garrido et al. 2025 (arXiv:2502.11831), with three differences: a prediction looks back
    on one time step, whose latents hold what is and how it changes; one time step is predicted at a time;
    and the hidden frames never enter the encoder of what is seen. A model of tokens
    (`TokenPredictor`) predicts the end of every window from its beginning, as they do.

    Args:
        model: with a masked predictor.
        clip: b t c h w, square frames of the model's size, at least two time steps.

    Returns:
        One score for each step. Of time steps: the mean squared error of their latents, which have
        variance one over the training data. Of windows: the mean absolute error of their tokens,
        which are normed, at the time of the window's last frame.

    Raises:
        ShapeError: the clip is too short, or does not divide into time steps.
    """
    return both(model, clip)[0]


@torch.inference_mode()
def persistence_surprise(model: WorldModel, clip: Clip) -> Surprise:
    """The baseline that predicts no change: the distance from what came to what was seen last."""
    return both(model, clip)[1]


@torch.inference_mode()
def both(model: WorldModel, clip: Clip) -> tuple[Surprise, Surprise]:
    """`surprise` and `persistence_surprise` for the price of one."""
    i = model.tubelet_frames
    frames = clip.frames.shape[1]
    if frames < 2 * i or frames % i:
        raise ShapeError(
            f"surprise takes clips of a multiple of {i} frames, at least {2 * i}, got {frames}"
        )
    # Predictions are let go as soon as their errors are known: there may be many.
    told = [
        (x.errors().cpu(), x.persistence_errors().cpu(), x.last_frames)
        for x in model.predictions(clip)
    ]
    errors, persistence_errors, last_frames = zip(*told, strict=True)
    times = clip.times[:, torch.cat(last_frames)]
    return (
        Surprise(torch.cat(errors, dim=1), times), Surprise(torch.cat(persistence_errors, dim=1), times),
    )  # fmt: skip
