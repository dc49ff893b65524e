"""Classification by the nearest neighbours: what the features are without any training."""

from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from worldmodel.evaluation.frozen_features import Features
from worldmodel.evaluation.probes.probe import Best, Fitted, Labelled, Probe, Task


@dataclass(frozen=True)
class NearestProbe(Probe):
    """The `k` nearest videos vote, nearer ones more; by the cosine of their centred mean tokens.

    A video is the mean over its views.

    Attributes:
        neighbours: values of `k`, of which one is chosen on the validation videos; those above the
            number of videos are left out.
    """

    neighbours: tuple[int, ...] = (1, 5, 10, 20)

    def fit(self, fit: Labelled, validation: Labelled, task: Task) -> Fitted:
        """Look at each number of neighbours."""
        x, y = fit.features.means.mean(dim=1).double().numpy(), fit.labels.numpy()
        best = Best(validation)
        for k in [k for k in self.neighbours if k <= len(y)] or [len(y)]:
            found = make_pipeline(
                StandardScaler(with_std=False),
                KNeighborsClassifier(k, weights="distance", metric="cosine"),
            ).fit(x, y)
            best.offer(Fitted(partial(_scores, found, len(task.classes)), {"k": float(k)}))
        assert best.fitted is not None
        return best.fitted


def _scores(found: Any, classes: int, features: Features) -> Tensor:
    votes = found.predict_proba(features.means.mean(dim=1).double().numpy())
    scores = torch.zeros((len(votes), classes), dtype=torch.float64)
    scores[:, torch.from_numpy(found.classes_)] = torch.from_numpy(votes)
    return scores.clamp(min=1e-6).log()
