"""The order in which videos are seen: a pure function, so nothing is stored and every run resumes.

Sample `i` of a run is the same video whatever was drawn before, in however many processes: a step's
batch is a range of these numbers, a rank's share a range of that. Knows lengths, weights and a
seed; knows neither videos nor clips.
"""

from collections.abc import Sequence
from fractions import Fraction
from functools import lru_cache

import numpy as np

from worldmodel.errors import ConfigError

BLOCK = 65_536  # samples in which the shares of a mixture are exact
_SMALL = 65_536  # up to here a permutation is kept as a table, 256 kB
_ROUNDS = 6
_MASK = 2**64 - 1
_MIXING, _SHUFFLING, _RESERVE = 1, 2, 3  # keep the streams of one seed apart


class Sampler:
    """Says of each sample which item of which data set it is.

    A data set is gone through in epochs: each time every item once, shuffled anew. Several are
    mixed so that after every `BLOCK` samples each has been drawn its share of times, give or take
    one.

    Args:
        lengths: Items of each data set.
        weights: Their shares, in any unit; by default every item of all is equally likely.
        seed: Decides the order.

    Raises:
        ConfigError: a data set is empty, or a weight makes no sense.
    """

    def __init__(
        self, lengths: Sequence[int], *, weights: Sequence[float] | None = None, seed: int
    ) -> None:
        if not lengths or min(lengths) < 1:
            raise ConfigError(f"each data set needs at least one video, got {list(lengths)}")
        shares = _shares(list(lengths) if weights is None else list(weights), len(lengths))
        self.lengths = tuple(lengths)
        self.seed = seed
        # Bounds of the data sets on [0, 1], exact so that the counts are.
        self._bounds = tuple(sum(shares[:d], Fraction(0)) for d in range(len(shares) + 1))

    def __getitem__(self, index: int) -> tuple[int, int]:
        """The data set and the item in it that sample `index` is."""
        data_set, rank = self._place(index)
        epoch, place = divmod(rank, self.lengths[data_set])
        return data_set, shuffled(place, self.lengths[data_set], (self.seed, data_set, epoch))

    def reserve(self, index: int, attempt: int) -> tuple[int, int]:
        """The substitute for sample `index` when it and `attempt` others could not be read.

        From the same data set, so that the shares stay; any item of it is equally likely.
        """
        data_set, _ = self._place(index)
        random = np.random.default_rng((self.seed, _RESERVE, index, attempt))
        return data_set, int(random.integers(self.lengths[data_set]))

    def drawn(self, blocks: int) -> list[int]:
        """How many of the first `blocks * BLOCK` samples are of each data set."""
        return _drawn(self._bounds, blocks)

    def _place(self, index: int) -> tuple[int, int]:
        """The data set of a sample, and how many samples before it were of that one."""
        if len(self.lengths) == 1:
            return 0, index
        block, slot = divmod(index, BLOCK)
        which, ranks = _block(self._bounds, self.seed, block)
        data_set = int(which[slot])
        return data_set, int(ranks[slot]) + self.drawn(block)[data_set]


def shares_of_rank(step: int, batch: int, *, rank: int = 0, world: int = 1) -> range:
    """The samples of `rank` at `step`, where each of `world` ranks takes `batch` of them."""
    first = (step * world + rank) * batch
    return range(first, first + batch)


def shuffled(place: int, length: int, key: tuple[int, ...]) -> int:
    """Where `place` goes in a permutation of `range(length)` that `key` decides.

    A long one is never written out: a Feistel network on the next power of four, walked until it
    is back inside the range (cycle walking; Black and Rogaway 2002), permutes a billion numbers
    in no memory.
    """
    if length <= _SMALL:
        return int(_table(length, key)[place])
    half = (length - 1).bit_length() + 1 >> 1
    keys = _round_keys(key)
    while True:
        left, right = place >> half, place & ((1 << half) - 1)
        for round_key in keys:
            left, right = right, left ^ (_mix(right ^ round_key) & ((1 << half) - 1))
        place = left << half | right
        if place < length:
            return place


def _shares(weights: list[float], count: int) -> list[Fraction]:
    if len(weights) != count:
        raise ConfigError(f"{count} data sets need as many weights, got {len(weights)}")
    if not all(0 < weight < float("inf") for weight in weights):
        raise ConfigError(f"weights must be positive and finite, got {weights}")
    total = sum(map(Fraction, weights), Fraction(0))
    shares = [Fraction(weight) / total for weight in weights]
    if min(shares) * BLOCK < 1:
        raise ConfigError(
            f"the smallest weight is {float(min(shares)):.3g} of all, less than one sample in "
            f"{BLOCK}; raise it or leave its data set out"
        )
    return shares


def _drawn(bounds: tuple[Fraction, ...], block: int) -> list[int]:
    """How many samples of each data set come before a block."""
    # Rounding the bounds instead of the shares keeps the sum right; as every share is at least
    # one sample a block, no count ever falls.
    edges = [int(block * BLOCK * bound) for bound in bounds]
    return [high - low for low, high in zip(edges[:-1], edges[1:], strict=True)]


@lru_cache(maxsize=4)
def _block(bounds: tuple[Fraction, ...], seed: int, block: int) -> tuple[np.ndarray, np.ndarray]:
    """For each slot of a block its data set, and its number among those of that data set."""
    before, after = (np.array(_drawn(bounds, b)) for b in (block, block + 1))
    counts = after - before
    which = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    which = np.random.default_rng((seed, _MIXING, block)).permutation(which)
    ranks = np.empty(BLOCK, np.int32)
    ranks[np.argsort(which, kind="stable")] = np.concatenate([np.arange(c) for c in counts])
    return which, ranks


@lru_cache(maxsize=64)
def _table(length: int, key: tuple[int, ...]) -> np.ndarray:
    order = np.random.default_rng((_SHUFFLING, *key)).permutation(length)
    return order.astype(np.int32)


@lru_cache(maxsize=64)
def _round_keys(key: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(
        np.random.SeedSequence((_SHUFFLING, *key)).generate_state(_ROUNDS, np.uint64).tolist()
    )


def _mix(number: int) -> int:
    """A 64-bit hash: the finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    number = (number ^ number >> 30) * 0xBF58476D1CE4E5B9 & _MASK
    number = (number ^ number >> 27) * 0x94D049BB133111EB & _MASK
    return number ^ number >> 31
