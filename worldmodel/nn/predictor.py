"""What a predictor foretells of a clip, beside what then came.

`Predictor` is the role of whatever fills in what is hidden of a clip; how far its prediction was
from what came is what `surprises.py` reports.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, ClassVar

from torch import Tensor, nn

from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head


@dataclass(frozen=True)
class Prediction:
    """Predictions of `s` steps of a clip, what came, and what would have come without change.

    Axes: b clip, s step, m latent of a step, d its numbers.
    """

    predicted: Tensor  # b s m d
    observed: Tensor  # b s m d
    persistence: Tensor  # b s m d: the last that was seen, as if nothing had changed
    last_frames: Tensor  # s, whole numbers: the last frame that each step is about
    power: int  # of the error in training: 2 squared, 1 absolute

    def errors(self) -> Tensor:
        """The mean error of each prediction, b s."""
        return self._mean_error(self.predicted)

    def persistence_errors(self) -> Tensor:
        """The mean error of saying that nothing changes, b s."""
        return self._mean_error(self.persistence)

    def _mean_error(self, said: Tensor) -> Tensor:
        return (said - self.observed).abs().pow(self.power).mean(dim=(2, 3))


class Predictor(nn.Module, ABC):
    """Fills in what is hidden of a clip. A subclass is known by its name.

    Attributes:
        spec: the constructor's arguments, as JSON.
    """

    registry: ClassVar[dict[str, type["Predictor"]]] = {}
    spec: dict[str, Any]

    def __init_subclass__(cls) -> None:
        Predictor.registry[cls.__name__] = cls

    @abstractmethod
    def predictions(
        self, encoder: Encoder, head: Head | None, frames: Tensor
    ) -> Iterator[Prediction]:
        """Predict parts of a clip from parts before them, a few steps at a time in their order.

        What is wrong is raised at once, before the first of them is asked for.

        Args:
            encoder: of the model.
            head: of the model, if it has one.
            frames: b t c h w in [0, 1].

        Raises:
            ShapeError: the frames cannot be cut without a rest, or are too few.
        """
