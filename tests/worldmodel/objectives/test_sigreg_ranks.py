"""SIGReg on several processes: the same numbers as on one that sees the whole batch."""

import os
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from worldmodel.objectives.regularisers import SIGReg

RANKS = 4
EVEN = (8, 8, 8, 8)
UNEVEN = (3, 11, 1, 9)
POSITIONS, INPUTS, WIDTH = 3, 6, 10


def batch(num):
    generator = torch.Generator().manual_seed(5)
    return torch.randn(POSITIONS, num, INPUTS, generator=generator) + 0.2


def encoder():
    torch.manual_seed(1)
    return nn.Linear(INPUTS, WIDTH)


def results(model, inputs, regulariser):
    result = regulariser(model(inputs), step=3)
    result.loss.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    return {"loss": result.loss.detach(), "statistic": result.statistic, "gradient": gradients}


def work(rank, folder):
    """One of the processes: every case on the ranks that take part in it."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=RANKS
    )
    groups = {ranks: dist.new_group(range(ranks)) for ranks in (1, 2, 4)}
    cases = {f"even{n}": (g, (32 // n,) * n) for n, g in groups.items()}
    cases["uneven4"] = (groups[4], UNEVEN)
    cases["default4"] = (None, EVEN)
    for name, (group, sizes) in cases.items():
        if rank < len(sizes):
            local = batch(sum(sizes)).split(sizes, dim=1)[rank]
            model = DistributedDataParallel(encoder(), process_group=group)
            found = results(model, local, SIGReg(num_slices=64, group=group))
            torch.save(found, Path(folder) / f"{name}.{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=RANKS)
    return folder


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("even1", (32,)),
        ("even2", (16, 16)),
        ("even4", EVEN),
        ("uneven4", UNEVEN),
        ("default4", EVEN),
    ],
)
def test_ranks_equal_one_process(folder, name, sizes):
    expected = results(encoder(), batch(sum(sizes)), SIGReg(num_slices=64))
    for rank in range(len(sizes)):
        found = torch.load(folder / f"{name}.{rank}.pt", weights_only=True)
        for key, value in expected.items():
            error = (found[key] - value).norm() / value.norm()
            assert error <= 1e-6, f"{key} on rank {rank} is off by {error:.1e}"
