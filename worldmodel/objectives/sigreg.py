"""SIGReg: how far latents are from an isotropic Gaussian, seen along random directions.

The definition is LeJEPA's (arXiv:2511.08544, Def. 2 and Alg. 1): project the latents of a batch on
directions of length one, compare each projection with N(0, 1) by Epps and Pulley's test, and take
the mean over directions. For a Gaussian it is 1.0525 whatever the batch and width, for a batch of
zeros 0.402 N (`null_floor`, `collapse_value`).

The gradient is computed on the way forward, block by block, while the projections are at hand, and
kept instead of them: memory grows neither with the knots nor with the slices.

Knows nothing about networks, weights or training: `worldmodel.objectives.regularisers` does.
"""

from collections.abc import Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor
from torch.autograd.function import once_differentiable

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.objectives.epps_pulley import (
    EAGER,
    KNOTS,
    Powers,
    at_least_float32,
    characteristic_error,
    distance,
)

# Values that are turned into powers at a time. On a CPU half a million complex numbers stay close
# to the cores and are still enough to be worth waking a second thread for; an accelerator wants
# few large launches. Measured with `python -m benchmarks sigreg`.
_CPU_BLOCK = 2**19
_ACCELERATOR_BLOCK = 2**24


def directions(
    step: int, *, seed: int, width: int, num_slices: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Directions of length one, drawn afresh for each step and for nothing but the step and seed.

    Every rank draws the same ones without talking, and a resumed run goes on where it stopped.
    CPU and CUDA draw different numbers.

    Returns:
        d m float32, columns of length one.
    """
    # The CPU generator reads 32 bits of its seed, so step and seed have to share them.
    generator = torch.Generator(device).manual_seed((1_000_003 * seed + step) % 2**32)
    normal = torch.randn(width, num_slices, generator=generator, device=device)
    # Ten times as fast as `normal.norm(dim=0)` on a CPU.
    return normal / normal.square().sum(dim=0).sqrt()


def sigreg(
    features: Tensor,
    *,
    step: int,
    seed: int = 0,
    num_slices: int = 1024,
    knots: int = KNOTS,
    powers: Powers = EAGER,
    group: dist.ProcessGroup | None = None,
) -> Tensor:
    """SIGReg of each position over the batch, averaged over positions and slices.

    The sample is the batch `b`, of all ranks together; axes before it are token positions or time
    steps, each of which has to be Gaussian by itself: a code that tells positions apart and
    nothing else is punished like the collapse that it is. See `discrepancy`, which divides by N.

    Returns:
        A scalar: `null_floor(knots)` for Gaussian latents, `collapse_value(knots) * N` for zeros.
    """
    value, count = discrepancy(
        features, step=step, seed=seed, num_slices=num_slices, knots=knots, powers=powers,
        group=group,
    )  # fmt: skip
    return value * count


def discrepancy(
    features: Tensor,
    *,
    step: int,
    seed: int = 0,
    num_slices: int = 1024,
    knots: int = KNOTS,
    powers: Powers = EAGER,
    group: dist.ProcessGroup | None = None,
) -> tuple[Tensor, Tensor]:
    """SIGReg divided by the size of its sample, and that size.

    Across ranks the characteristic function is that of all ranks' samples. The gradient is scaled
    for data-parallel training, which *averages* gradients over ranks: after that it equals the
    gradient of one process that saw the whole batch.

    Args:
        features: `... b d`, of any float type; computed in float32, or float64 if given so.
        step: training step, which decides the directions (with `seed`).
        seed: the run's seed.
        num_slices: number of directions, at least 1.
        knots: number of knots on [0, 3].
        powers: who computes powers, `EAGER` or `compiled(knots)`.
        group: ranks that share the sample; None is all ranks if `torch.distributed` is running.

    Returns:
        The scalar discrepancy, differentiable, and N, a scalar tensor of the same type.

    Raises:
        ShapeError: not `... b d` with a batch of at least two.
        ConfigError: fewer than one slice or two knots.
    """
    if features.ndim < 2 or not features.is_floating_point() or features.numel() == 0:
        raise ShapeError(
            f"SIGReg takes float latents ... b d, not empty, got {tuple(features.shape)} "
            f"{features.dtype}"
        )
    if num_slices < 1:
        raise ConfigError(f"num_slices must be at least 1, got {num_slices}")
    if group is None and dist.is_available() and dist.is_initialized():
        group = dist.group.WORLD
    if group is None and features.shape[-2] < 2:
        raise ShapeError(
            f"SIGReg compares the samples of a batch: b must be at least 2 in ... b d, "
            f"got {tuple(features.shape)}"
        )
    with torch.autocast(features.device.type, enabled=False):
        flat = at_least_float32(features.reshape(-1, *features.shape[-2:]))  # p b d
        columns = directions(
            step, seed=seed, width=flat.shape[-1], num_slices=num_slices, device=flat.device
        )
        flat = flat if torch.is_grad_enabled() else flat.detach()
        return _Discrepancy.apply(flat, columns.to(flat.dtype), knots, powers, group)


class _Discrepancy(torch.autograd.Function):
    """The gradient is found on the way forward, where it costs no memory, and kept for backward."""

    @staticmethod
    def forward(
        ctx: Any, features: Tensor, columns: Tensor, knots: int, powers: Powers,
        group: dist.ProcessGroup | None,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        features = features.contiguous()  # p b d
        positions, batch, _ = features.shape
        slices = columns.shape[1]
        blocks = list(_blocks(positions, batch, slices, features.device))

        def unit(p: slice, m: slice) -> Tensor:
            return powers.unit(features[p] @ columns[:, m], knots)

        count, ranks, shared = features.new_tensor(batch), 1, None
        if group is not None:
            # All ranks' sums have to be there before the first slope: z is computed twice.
            ranks = dist.get_world_size(group)
            shape = (knots - 1, positions, 1, slices)
            shared = features.new_empty(shape, dtype=features.dtype.to_complex())
            for p, m in blocks:
                shared[:, p, :, m] = powers.power_sums(unit(p, m), knots)
            count = _all_reduce(shared, count, group)
        gradient = torch.zeros_like(features) if ctx.needs_input_grad[0] else None
        total = features.new_zeros(())
        for p, m in blocks:
            z = unit(p, m)
            sums = powers.power_sums(z, knots) if shared is None else shared[:, p, :, m]
            error = characteristic_error(sums, count, knots)
            total += distance(error, knots).sum()
            if gradient is not None:
                gradient[p] += powers.slope(error, z, knots) @ columns[:, m].T
        if gradient is not None:
            ctx.save_for_backward(gradient.mul_(ranks / (positions * slices * count)))
        ctx.mark_non_differentiable(count)
        return total / (positions * slices), count

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor, _count: None) -> tuple[Tensor | None, ...]:
        (gradient,) = ctx.saved_tensors
        return gradient * grad, None, None, None, None


def _blocks(
    positions: int, batch: int, slices: int, device: torch.device
) -> Iterator[tuple[slice, slice]]:
    """Ranges of positions and slices whose projections are worked on together."""
    values = _CPU_BLOCK if device.type == "cpu" else _ACCELERATOR_BLOCK
    m = max(1, min(slices, values // batch))
    p = max(1, values // (batch * m))
    for i in range(0, positions, p):
        for j in range(0, slices, m):
            yield slice(i, i + p), slice(j, j + m)


def _all_reduce(sums: Tensor, count: Tensor, group: dist.ProcessGroup) -> Tensor:
    """Replace complex `sums` by their sum over ranks and return that of `count`: one message."""
    real = torch.view_as_real(sums)
    message = torch.cat([real.flatten(), count[None]])
    dist.all_reduce(message, group=group)
    real.copy_(message[:-1].view_as(real))
    return message[-1]
