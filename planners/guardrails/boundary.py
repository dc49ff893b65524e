"""The boundary between hazards and safe points, learned from examples of both.

Works on points of any meaning; knows nothing of models, images or plans.
"""

from dataclasses import dataclass, replace

import numpy as np
import torch
from sklearn.cluster import KMeans
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from worldmodel.errors import ConfigError
from worldmodel.evaluation.conformal import check_rate, fewest_scores, threshold_rank

CENTRES = 128
# Widths of the kernel that are tried, in typical distances between neighbouring centres.
WIDTHS = (0.5, 1.0, 2.0, 4.0)
HELD_OUT = 0.4


@dataclass(frozen=True)
class Boundary:
    """Scores points; a hazard scores at least `threshold`."""

    shift: Tensor  # d: subtracted from a point
    scale: Tensor  # d: then multiplied
    centres: Tensor  # n d, scaled
    sharpness: float  # of the kernel exp(-sharpness * squared distance)
    weights: Tensor  # n
    bias: float
    threshold: float
    miss_rate: float  # at most this share of new hazards scores as safe (see `calibrate`)

    def score(self, points: Tensor) -> Tensor:
        """How much `points` (... d) look like a hazard (...); differentiable."""
        z = (points - self.shift.to(points)) * self.scale.to(points)
        centres = self.centres.to(points)
        return _kernel(z, centres, self.sharpness) @ self.weights.to(points) + self.bias

    def margin(self, points: Tensor) -> Tensor:
        """Threshold minus score (...): at least 0 is safe."""
        # Strictly: a hazard exactly on the threshold is a hazard.
        return self.threshold - self.score(points) - 1e-6


def fit_boundary(
    hazards: Tensor, safe: Tensor | None, *, miss_rate: float = 0.05, seed: int = 0
) -> Boundary:
    """Kernel logistic regression, with a threshold that provably misses few hazards.

    Part of the hazards is held out from the fit and calibrates the threshold. The kernel width is
    the one with which the fewest held-out safe points then count as hazards. Without
    safe points the score is the density of the hazards, and the boundary is wider than necessary.

    Args:
        hazards: Points to keep out of (n d).
        safe: Points that are no hazard (m d), or None if there are none to show.
        miss_rate: Largest share of new hazards that may count as safe.
        seed: Decides the split and where the kernel's centres lie.

    Raises:
        ConfigError: too few examples, or too few hazards for that miss rate.
    """
    hazards = hazards.detach().cpu().double()
    safe = hazards[:0] if safe is None else safe.detach().cpu().double()
    if len(hazards) < 5 or 0 < len(safe) < 5:
        raise ConfigError(
            f"a boundary needs at least 5 examples of each kind, got {len(hazards)} hazards and "
            f"{len(safe)} safe"
        )
    generator = torch.Generator().manual_seed(seed)
    fitted, calibration = _split(hazards, generator)
    if len(safe) == 0:
        return calibrate(_fit(fitted, safe, width=1.0, seed=seed), calibration, miss_rate)
    fitted_safe, unseen_safe = _split(safe, generator)
    tried = [
        calibrate(_fit(fitted, fitted_safe, width=width, seed=seed), calibration, miss_rate)
        for width in WIDTHS
    ]
    return min(tried, key=lambda b: (b.score(unseen_safe) >= b.threshold).float().mean().item())


def _split(points: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """A random split into points to fit and points held out."""
    mixed = points[torch.randperm(len(points), generator=generator)]
    held_out = round(HELD_OUT * len(points))
    return mixed[held_out:], mixed[:held_out]


def calibrate(boundary: Boundary, hazards: Tensor, miss_rate: float) -> Boundary:
    """The boundary with the highest threshold that misses at most `miss_rate` of the hazards.

    The rule of `worldmodel.evaluation.conformal`, for a new hazard that is exchangeable with the
    ones held out.

    Args:
        boundary: Its threshold is replaced.
        hazards: Held out from its fit (n d).
        miss_rate: Largest probability of a miss.

    Raises:
        ConfigError: n is too small for that rate, or it is none.
    """
    check_rate("miss_rate", miss_rate)
    n = len(hazards)
    rank = threshold_rank(miss_rate, n)
    if rank < 1:
        needed = fewest_scores(miss_rate)
        raise ConfigError(
            f"miss_rate={miss_rate:g} needs {needed} held-out hazards "
            f"({np.ceil(needed / HELD_OUT):g} examples), got {n}; give more or allow more misses"
        )
    threshold = boundary.score(hazards).kthvalue(rank).values.item()
    return replace(boundary, threshold=threshold, miss_rate=miss_rate)


def _fit(hazards: Tensor, safe: Tensor, *, width: float, seed: int) -> Boundary:
    points = torch.cat([hazards, safe])
    shift, deviation = points.mean(0), points.std(0)
    # A direction that never varies must not be divided by zero.
    scale = 1 / deviation.clamp_min(1e-6 * deviation.max().clamp_min(1e-12))
    z_hazards, z_safe = ((x - shift) * scale for x in (hazards, safe))
    centres = torch.cat([_centres(x, CENTRES // 2, seed) for x in (z_hazards, z_safe)])
    nearest = torch.cdist(centres, centres).fill_diagonal_(torch.inf).amin(dim=1)
    # Few and identical examples have no typical distance; any width will do for them.
    typical = max(nearest.median().item(), 1e-6)
    sharpness = 1 / (2 * (width * typical) ** 2)
    weights, bias = torch.full((len(centres),), 1 / len(centres)), 0.0
    if len(safe):
        labels = np.repeat([1, 0], [len(hazards), len(safe)])
        model = LogisticRegression(C=10.0, class_weight="balanced", max_iter=1000)
        model.fit(_kernel(torch.cat([z_hazards, z_safe]), centres, sharpness).numpy(), labels)
        weights, bias = torch.from_numpy(model.coef_[0]), float(model.intercept_[0])
    return Boundary(
        shift.float(),
        scale.float(),
        centres.float(),
        sharpness,
        weights.float(),
        bias,
        threshold=0.0,
        miss_rate=1.0,
    )


def _kernel(points: Tensor, centres: Tensor, sharpness: float) -> Tensor:
    """The Gaussian kernel (... n) of points (... d) and centres (n d)."""
    # |z - c|^2 by one matrix product; the differences would take ... n d numbers.
    squared = points.square().sum(-1, keepdim=True) - 2 * points @ centres.mT
    squared = squared + centres.square().sum(-1)
    return torch.exp(-sharpness * squared.clamp_min(0))


def _centres(points: Tensor, count: int, seed: int) -> Tensor:
    if len(points) <= count:
        return points
    means = KMeans(count, n_init=1, max_iter=20, random_state=seed).fit(points.numpy())
    return torch.from_numpy(means.cluster_centers_)
