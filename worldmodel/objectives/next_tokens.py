"""The objective `next_tokens`: later time steps, predicted from all earlier ones at once."""

from torch import Tensor

from worldmodel.architecture import Architecture
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.distances import Distance, check_distance, distances
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.later_steps import LaterSteps
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets


class NextTokens(LaterSteps):
    """Each time step is encoded alone; a causal transformer predicts those that come later.

    Every time step of a clip predicts at once, over every horizon that fits into it. As the
    predictor looks at all earlier time steps it has a memory, as long as the longest horizon asks
    for one: make clips longer than what can hide things.

    Args:
        model: sizes of the encoder and of its latents.
        regulariser: keeps the latents from collapsing.
        targets: `live` (with gradient), `stopgrad`, or `ema` (of an EMA teacher).
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        distance: of a prediction to its target.
        horizons: how many time steps ahead is predicted.
        momentum: of the EMA teacher; or two, of the first and of the last step.
        predictor_width, predictor_depth, predictor_heads: of the transformer that predicts.
    """

    def __init__(
        self, model: Architecture, *, regulariser: Regulariser, targets: Targets = "live",
        centre: Centre = "episode", distance: Distance = "l2",
        horizons: tuple[int, ...] = (1, 2, 4, 8), momentum: Momentum = 0.996,
        predictor_width: int = 192, predictor_depth: int = 3, predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        check_distance(distance)
        super().__init__(
            model, regulariser=regulariser, targets=targets, centre=centre, distance=distance,
            horizons=horizons, momentum=momentum, width=predictor_width, depth=predictor_depth,
            heads=predictor_heads,
        )  # fmt: skip

    def error(self, predicted: Tensor, targets: Tensor, *, clips_per_video: int) -> Tensor:
        """The mean distance of predictions to their targets."""
        return distances(predicted, targets, self.distance).mean()
