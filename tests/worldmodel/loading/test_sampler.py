"""Laws of the order in which videos are seen."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from worldmodel.errors import ConfigError
from worldmodel.loading import sampler as module
from worldmodel.loading.sampler import BLOCK, Sampler, shares_of_rank, shuffled

seeds = st.integers(0, 2**31 - 1)


@given(st.integers(1, 400), seeds)
def test_each_item_comes_once_in_every_epoch(length, seed):
    order = Sampler([length], seed=seed)
    for epoch in (0, 1, 7):
        first = epoch * length
        seen = [order[first + i] for i in range(length)]
        assert sorted(seen) == [(0, item) for item in range(length)]


@settings(max_examples=30)
@given(st.integers(2, 300), st.tuples(seeds, seeds))
def test_a_long_permutation_that_is_never_written_out_is_one(length, key):
    before, module._SMALL = module._SMALL, 0
    try:
        places = [shuffled(place, length, key) for place in range(length)]
    finally:
        module._SMALL = before
    assert sorted(places) == list(range(length))


def test_a_long_permutation_mixes_and_differs_between_epochs():
    length = 100_003
    places = np.array([shuffled(i, length, (0, 0, 0)) for i in range(length)])
    assert len(np.unique(places)) == length
    neighbours = np.corrcoef(places[:-1], places[1:])[0, 1]
    assert abs(neighbours) < 0.02 and abs(np.corrcoef(places, np.arange(length))[0, 1]) < 0.02
    again = np.array([shuffled(i, length, (0, 0, 1)) for i in range(1000)])
    assert (again == places[:1000]).mean() < 0.01


@settings(max_examples=40, deadline=None, phases=[Phase.generate])
@given(st.lists(st.tuples(st.integers(1, 50), st.integers(1, 100)), min_size=2, max_size=5), seeds)
def test_a_mixture_keeps_its_weights_and_its_epochs(parts, seed):
    lengths, weights = zip(*parts, strict=True)
    order = Sampler(lengths, weights=weights, seed=seed)
    shares = np.array(weights) / sum(weights)
    first = BLOCK - 600
    places = [order[i] for i in range(first, first + 1200)]
    counts = np.bincount([which for which, _ in places], minlength=len(weights))
    # Random within a block: six standard deviations.
    assert (abs(counts - 1200 * shares) <= 6 * np.sqrt(1200 * shares) + 2).all()
    for blocks in (1, 7, 10**9):
        drawn = np.array(order.drawn(blocks), dtype=object)
        exact = [blocks * BLOCK * weight / sum(weights) for weight in weights]
        assert drawn.sum() == blocks * BLOCK
        assert all(abs(d - e) < 1.01 for d, e in zip(drawn, exact, strict=True))
    # Whole epochs of each data set, picked out of the mixture, have each of its items once.
    start = [order[i] for i in range(1200)]
    for data_set, length in enumerate(lengths):
        mine = [item for which, item in start if which == data_set]
        for epoch in range(len(mine) // length):
            assert sorted(mine[epoch * length : (epoch + 1) * length]) == list(range(length))


def test_epochs_go_on_across_blocks():
    order = Sampler([BLOCK - 5, 3], weights=[2, 1], seed=4)
    seen = [order[i] for i in range(2 * BLOCK)]
    mine = [item for which, item in seen if which == 0]
    assert len(set(mine[: BLOCK - 5])) == BLOCK - 5
    small = [item for which, item in seen if which == 1]
    assert all(sorted(small[i : i + 3]) == [0, 1, 2] for i in range(0, len(small) - 2, 3))


@given(st.integers(1, 9), st.integers(1, 5), st.integers(0, 50))
def test_ranks_share_a_step_without_overlap_and_steps_follow_each_other(batch, world, step):
    ranges = [shares_of_rank(step, batch, rank=rank, world=world) for rank in range(world)]
    together = [i for part in ranges for i in part]
    assert together == list(range(step * batch * world, (step + 1) * batch * world))


def test_a_sample_does_not_depend_on_what_was_drawn_before():
    straight = [Sampler([50, 7], weights=[3, 1], seed=9)[i] for i in range(200)]
    order = Sampler([50, 7], weights=[3, 1], seed=9)
    assert [order[i] for i in reversed(range(200))] == straight[::-1]
    assert [Sampler([50, 7], weights=[3, 1], seed=8)[i] for i in range(200)] != straight


def test_without_weights_every_item_is_equally_likely():
    counts = Counter(which for which, _ in (Sampler([300, 100], seed=0)[i] for i in range(BLOCK)))
    assert counts[0] == 3 * counts[1]


def test_the_reserve_is_of_the_same_data_set_and_new_at_each_attempt():
    order = Sampler([1000, 1000], weights=[1, 1], seed=3)
    for index in range(20):
        drawn = [order.reserve(index, attempt) for attempt in range(1, 9)]
        assert {which for which, _ in drawn} == {order[index][0]}
        assert len(set(drawn)) > 4
        assert drawn == [order.reserve(index, attempt) for attempt in range(1, 9)]


def test_a_billion_videos_cost_no_memory():
    tracemalloc.start()
    order = Sampler([10**9, 10**6], weights=[0.5, 0.5], seed=0)
    drawn = {order[i] for i in range(0, 10**12, 10**12 // 50)}
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(drawn) > 45 and max(item for _, item in drawn) > 10**8
    assert peak < 8 * 2**20


@pytest.mark.parametrize(
    ("lengths", "weights", "message"),
    [
        ([], None, "at least one video"),
        ([3, 0], None, "at least one video"),
        ([3, 3], [1], "as many weights, got 1"),
        ([3, 3], [1, 0], "positive and finite"),
        ([3, 3], [1, float("nan")], "positive and finite"),
        ([3, 3], [1e9, 1], "less than one sample in"),
    ],
)
def test_refusals(lengths, weights, message):
    with pytest.raises(ConfigError, match=message):
        Sampler(lengths, weights=weights, seed=0)
