"""Regularisers keep latents from collapsing: SIGReg (the default), VICReg, or none.

A regulariser takes the latents that the loss acts on, position by position over the batch, and
returns what to add to the loss. It has no parameters. A projector with batch statistics belongs in
front of it, because the gradient of SIGReg vanishes where latents have already collapsed.
"""

import math
import warnings
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, get_args

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError, ShapeError, nearest
from worldmodel.nn.across_ranks import total
from worldmodel.objectives.compiled import compiled
from worldmodel.objectives.epps_pulley import (
    EAGER,
    KNOTS,
    at_least_float32,
    null_floor,
    quadrature,
)
from worldmodel.objectives.sigreg import discrepancy
from worldmodel.runs.processes import world

Kernel = Literal["eager", "compiled"]

WEIGHT_RANGE = (0.5, 60.0)
"""Weights of SIGReg that do not raise a warning; published recipes that train use 5 to 30."""


@dataclass(frozen=True)
class Regularisation:
    """A regulariser's part of the loss, and its number for the log."""

    loss: Tensor  # scalar, differentiable, weighted
    statistic: Tensor  # scalar, detached: the loss without its weight
    over_floor: Tensor  # scalar, detached: statistic / its value for ideal latents; nan if unknown


class Regulariser(ABC):
    """Keeps latents from collapsing.

    Attributes:
        wants_gaussian: latents that satisfy it are standard normal.
        acts: it adds something to the loss.
    """

    wants_gaussian: ClassVar[bool] = False
    acts: ClassVar[bool] = True

    @abstractmethod
    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """The penalty of latents `... b d`: axes before the batch are positions or time steps.

        Args:
            features: `... b d`, of any float type; the sample is the batch `b` at each position.
            step: training step, for regularisers that draw something.
        """


class SIGReg(Regulariser):
    """Sketched isotropic Gaussian regularisation (arXiv:2511.08544); see `sigreg.py`.

    Args:
        weight: batch-free: lambda times N of the papers, where N is the number of samples of all
            ranks. The loss is `weight / N * statistic`, so that changing the batch size or the
            number of ranks does not change the strength. Warns outside `WEIGHT_RANGE`.
        num_slices: directions drawn each step.
        knots: knots on [0, 3].
        seed: of the directions, together with the step.
        kernel: `eager` computes by PyTorch; `compiled` by C, which needs a C compiler, a CPU and
            float32: the same to rounding, faster.
        group: ranks that share the batch; None is all ranks if `torch.distributed` is running.
    """

    wants_gaussian = True

    def __init__(
        self,
        weight: float = 10.0,
        *,
        num_slices: int = 1024,
        knots: int = KNOTS,
        seed: int = 0,
        kernel: Kernel = "eager",
        group: dist.ProcessGroup | None = None,
    ) -> None:
        if kernel not in get_args(Kernel):
            raise ConfigError(f"no kernel '{kernel}': {nearest(kernel, get_args(Kernel))}")
        if not (weight > 0 and math.isfinite(weight)):
            raise ConfigError(f"weight of SIGReg must be positive and finite, got {weight}")
        if num_slices < 1:
            raise ConfigError(f"num_slices must be at least 1, got {num_slices}")
        quadrature(knots)  # refuses too few knots before training starts
        low, high = WEIGHT_RANGE
        if not low <= weight <= high:
            warnings.warn(
                f"weight of SIGReg is {weight:g}, outside {low:g} to {high:g}: it is lambda times "
                "the number of samples; published recipes that train use 5 to 30",
                stacklevel=2,
            )
        self.weight = weight
        self.num_slices = num_slices
        self.knots = knots
        self.seed = seed
        self.powers = compiled(knots) if kernel == "compiled" else EAGER
        self.group = group

    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """See `Regulariser`; all ranks have to call it together."""
        value, count = discrepancy(
            features,
            step=step,
            seed=self.seed,
            num_slices=self.num_slices,
            knots=self.knots,
            powers=self.powers,
            group=self.group,
        )
        statistic = (value * count).detach()
        return Regularisation(self.weight * value, statistic, statistic / null_floor(self.knots))


class VICReg(Regulariser):
    """Variance and covariance terms of VICReg (arXiv:2105.04906, eq. 1-4).

    The invariance term is the caller's prediction loss. Statistics are those of all ranks' batch.

    Args:
        variance: weight of the hinge on standard deviations below 1, dimension by dimension.
        covariance: weight of the squared covariances between different dimensions.
    """

    def __init__(self, *, variance: float = 25.0, covariance: float = 1.0) -> None:
        for name, weight in (("variance", variance), ("covariance", covariance)):
            if not (weight >= 0 and math.isfinite(weight)):
                raise ConfigError(f"{name} must be finite and not negative, got {weight}")
        self.variance = variance
        self.covariance = covariance

    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """See `Regulariser`."""
        if features.ndim < 2 or (count := features.shape[-2] * world()) < 2:
            raise ShapeError(
                f"VICReg takes latents ... b d with b at least 2, got {tuple(features.shape)}"
            )
        with torch.autocast(features.device.type, enabled=False):
            features = at_least_float32(features)
            centred = features - total(features.sum(-2, keepdim=True)) / count
            variance = total(centred.square().sum(-2)) / (count - 1)
            hinge = (1 - (variance + 1e-4).sqrt()).relu().mean()
            covariance = _squared_covariances(centred, variance, count)
        loss = self.variance * hinge + self.covariance * covariance
        return Regularisation(loss, loss.detach(), torch.full_like(loss, math.nan).detach())


def _squared_covariances(centred: Tensor, variance: Tensor, count: int) -> Tensor:
    """Sum of squared covariances between different numbers, divided by d; mean over positions."""
    b, d = centred.shape[-2:]
    # The covariance matrix d d and the Gram matrix b b have the same norm: take the smaller. Only
    # the first is a sum over ranks.
    left, right = ("... b d -> ... d b", "... b d -> ... b d")
    if b < d and b == count:
        left, right = right, left
    products = rearrange(centred, left) @ rearrange(centred, right)
    if b < count:
        products = total(products)
    squares = (products / (count - 1)).square().sum((-2, -1))
    return ((squares - variance.square().sum(-1)) / d).mean()


class NoRegulariser(Regulariser):
    """Adds nothing: for targets from an EMA teacher, or to study collapse."""

    acts = False

    def __call__(self, features: Tensor, *, step: int) -> Regularisation:
        """See `Regulariser`."""
        zero = features.new_zeros((), dtype=torch.float32)
        return Regularisation(zero, zero, torch.full_like(zero, math.nan))
