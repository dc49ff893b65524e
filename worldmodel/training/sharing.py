"""One training shared by several processes: DDP or FSDP2, and numbers that are of all of them.

Each process has its part of every batch (`Learner.losses`), and the gradient of a step is the mean
of theirs. Weights are the same everywhere: whole in each process (`ddp`), or each process holds a
part of every tensor and fetches the rest when it is used (`fsdp`). One process shares with nobody,
whatever is asked for.
"""

import copy
import inspect
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, get_args

import torch
import torch.distributed as dist
from einops import rearrange
from torch import Generator, Tensor, nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from worldmodel.errors import ConfigError, nearest
from worldmodel.nn.across_ranks import all_rows, share_batch_norms, whole
from worldmodel.nn.blocks import Block
from worldmodel.objectives.objective import Losses
from worldmodel.runs.processes import world

Parallel = Literal["ddp", "fsdp"]

_LARGEST = 2**28
"""Latents of a batch that are looked at together, at most: 1 GiB of float32."""


class Sharing(ABC):
    """How a learner's losses are computed, so that the gradient is that of the whole batch.

    While it lasts the learner's weights are its own to change, by an optimiser that is made after.
    """

    @abstractmethod
    def losses(self, step: int, generator: Generator) -> Losses:
        """As `Learner.losses`: of the part of the batch that this process has."""

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Outside a training step, networks can be called within this block."""
        yield

    def end(self) -> None:  # noqa: B027  # where weights are whole there is nothing to do
        """Leave the learner as it would be without sharing."""


def check_parallel(how: str, *, compiled: bool) -> None:
    """Refuse a way to share that there is not.

    Raises:
        ConfigError: with those that there are; or it does not go with compiled networks.
    """
    if how not in get_args(Parallel):
        raise ConfigError(f"no parallel '{how}': {nearest(how, get_args(Parallel))}")
    if how == "fsdp" and compiled and world() > 1:
        raise ConfigError(
            "parallel=fsdp fetches weights where a compiled block does not; say parallel=ddp or "
            "optimisation.compile=false"
        )


def share(learner: nn.Module, how: Parallel) -> Sharing:
    """Share a `Learner` with the other processes, if there are any."""
    if world() == 1:
        return _Alone(learner)
    share_batch_norms(learner)
    return _Replicated(learner) if how == "ddp" else _Sharded(learner)


class _Alone(Sharing):
    def __init__(self, learner: nn.Module) -> None:
        self._learner = learner

    def losses(self, step: int, generator: Generator) -> Losses:
        return self._learner(step, generator)


class _Replicated(Sharing):
    """Whole weights in each process; gradients are averaged while they are computed."""

    def __init__(self, learner: nn.Module) -> None:
        known = inspect.signature(DistributedDataParallel).parameters
        # Buffers are the same everywhere: batch statistics are of all processes, others constant.
        sync = "forward_sync_buffers" if "forward_sync_buffers" in known else "broadcast_buffers"
        how: dict[str, Any] = {sync: False, "gradient_as_bucket_view": True}
        # Some steps use no horizon that is too long, or no mask token of another kind of mask.
        self._ddp = DistributedDataParallel(
            _WithUnused(learner), find_unused_parameters=True, **how
        )

    def losses(self, step: int, generator: Generator) -> Losses:
        return self._ddp(step, generator)


class _WithUnused(nn.Module):
    """A learner with a weight that no loss uses: DDP warns where it looks for such and finds none.

    It is neither trained nor saved.
    """

    def __init__(self, learner: nn.Module) -> None:
        super().__init__()
        self.learner = learner
        self.unused = nn.Parameter(next(learner.parameters()).new_zeros(1))

    def forward(self, step: int, generator: Generator) -> Losses:
        return self.learner(step, generator)


class _Sharded(Sharing):
    """A part of each weight in each process (FSDP2; Zhao et al. 2023, arXiv:2304.11277)."""

    def __init__(self, learner: nn.Module) -> None:
        device = next(learner.parameters()).device
        self._plain = _without_weights(learner)
        mesh = init_device_mesh(device.type, (world(),))
        # A block's weights are whole while it is used, all others during the step.
        for module in learner.modules():
            if isinstance(module, Block):
                fully_shard(module, mesh=mesh)
        self._learner, self._weights = learner, fully_shard(learner, mesh=mesh)

    def losses(self, step: int, generator: Generator) -> Losses:
        return self._learner(step, generator)

    @contextmanager
    def usable(self) -> Iterator[None]:
        """Blocks fetch their weights by themselves; the others are fetched for as long."""
        self._weights.unshard()
        try:
            yield
        finally:
            self._weights.reshard()

    def end(self) -> None:
        weights = {name: whole(value) for name, value in self._learner.state_dict().items()}
        self._plain.load_state_dict(weights, assign=True)
        for name, part in self._plain.named_children():
            setattr(self._learner, name, part)


def _without_weights(learner: nn.Module) -> nn.Module:
    """A copy of a learner's networks whose weights are still to come."""
    copied = nn.ModuleDict({name: copy.deepcopy(part) for name, part in learner.named_children()})
    for module in copied.modules():
        for name, weights in module.named_parameters(recurse=False):
            empty = torch.empty_like(weights, device="meta")
            setattr(module, name, nn.Parameter(empty, requires_grad=weights.requires_grad))
    return copied


def averaged(losses: Losses) -> Losses:
    """The means of the terms and numbers over all processes; the features stay those of this."""
    if world() == 1:
        return losses
    found = {**losses.terms, **losses.numbers}
    values = torch.stack([value.detach().double() for value in found.values()])
    dist.all_reduce(values)
    means = dict(zip(found, (values / world()).to(losses.total.dtype), strict=True))
    return Losses(
        {name: means[name] for name in losses.terms}, losses.features,
        {name: means[name] for name in losses.numbers},
    )  # fmt: skip


def of_all(latents: Tensor) -> Tensor:
    """Latents t m b d of the clips of all processes, in the order of the batch.

    Where they would be more than 2^28 numbers, those of evenly spaced positions m.
    """
    if world() == 1:
        return latents
    every = -(-latents.numel() * world() // _LARGEST)
    rows = all_rows(rearrange(latents.detach()[:, ::every], "t m b d -> b t m d"))
    return rearrange(rows, "b t m d -> t m b d")
