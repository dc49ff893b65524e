"""What objectives share that predict later time steps from all earlier ones at once."""

from abc import abstractmethod

import torch
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.nn.causal_predictor import CausalPredictor
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents
from worldmodel.nn.patches import Grid
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.distances import Distance
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.masks import MaskExample, horizon_examples
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.predicted_latents import PredictedLatents
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets


class LaterSteps(PredictedLatents):
    """Each time step is encoded alone; a causal transformer predicts the latents of later ones.

    Args:
        model: sizes of the encoder and of its latents.
        regulariser: of the latents.
        targets: `live` (with gradient), `stopgrad`, or `ema` (of an EMA teacher).
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        distance: of a prediction to its target, when a model is scored.
        horizons: how many time steps ahead is predicted.
        momentum: of the EMA teacher; or two, of the first and of the last step.
        width, depth, heads: of the transformer that predicts.
    """

    head: Head

    def __init__(
        self, model: Architecture, *, regulariser: Regulariser, targets: Targets, centre: Centre,
        distance: Distance, horizons: tuple[int, ...], momentum: Momentum, width: int, depth: int,
        heads: int,
    ) -> None:  # fmt: skip
        check_targets(targets)
        super().__init__(
            model.encoder, model.head(), regulariser=regulariser, targets=targets, centre=centre,
            momentum=momentum,
        )  # fmt: skip
        self.predictor: CausalPredictor = CausalPredictor(
            model.tokens if self.head.per_token else 1, self.head.width, self.head.dim,
            horizons=horizons, width=width, depth=depth, heads=heads, cosine=distance == "cosine",
        )  # fmt: skip
        self.distance = distance

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The mean error over horizons, and the regulariser's loss.

        Raises:
            ConfigError: the clips are too short for the shortest horizon.
        """
        latents = time_step_latents(self.encoder, self.head, frames)  # b t m d
        require_later_steps(latents.shape[1], self.predictor, self.encoder)
        pairs = self.predictor.pairs(self.predictor(latents), self.step_targets(frames, latents))
        errors = [self.error(*pair, clips_per_video=clips_per_video) for pair in pairs]
        seen = latents[..., : self.head.dim]
        return self.losses(
            torch.stack(errors).mean(), seen, step=step, clips_per_video=clips_per_video
        )

    @abstractmethod
    def error(self, predicted: Tensor, targets: Tensor, *, clips_per_video: int) -> Tensor:
        """How far predictions over one horizon, b t m d, are from their targets: a scalar."""

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


def require_later_steps(steps: int, predictor: CausalPredictor, encoder: Encoder) -> None:
    """Refuse clips of so many time steps where no horizon fits into them.

    Raises:
        ConfigError: with the length that fits.
    """
    shortest = predictor.horizons[0]
    if steps <= shortest:
        raise ConfigError(
            f"clips of {steps} time step{'s' * (steps > 1)} leave nothing to predict over a "
            f"horizon of {shortest}; say num_frames={encoder.tubelet_frames * (shortest + 1)} or "
            "more"
        )
