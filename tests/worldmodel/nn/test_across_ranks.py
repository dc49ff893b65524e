"""Sums and statistics over two processes: the same as one process has of the whole batch."""

import os
from pathlib import Path

import pytest
import timm.layers
import torch
import torch.distributed as dist
from torch import nn

from worldmodel.errors import ConfigError
from worldmodel.nn.across_ranks import SharedBatchNorm, all_rows, mean, share_batch_norms, total
from worldmodel.objectives.regularisers import VICReg

ROWS = (5, 3)  # of each process
EQUAL = (4, 4)


def rows(*shape):
    generator = torch.Generator().manual_seed(2)
    return torch.randn(sum(ROWS), *shape, generator=generator) * 3 + 5


def network(kind):
    torch.manual_seed(0)
    layers = {
        "vectors": [nn.Linear(6, 4), nn.BatchNorm1d(4), nn.GELU(), nn.BatchNorm1d(4, affine=False)],
        "images": [nn.Conv2d(6, 4, 1), nn.BatchNorm2d(4, momentum=None), nn.Flatten()],
        "timm": [nn.Conv2d(6, 4, 1), timm.layers.BatchNormAct2d(4), nn.Flatten()],
    }
    return nn.Sequential(*layers[kind])


def norms(kind, inputs):
    """What two steps of a network with batch normalisation leave behind."""
    made = network(kind)
    if dist.is_initialized():
        share_batch_norms(made)
    for _ in range(2):
        outputs = made(inputs)
        loss = mean(outputs.sin().square())
        loss.backward()
    return made, {"outputs": outputs.detach(), "state": flat(made.state_dict())}


def flat(state):
    return torch.cat([x.double().flatten() for x in state.values()])


def gradient(module):
    return torch.cat([p.grad.flatten() for p in module.parameters()])


def regularised(width, inputs):
    torch.manual_seed(0)
    made = nn.Linear(6, width)
    found = VICReg()(made(inputs)[None], step=0)
    found.loss.backward()
    return made, {"loss": found.loss.detach()}


def contrasted(inputs):
    torch.manual_seed(0)
    made = nn.Linear(6, 3)
    mine = made(inputs)
    loss = (mine @ all_rows(mine).T).logsumexp(1).mean()
    loss.backward()
    return made, {}


def cases(own):
    """Each case's module and findings, of the rows that `own` takes."""
    images = {"images": (6, 3, 2), "timm": (6, 3, 2), "vectors": (6,)}
    for kind, shape in images.items():
        yield kind, norms(kind, own(rows(*shape), ROWS))
    for width in (3, 20):  # below and above the number of rows
        yield f"vicreg {width}", regularised(width, own(rows(6), EQUAL))
    yield "contrast", contrasted(own(rows(6), EQUAL))


def work(rank, folder):
    """One of the processes; gradients are averaged, as in training."""
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=2)
    found = {}
    for name, (module, values) in cases(lambda x, sizes: x.split(sizes)[rank]):
        found[name] = values | {"gradient": total(gradient(module)) / 2}
    torch.save(found, Path(folder) / f"{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    folder = tmp_path_factory.mktemp("ranks")
    torch.multiprocessing.spawn(work, args=(str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt", weights_only=True) for rank in range(2)]


@pytest.mark.slow
def test_two_processes_equal_one(found):
    for name, (module, values) in cases(lambda x, sizes: x):
        expected = values | {"gradient": gradient(module)}
        for rank, of_rank in enumerate(found):
            for key, value in expected.items():
                if key == "outputs":
                    value = value.split(ROWS)[rank]
                torch.testing.assert_close(
                    of_rank[name][key], value, rtol=1e-5, atol=1e-6, msg=f"{name} {key} {rank}"
                )


def test_alone_nothing_changes():
    x = rows(6)
    assert total(x) is x and all_rows(x) is x and mean(x) == x.mean()
    plain, shared = network("vectors"), network("vectors")
    share_batch_norms(shared)
    assert torch.equal(plain(x), shared(x))
    assert torch.equal(plain.eval()(x), shared.eval()(x))
    assert plain.state_dict().keys() == shared.state_dict().keys()


def test_a_norm_in_two_places_stays_one():
    norm = nn.BatchNorm1d(6)
    places = nn.ModuleList([nn.Sequential(norm), nn.Sequential(norm)])
    share_batch_norms(places)
    assert isinstance(places[0][0], SharedBatchNorm) and places[0][0] is places[1][0]
    assert places[0][0].weight is norm.weight


def test_a_norm_that_is_not_known_is_refused():
    class Own(nn.BatchNorm1d):
        pass

    with pytest.raises(ConfigError, match="Own cannot take its statistics over several processes"):
        share_batch_norms(nn.Sequential(Own(3)))
