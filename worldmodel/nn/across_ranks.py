"""Sums and batch statistics over all processes of a training, with their gradients.

Each process (rank) has its share of the batch, and the gradient of a training is the *mean* of
theirs. So the loss is the mean over ranks of what each returns, and everything here is the exact
derivative of that mean: a gradient that reaches a rank is summed over ranks. Where there is one
process, nothing is sent and nothing changes.
"""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.modules.batchnorm import _BatchNorm

from worldmodel.errors import ConfigError
from worldmodel.runs.processes import is_together, rank, world


class _Total(torch.autograd.Function):
    """The sum over ranks; so is its gradient, as each rank's input is in every rank's output."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return _reduced(x)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return _reduced(grad)


class _AllRows(torch.autograd.Function):
    """The rows of all ranks, one rank's after the other's."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        found = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(world())]
        dist.all_gather(found, x.contiguous())
        return torch.cat(found)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return own_rows(_reduced(grad))


def _reduced(x: Tensor) -> Tensor:
    x = x.clone(memory_format=torch.contiguous_format)
    dist.all_reduce(x)
    return x


def total(x: Tensor) -> Tensor:
    """The sum of `x` over all ranks, differentiable."""
    return _Total.apply(x) if is_together() else x


def all_rows(x: Tensor) -> Tensor:
    """`b ...` of all ranks, the first one's rows first, differentiable; each must have as many."""
    return _AllRows.apply(x) if is_together() else x


def own_rows(x: Tensor, *, groups: int = 1) -> Tensor:
    """The share of this rank in the rows of a whole batch: `(g b) ...`, with so many groups."""
    count = len(x) // (groups * world())
    own = x.unflatten(0, (groups, -1))[:, rank() * count : (rank() + 1) * count]
    return own.flatten(0, 1)


def whole(x: Tensor) -> Tensor:
    """All of a tensor of which each rank may hold a part; all ranks have to call this together."""
    return x.full_tensor() if isinstance(x, DTensor) else x


def parted(x: Tensor, like: Tensor) -> Tensor:
    """The part of a whole tensor that this rank holds of `like`; all of it if that is whole."""
    if not isinstance(like, DTensor):
        return x
    x = x.to(like.device, like.dtype)
    return distribute_tensor(x, like.device_mesh, like.placements, src_data_rank=None)


def mean(values: Tensor) -> Tensor:
    """The mean of all values, of which ranks may have different numbers.

    A scalar that differs between ranks: its mean over ranks is the mean over all values.
    """
    if not is_together():
        return values.mean()
    count = _reduced(values.new_tensor(values.numel()))
    return values.sum() * world() / count


class SharedBatchNorm(_BatchNorm):
    """Batch normalisation by the statistics of all ranks together, on any device.

    (`nn.SyncBatchNorm` is for GPUs only.) Ranks may have different numbers of samples. Takes
    `b d`, or `b d ...` with axes over which statistics are taken too.
    """

    def _check_input_dim(self, input: Tensor) -> None:
        assert input.ndim >= 2

    def forward(self, input: Tensor) -> Tensor:
        """The same shape and type."""
        if not is_together() or not (self.training or self.running_mean is None):
            return super().forward(input)
        axes = [axis for axis in range(input.ndim) if axis != 1]
        shape = [-1 if axis == 1 else 1 for axis in range(input.ndim)]
        with torch.autocast(input.device.type, enabled=False):
            x = input if input.dtype == torch.float64 else input.float()
            count = _reduced(x.new_tensor(x.numel() // x.shape[1]))
            average = total(x.sum(axes)) / count
            centred = x - average.view(shape)
            variance = total(centred.square().sum(axes)) / count
            normed = centred * (variance + self.eps).rsqrt().view(shape)
            self._follow(average.detach(), (variance * count / (count - 1)).detach())
            if self.affine:
                normed = normed * self.weight.view(shape) + self.bias.view(shape)
        return normed.to(input.dtype)

    @torch.no_grad()
    def _follow(self, average: Tensor, variance: Tensor) -> None:
        if self.running_mean is None or self.running_var is None:
            return
        assert self.num_batches_tracked is not None
        self.num_batches_tracked.add_(1)
        share = self.momentum
        if share is None:  # the mean of all batches so far
            share = 1 / float(self.num_batches_tracked)
        self.running_mean.lerp_(average.to(self.running_mean.dtype), share)
        self.running_var.lerp_(variance.to(self.running_var.dtype), share)


class _NormAndActivation(SharedBatchNorm):
    """timm's batch normalisation, which brings its activation along."""

    drop: nn.Module
    act: nn.Module

    def forward(self, input: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(input)))


def share_batch_norms(module: nn.Module) -> None:
    """Replace every batch normalisation inside a module by one over all ranks; weights stay.

    Raises:
        ConfigError: there is a kind of it that is not known here.
    """
    made: dict[_BatchNorm, SharedBatchNorm] = {}
    for parent in list(module.modules()):
        for name, child in list(parent._modules.items()):
            if isinstance(child, _BatchNorm) and not isinstance(child, SharedBatchNorm):
                if child not in made:
                    made[child] = _shared(child)
                setattr(parent, name, made[child])


def _shared(norm: _BatchNorm) -> SharedBatchNorm:
    kinds: dict[str, type[SharedBatchNorm]] = {
        "BatchNormAct2d": _NormAndActivation,
        **dict.fromkeys(("BatchNorm1d", "BatchNorm2d", "BatchNorm3d"), SharedBatchNorm),
    }
    kind = kinds.get(type(norm).__name__)
    if kind is None:
        raise ConfigError(
            f"{type(norm).__name__} cannot take its statistics over several processes; take "
            "another backbone, or one process"
        )
    shared = kind(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    # Parameters, buffers and parts are the same objects, so that whoever holds them still does.
    shared._parameters, shared._buffers = norm._parameters, norm._buffers
    shared._modules, shared.training = norm._modules, norm.training
    return shared
