"""What objectives that predict latents share: targets, an EMA teacher, a centred regulariser."""

from abc import abstractmethod

from einops import rearrange
from torch import Tensor

from worldmodel.model import WorldModel
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head
from worldmodel.nn.predictor import Predictor
from worldmodel.objectives.centre import Centre, check_centre, regularise
from worldmodel.objectives.distances import Distance, distances
from worldmodel.objectives.ema_teacher import EMATeacher, Momentum
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.objectives.regularisers import Regulariser


class PredictedLatents(Objective):
    """An objective whose loss is the error of predicted latents, and a regulariser's penalty.

    Args:
        encoder, head: make the latents; head is None where tokens are predicted as they are.
        regulariser: keeps the latents from collapsing.
        targets: where they come from; `ema` makes an EMA teacher.
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        momentum: of the EMA teacher; or two, of the first and of the last step.

    Attributes:
        predictor: of latents.
        distance: of a prediction to its target.
    """

    predictor: Predictor
    distance: Distance = "l2"

    def __init__(
        self, encoder: Encoder, head: Head | None, *, regulariser: Regulariser, targets: str,
        centre: Centre, momentum: Momentum,
    ) -> None:  # fmt: skip
        super().__init__()
        check_centre(centre)
        self.encoder, self.head = encoder, head
        self.predicted = encoder.width if head is None else head.dim
        self.regulariser, self.targets, self.centre = regulariser, targets, centre
        self.wants_gaussian = regulariser.wants_gaussian
        self.teacher: EMATeacher | None = None
        if targets == "ema":
            self.teacher = EMATeacher(encoder, head, momentum=momentum)

    def losses(self, error: Tensor, latents: Tensor, *, step: int, clips_per_video: int) -> Losses:
        """The mean error of the predictions, and the penalty of the latents b t m d."""
        regularisation = regularise(
            self.regulariser, latents, step=step, centre=self.centre,
            clips_per_video=clips_per_video,
        )  # fmt: skip
        return Losses(
            terms={"prediction": error, "regulariser": regularisation.loss},
            features=rearrange(latents.detach(), "b t m d -> t m b d"),
            numbers={"sigreg_over_floor": regularisation.over_floor},
        )

    def own_targets(self, latents: Tensor) -> Tensor:
        """The latents as targets, with gradient where targets are `live`."""
        return latents if self.targets == "live" else latents.detach()

    def step_targets(self, frames: Tensor, latents: Tensor) -> Tensor:
        """The targets at each time step, where each is encoded alone: b t m d.

        Args:
            frames: b t c h w, for a teacher.
            latents: b t m d, of the students.
        """
        if self.teacher is not None:
            return self.teacher(frames)[..., : self.predicted]
        return self.own_targets(latents[..., : self.predicted])

    @abstractmethod
    def targets_of(self, frames: Tensor) -> Tensor:
        """What predictions of frames b t c h w are compared with: b t m d."""

    def energies(self, frames: Tensor, seen: int) -> Tensor:
        """The distance of what is predicted after the first `seen` time steps to its targets: b."""
        steps = self.encoder.grid(frames)[0] - seen
        beginning = frames[:, : seen * self.encoder.tubelet_frames]
        predicted = self.predictor.ahead(self.encoder, self.head, beginning, steps)
        return distances(predicted, self.targets_of(frames)[:, seen:], self.distance).mean((1, 2))

    def world_model(self, size: int) -> WorldModel:
        """Encoder, head and predictor; the EMA teacher is not kept."""
        return WorldModel(self.encoder, size=size, head=self.head, masked_predictor=self.predictor)

    def after_step(self, progress: float) -> None:
        """Let the EMA teacher, if there is one, follow the encoder and the head."""
        if self.teacher is not None:
            self.teacher.follow(self.encoder, self.head, progress)
