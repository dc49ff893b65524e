"""The energy F(x, y) of a beginning and an end of a clip: low where y goes on from x.

LeCun (2022, "A path towards autonomous machine intelligence", section 4) calls a model
energy-based if it tells how well two things fit. Every objective here that predicts does, by the
distance that it was trained to make small: of the prediction, made of x alone, to what y turns out
to be. For `time_steps`, `next_tokens` and `masked_tokens` that is between latents, for
`masked_pixels` between pixels, and for `contrastive` one minus the cosine that its softmax takes.
`views` predicts nothing, and draws what is of one clip together: there it is the distance of the
two parts' latents.
The scale is each objective's own: energies of one model are comparable, those of two are not.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from worldmodel.errors import ShapeError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.objectives.objective import Objective


def energy(model: Objective | WorldModel, x: Tensor, y: Tensor) -> Tensor:
    """How badly frames `y` go on from frames `x`: one number for each clip, in evaluation mode.

    An EMA or frozen teacher is asked where an objective has one; a saved model has none, and
    compares with what its own encoder makes of the frames, tokens by absolute differences or the
    cosine. Differentiable in both arguments.

    Args:
        model: an objective, or a model with a masked predictor.
        x: b t c h w in [0, 1], what was seen.
        y: b s c h w in [0, 1], what may have come after.

    Returns:
        b; it does not depend on the other clips of the batch.

    Raises:
        ShapeError: the two are not of the same clips and size, do not divide into time steps, or
            y is longer than the model can look ahead.
        WorldModelError: the model predicts nothing of what comes.
    """
    if x.ndim != 5 or y.ndim != 5 or len(x) != len(y) or x.shape[2:] != y.shape[2:]:
        raise ShapeError(
            f"energy takes frames b t c h w and b s c h w of the same clips and size, got "
            f"{tuple(x.shape)} and {tuple(y.shape)}"
        )
    # Both parts are whole time steps: grid() refuses others.
    seen, _ = (model.encoder.grid(part)[0] for part in (x, y))
    frames = torch.cat([x, y], dim=1)
    with _evaluating(model):
        if isinstance(model, Objective):
            return model.energies(frames, seen)
        predictor = model.masked_predictor
        if predictor is None:
            raise WorldModelError(
                "this model predicts nothing of what comes, so it has no energy: take one that "
                "`worldmodel pretrain` has left with a masked predictor"
            )
        observed = predictor.observed(model.encoder, model.head, frames)[:, seen:]
        predicted = predictor.ahead(model.encoder, model.head, x, observed.shape[1])
        return (predicted - observed).abs().pow(predictor.power).mean((1, 2, 3))


@contextmanager
def _evaluating(model: nn.Module) -> Iterator[None]:
    """The model in evaluation mode; every part is put back into its own mode afterwards."""
    modes = {part: part.training for part in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for part, mode in modes.items():
            part.training = mode
