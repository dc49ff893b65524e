"""`Predictor`, the role of networks that fill in hidden parts of a clip, and their `Prediction`.

Implementations: `masked_predictor.py` (latents of time steps) and `token_predictor.py` (tokens).
`evaluation/surprise.py` scores predictions of clips.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

import torch.nn.functional as F
from torch import Tensor, nn

from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head


@dataclass(frozen=True)
class Prediction:
    """Predictions for `s` steps of a clip, paired with what was observed and with persistence.

    Axes: b clip, s step, m latent of a step, d its dimensions.
    """

    predicted: Tensor  # b s m d
    observed: Tensor  # b s m d
    persistence: Tensor  # b s m d: the baseline, the last latents seen
    last_frames: Tensor  # s, int64: the last frame of each step
    power: int  # of the error: 2 squared, 1 absolute

    def errors(self) -> Tensor:
        """The mean error of each prediction: b s."""
        return self._mean_error(self.predicted)

    def persistence_errors(self) -> Tensor:
        """The mean error of predicting that nothing changes: b s."""
        return self._mean_error(self.persistence)

    def _mean_error(self, predicted: Tensor) -> Tensor:
        return (predicted - self.observed).abs().pow(self.power).mean(dim=(2, 3))


class Predictor(nn.Module, ABC):
    """Fills in hidden parts of a clip. A subclass is registered by its name.

    Attributes:
        spec: the constructor's arguments, as JSON.
        power: of the error of its predictions, as it was trained: 2 squared, 1 absolute.
    """

    registry: ClassVar[dict[str, type["Predictor"]]] = {}
    spec: dict[str, Any]
    power: int

    def __init_subclass__(cls) -> None:
        Predictor.registry[cls.__name__] = cls

    @abstractmethod
    def predictions(
        self, encoder: Encoder, head: Head | None, frames: Tensor
    ) -> Iterator[Prediction]:
        """Predict parts of a clip from earlier parts, a few steps at a time, in order.

        Errors are raised by the call, before the first prediction is asked for.

        Args:
            encoder: of the model.
            head: of the model, if it has one.
            frames: b t c h w in [0, 1].

        Raises:
            ShapeError: the frames do not divide into tubelets, or are too few.
        """

    @abstractmethod
    def ahead(self, encoder: Encoder, head: Head | None, frames: Tensor, steps: int) -> Tensor:
        """Predict the time steps that come after a clip, from the clip alone.

        Args:
            encoder: of the model.
            head: of the model, if it has one.
            frames: b t c h w in [0, 1], what was seen.
            steps: how many time steps to predict.

        Returns:
            b s m d, comparable with the last time steps of `observed` of the longer clip.

        Raises:
            ShapeError: it cannot look so far ahead.
        """

    @abstractmethod
    def observed(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Tensor:
        """What predictions are compared with, in the space of the training: b t m d.

        Args:
            encoder: of the model.
            head: of the model, if it has one.
            frames: b t c h w in [0, 1].
        """


def on_sphere(latents: Tensor) -> Tensor:
    """Latents `... d`, scaled so that a mean squared difference is one minus the cosine."""
    return F.normalize(latents, dim=-1) * (latents.shape[-1] / 2) ** 0.5
