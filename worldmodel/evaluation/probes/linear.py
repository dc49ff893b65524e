"""Linear classification of the mean token: logistic regression."""

import warnings
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from einops import repeat
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from worldmodel.evaluation.frozen_features import Features
from worldmodel.evaluation.probes.probe import Best, Fitted, Labelled, Probe, Task, mean_scores


@dataclass(frozen=True)
class LinearProbe(Probe):
    """Logistic regression on standardised mean tokens, every view an example.

    Attributes:
        penalties: of the squared weights, of which one is chosen on the validation videos.
        iterations: at most, of L-BFGS.
    """

    penalties: tuple[float, ...] = (0.01, 0.1, 1.0, 10.0, 100.0, 1000.0)
    iterations: int = 300

    def fit(self, fit: Labelled, validation: Labelled, task: Task) -> Fitted:
        """Fit one for each penalty."""
        x = fit.features.means.flatten(0, 1).double().numpy()
        y = repeat(fit.labels, "v -> (v k)", k=fit.features.views).numpy()
        best = Best(validation)
        for penalty in self.penalties:
            found = make_pipeline(
                StandardScaler(), LogisticRegression(C=1 / penalty, max_iter=self.iterations)
            )
            with warnings.catch_warnings():
                # The last few steps of a small penalty change no decision.
                warnings.simplefilter("ignore", ConvergenceWarning)
                found.fit(x, y)
            scores = partial(_scores, found, len(task.classes))
            best.offer(Fitted(scores, {"penalty": penalty}))
        assert best.fitted is not None
        return best.fitted


def _scores(found: Any, classes: int, features: Features) -> Tensor:
    given = found.decision_function(features.means.flatten(0, 1).double().numpy())
    if given.ndim == 1:  # of two classes, that of the second
        given = np.stack([-given / 2, given / 2], axis=1)
    scores = torch.full((len(given), classes), -torch.inf, dtype=torch.float64)
    scores[:, torch.from_numpy(found.classes_)] = torch.from_numpy(given)
    return mean_scores(scores, features.views)
