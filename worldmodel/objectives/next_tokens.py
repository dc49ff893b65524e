"""The objective `next_tokens`: later time steps, predicted from all earlier ones at once."""

import torch
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.causal_predictor import CausalPredictor
from worldmodel.nn.heads import time_step_latents
from worldmodel.objectives.centre import Centre, check_centre, regularise
from worldmodel.objectives.distances import Distance, check_distance, distances
from worldmodel.objectives.ema_teacher import EMATeacher, Momentum
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets


class NextTokens(Objective):
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
        super().__init__()
        check_targets(targets)
        check_distance(distance)
        check_centre(centre)
        self.encoder, self.head = model.encoder, model.head()
        self.predictor = CausalPredictor(
            model.tokens if self.head.per_token else 1, self.head.width, self.head.dim,
            horizons=horizons, width=predictor_width, depth=predictor_depth, heads=predictor_heads,
        )  # fmt: skip
        self.regulariser, self.targets, self.distance = regulariser, targets, distance
        self.centre: Centre = centre
        self.predicted, self.wants_gaussian = self.head.dim, regulariser.wants_gaussian
        self.teacher: EMATeacher | None = None
        if targets == "ema":
            self.teacher = EMATeacher(self.encoder, self.head, momentum=momentum)

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The predictions' loss and the regulariser's.

        Raises:
            ConfigError: the clips are too short for the shortest horizon.
        """
        latents = time_step_latents(self.encoder, self.head, frames)  # b t m d
        t, shortest = latents.shape[1], self.predictor.horizons[0]
        if t <= shortest:
            raise ConfigError(
                f"clips of {t} time step{'s' * (t > 1)} leave nothing to predict over a horizon of "
                f"{shortest}; say num_frames={self.encoder.tubelet_frames * (shortest + 1)} or more"
            )
        seen = latents[..., : self.head.dim]
        targets = self._targets(frames, seen)
        foreseen = self.predictor(latents)  # b h t m d
        errors = [
            distances(foreseen[:, i, : t - ahead], targets[:, ahead:], self.distance).mean()
            for i, ahead in enumerate(self.predictor.horizons)
            if ahead < t
        ]
        regularisation = regularise(
            self.regulariser, seen, step=step, centre=self.centre, clips_per_video=clips_per_video
        )
        return Losses(
            terms={
                "prediction": torch.stack(errors).mean(), "regulariser": regularisation.loss
            },
            features=rearrange(seen.detach(), "b t m d -> t m b d"),
            numbers={"sigreg_over_floor": regularisation.over_floor},
        )  # fmt: skip

    def _targets(self, frames: Tensor, latents: Tensor) -> Tensor:
        if self.teacher is not None:
            return self.teacher(frames)[..., : self.head.dim]
        return latents if self.targets == "live" else latents.detach()

    def latents(self, frames: Tensor) -> Tensor:
        """All numbers of the latents of each time step: frames b t c h w -> t m b d."""
        latents = time_step_latents(self.encoder, self.head, frames)
        return rearrange(latents, "b t m d -> t m b d")

    def world_model(self, size: int) -> WorldModel:
        """Encoder, head and predictor; the EMA teacher is not kept."""
        return WorldModel(self.encoder, size=size, head=self.head, masked_predictor=self.predictor)

    def after_step(self, progress: float) -> None:
        """Let the EMA teacher, if there is one, follow the encoder and the head."""
        if self.teacher is not None:
            self.teacher.follow(self.encoder, self.head, progress)
