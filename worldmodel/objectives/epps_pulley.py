r"""Epps and Pulley's test of one-dimensional samples against N(0, 1), and its gradient.

For a sample of $N$ numbers $x_n$ it is

$$T = N \int |\hat\varphi(t) - e^{-t^2/2}|^2 \, e^{-t^2/2} dt, \quad
  \hat\varphi(t) = \tfrac1N \sum_n e^{i t x_n},$$

by the trapezoid rule on equally spaced knots over [-3, 3]; the integrand is symmetric, so the
knots lie on [0, 3] and count twice (LeJEPA, arXiv:2511.08544, Alg. 1).

Equally spaced knots $t_k = k h$ make every $e^{i t_k x}$ a power of $z = e^{i h x}$: one sine and
one cosine for each number instead of one for each number and knot. The gradient

$$\partial T / \partial x_n = \mathrm{Re} \sum_k 2 w_k t_k \, i \,
  \overline{(\hat\varphi_k - \varphi_k)} \, z_n^k$$

is a polynomial in $z$, evaluated by Horner's scheme: it needs $z$ and no power of it.

Knows nothing about directions or latents: `worldmodel.objectives.sigreg` does.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ConfigError

KNOTS = 17
"""Knots on [0, 3] unless said otherwise, as in the public implementations."""

LAST_KNOT = 3.0


class Quadrature(NamedTuple):
    """Knots and weights of the trapezoid rule on [0, 3] doubled; the Gaussian at the knots."""

    knots: Tensor  # one per knot, equally spaced from 0
    weights: Tensor  # doubled trapezoid weights times exp(-t^2 / 2)
    gaussian: Tensor  # exp(-t^2 / 2), the characteristic function of N(0, 1)


@lru_cache
def quadrature(
    knots: int = KNOTS, device: torch.device | str = "cpu", dtype: torch.dtype = torch.float64
) -> Quadrature:
    """The knots of the integral over t, with their weights.

    Raises:
        ConfigError: fewer than two knots.
    """
    if knots < 2:
        raise ConfigError(f"knots must be at least 2, got {knots}")
    t = torch.linspace(0, LAST_KNOT, knots, dtype=torch.float64)
    gaussian = torch.exp(-t * t / 2)
    weights = torch.full_like(t, 2 * LAST_KNOT / (knots - 1))
    weights[[0, -1]] /= 2
    return Quadrature(*(v.to(device, dtype) for v in (t, weights * gaussian, gaussian)))


def null_floor(knots: int = KNOTS) -> float:
    """The expectation of SIGReg for Gaussian latents, whatever N and width: 1.0525."""
    _, weights, gaussian = quadrature(knots)
    return float((weights * (1 - gaussian**2)).sum())


def collapse_value(knots: int = KNOTS) -> float:
    """SIGReg divided by N where all latents of the batch are zero: 0.402."""
    _, weights, gaussian = quadrature(knots)
    return float((weights * (1 - gaussian) ** 2).sum())


def epps_pulley(projected: Tensor, *, knots: int = KNOTS) -> Tensor:
    """Epps and Pulley's statistic of each slice: N times the distance to N(0, 1).

    A measurement without gradient; `sigreg` is the differentiable mean over slices.

    Args:
        projected: `... b m`, latents on directions; the sample is `b`.
        knots: number of knots on [0, 3].

    Returns:
        `... m`, expected to be `null_floor(knots)` for standard normal samples.
    """
    with torch.no_grad(), torch.autocast(projected.device.type, enabled=False):
        x = at_least_float32(projected)
        sums = power_sums(unit_power(x, knots), knots)
        return x.shape[-2] * distance(characteristic_error(sums, x.shape[-2], knots), knots)


def at_least_float32(x: Tensor) -> Tensor:
    """As float32, unless it is float64: half precision is too coarse for a statistic."""
    return x if x.dtype == torch.float64 else x.float()


def unit_power(x: Tensor, knots: int) -> Tensor:
    """`z = exp(i h x)` with the distance h of two knots: its k-th power belongs to knot k."""
    angle = x * float(quadrature(knots).knots[1])
    return torch.polar(torch.ones_like(angle), angle)


def power_sums(z: Tensor, knots: int) -> Tensor:
    """Sums over the batch of z, z^2, ...: `... b m` complex to `k ... 1 m` complex, k > 0.

    Knot 0 is left out: both characteristic functions are 1 there.
    """
    ones = z.real.new_ones(1, z.shape[-2])
    power = z
    sums = [_batch_sum(ones, z)]
    for _ in range(2, knots):
        power = z * z if power is z else power.mul_(z)
        sums.append(_batch_sum(ones, power))
    return torch.stack(sums)


def _batch_sum(ones: Tensor, z: Tensor) -> Tensor:
    # A product with ones is twice as fast here as a sum over a complex axis.
    pairs = rearrange(torch.view_as_real(z), "... b m c -> ... b (m c)")
    return torch.view_as_complex(rearrange(ones @ pairs, "... b (m c) -> ... b m c", c=2))


def characteristic_error(sums: Tensor, count: Tensor | int, knots: int) -> Tensor:
    """Empirical minus Gaussian characteristic function at the knots, `k ... 1 m`."""
    gaussian = quadrature(knots, sums.device, sums.real.dtype).gaussian[1:]
    return sums / count - gaussian.reshape(-1, *[1] * (sums.ndim - 1))


def distance(error: Tensor, knots: int) -> Tensor:
    """The integral of the squared error: `k ... 1 m` to `... m`."""
    weights = quadrature(knots, error.device, error.real.dtype).weights[1:]
    return torch.tensordot(weights, torch.view_as_real(error).square().sum(-1), 1).squeeze(-2)


def coefficients(error: Tensor, knots: int) -> Tensor:
    """Those of the polynomial in z that is the slope, `k ... 1 m`, without the constant one."""
    t, weights, _ = quadrature(knots, error.device, error.real.dtype)
    scale = (2 * weights * t)[1:].reshape(-1, *[1] * (error.ndim - 1))
    return 1j * scale * error.conj()


def slope(error: Tensor, z: Tensor, knots: int) -> Tensor:
    """N times the derivative of `distance` by each projection, `... b m`, by Horner's scheme."""
    factors = coefficients(error, knots)
    value = factors[-1].expand_as(z).clone()
    for factor in factors[:-1].flip(0):
        torch.addcmul(factor, value, z, out=value)
    return value.mul_(z).real


class Powers(NamedTuple):
    """The steps whose cost is the number of projections times that of knots.

    Attributes:
        unit: projections `... b m` and the knots' number to what the other two take.
        power_sums: of that, `k ... 1 m` complex.
        slope: of `characteristic_error` and that, `... b m`.
    """

    unit: Callable[[Tensor, int], Tensor]
    power_sums: Callable[[Tensor, int], Tensor]
    slope: Callable[[Tensor, Tensor, int], Tensor]


EAGER = Powers(unit_power, power_sums, slope)
"""By PyTorch, on any device."""
