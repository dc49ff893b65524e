"""The role Probe: frozen features and labels in, scores of the classes out.

A new probe is one new file: a dataclass whose fields are its settings, named in YAML by `_target_`.
Knows neither encoders nor videos.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from worldmodel.evaluation.frozen_features import Features
from worldmodel.nn.classifier import AttentiveClassifier


@dataclass(frozen=True)
class Labelled:
    """Features of videos with their classes."""

    features: Features
    labels: Tensor  # v, int64

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, rows: Sequence[int]) -> "Labelled":
        """Only the videos at these places."""
        return Labelled(self.features.take(rows), self.labels[list(rows)])


Scores = Callable[[Features], Tensor]
"""Features of videos -> a score of each class, v classes, the mean over the views."""


@dataclass(frozen=True)
class Fitted:
    """A probe that was fitted.

    Attributes:
        scores: of videos.
        chosen: the hyper-parameters that did best on the validation videos.
        classifier: the network, where it can become part of a model.
    """

    scores: Scores
    chosen: Mapping[str, float]
    classifier: AttentiveClassifier | None = None


@dataclass(frozen=True)
class Task:
    """What a probe has to tell apart, and where its random numbers and its tensors are.

    Attributes:
        classes: their names.
        seed: of initial weights and batches.
        device: where to compute.
    """

    classes: tuple[str, ...]
    seed: int = 0
    device: str = "cpu"


@dataclass(frozen=True)
class Probe(ABC):
    """A read-out that is fitted on some videos, with hyper-parameters chosen on others."""

    wants_tokens: ClassVar[bool] = False  # all tokens of a view; otherwise their mean

    def check(self, width: int) -> None:  # noqa: B027  # most take tokens of any width
        """Refuse settings that do not fit an encoder's tokens, before anything is extracted.

        Raises:
            ConfigError: names them.
        """

    @abstractmethod
    def fit(self, fit: Labelled, validation: Labelled, task: Task) -> Fitted:
        """Fit with every hyper-parameter on `fit`, and keep what is best on `validation`.

        The same arguments give the same probe, and the random numbers of others stay as they are.
        """


@dataclass
class Best:
    """The best of the probes that were tried: the most right, then the lowest cross-entropy."""

    validation: Labelled
    _key: tuple[float, float] = (-1.0, 0.0)
    fitted: Fitted | None = field(default=None)

    def offer(self, fitted: Fitted) -> None:
        """Keep it if it is better on the validation videos than all before it."""
        scores, labels = fitted.scores(self.validation.features), self.validation.labels
        right = float((scores.argmax(dim=1) == labels).float().mean())
        key = (right, -float(F.cross_entropy(scores.double(), labels)))
        if key > self._key or self.fitted is None:
            self._key, self.fitted = key, fitted


def mean_scores(scores: Tensor, views: int) -> Tensor:
    """Scores (v k) classes -> v classes."""
    return torch.stack(scores.split(views)).mean(dim=1)
