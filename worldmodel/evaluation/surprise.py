"""Surprise: the error of predictions against what was then observed, per time step.

Takes a model and a clip, and knows nothing of which clips are possible. Pairs of possible and
impossible clips are compared in `pairs.py`; the verb is in `surprise_verb.py`.
"""

import torch

from worldmodel.errors import ShapeError
from worldmodel.model import WorldModel
from worldmodel.types import Clip, Surprise


@torch.inference_mode()
def surprise(model: WorldModel, clip: Clip) -> Surprise:
    """Score each step of a clip by the error of its prediction from the frames before it.

    A model of time steps (`MaskedPredictor`) predicts every time step but the first from the one
    before it. This follows Garrido et al. 2025 (arXiv:2502.11831), with three differences: a
    prediction looks back on one time step, whose latents hold the scene and how it changes; one
    time step is predicted at a time; and the encoder never sees the hidden frames. A model of
    tokens (`TokenPredictor`) predicts the end of every window from its beginning, as they do.

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
    return surprise_and_persistence(model, clip)[0]


@torch.inference_mode()
def surprise_and_persistence(model: WorldModel, clip: Clip) -> tuple[Surprise, Surprise]:
    """Surprise, and that of the baseline which says that nothing changes, from one pass."""
    i = model.tubelet_frames
    frames = clip.frames.shape[1]
    if frames < 2 * i or frames % i:
        raise ShapeError(
            f"surprise takes clips of a multiple of {i} frames, at least {2 * i}, got {frames}"
        )
    # Each prediction is dropped once it is scored: a long clip has many.
    scored = [
        (x.errors().cpu(), x.persistence_errors().cpu(), x.last_frames)
        for x in model.predictions(clip)
    ]
    errors, persistence_errors, last_frames = zip(*scored, strict=True)
    times = clip.times[:, torch.cat(last_frames)]
    return (
        Surprise(torch.cat(errors, dim=1), times),
        Surprise(torch.cat(persistence_errors, dim=1), times),
    )
