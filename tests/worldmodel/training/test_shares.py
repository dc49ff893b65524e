"""Of what several processes draw, each keeps its own: side by side, it is what one draws."""

from functools import partial

import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small
from worldmodel.errors import ConfigError
from worldmodel.loading.sources import EpisodeVideos
from worldmodel.loading.transforms import VJEPA
from worldmodel.nn import across_ranks
from worldmodel.objectives import masks
from worldmodel.objectives.masks import AllButOne, Future, MaskMixture, RandomTokens, Tubes
from worldmodel.objectives.regularisers import NoRegulariser
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.training import pretrain as verb
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.sharing import check_parallel

GRID = (4, 6, 6)


@pytest.fixture
def as_rank(monkeypatch):
    def be(rank, world):
        monkeypatch.setattr(across_ranks, "rank", lambda: rank)
        for module in (across_ranks, masks, verb):
            monkeypatch.setattr(module, "world", lambda: world)

    return be


@pytest.mark.parametrize(
    "kind",
    [Tubes(3, 0.2), RandomTokens(0.6), RandomTokens(0.6, columns=True), Future(2), AllButOne()],
)
@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_masks_are_those_of_the_whole_batch(as_rank, kind, drop):
    mixture = MaskMixture([kind], [1], drop=drop)
    one = mixture.tokens(kind, 6, GRID, seeded())
    shares = []
    for rank in range(3):
        as_rank(rank, 3)
        shares.append(mixture.tokens(kind, 2, GRID, seeded()))
    assert torch.equal(torch.cat([share.context for share in shares]), one.context)
    assert torch.equal(torch.cat([share.targets for share in shares]), one.targets)


@pytest.mark.parametrize("jitter", [0.0, 0.4])
def test_crops_are_those_of_the_whole_batch(jitter):
    frames, change = noise(5, 2, 3, 20, 20), VJEPA(jitter=jitter)
    one = change(frames, size=16, seed=1, step=7)
    shares = [
        change(frames[i : i + n], size=16, seed=1, step=7, before=i) for i, n in ((0, 2), (2, 3))
    ]
    assert torch.equal(torch.cat(shares), one)


@pytest.mark.parametrize(
    ("world", "batch", "says"),
    [(1, 6, "batch=6 is no multiple of data.clips_per_video=4; say batch=4 or 8"),
     (1, 3, "say batch=4, or data.clips_per_video=1"),
     (3, 16, "3 processes share a batch evenly, all 4 clips of a video in one of them; say "
             "batch=12 or 24"),
     (8, 16, "say batch=32")],
)  # fmt: skip
def test_a_batch_that_cannot_be_shared_is_refused_before_anything_is_read(
    as_rank, world, batch, says
):
    as_rank(0, world)
    objective = partial(
        TimeSteps, masks=MaskMixture([AllButOne()], [1]), regulariser=NoRegulariser()
    )
    with pytest.raises(ConfigError, match=says):
        verb.pretrain(
            None, data=EpisodeVideos("nowhere"), model=small(), objective=objective,
            optimisation=Optimisation(1), batch=batch,
        )  # fmt: skip


def test_a_way_to_share_that_there_is_not_is_refused():
    with pytest.raises(ConfigError, match="no parallel 'dpp': did you mean 'ddp'"):
        check_parallel("dpp", compiled=False)
