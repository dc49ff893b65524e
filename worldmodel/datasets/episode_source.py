"""The parts that readers of third-party episodes share: choosing, naming, cutting and checking.

Knows no layout. In all of them the action of a row is taken at the frame of that row, so the last
one leads out of the episode and is left out.
"""

import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import overload

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.datasets.array_video import to_size
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import ConfigError, EpisodeError, nearest, printable
from worldmodel.video.decoding import Limits

ACTION_NAMES = ("action", "actions")  # the first that is there is taken, where none is chosen
_WARNED: set[tuple[str, str]] = set()


def warn_once(about: tuple[str, str], message: str) -> None:
    """Warn of something about a data set that does not stop it from being read.

    Args:
        about: The data set, and what of it: the same is not said again.
        message: What is so and what is done about it.
    """
    if about not in _WARNED:
        _WARNED.add(about)
        warnings.warn(printable(message), stacklevel=3)


def fetch_again(path: str) -> str:
    """The remedy for a file that is damaged, or only the pointer to one."""
    with suppress(OSError), open(path, "rb") as file:
        if file.read(20).startswith(b"version https://git-"):
            return "it only points to one that Git LFS keeps: fetch it with git lfs pull"
    return "fetch or write it again"


def info_names(keys: Iterable[str], prefix: str) -> dict[str, str]:
    """For each key of a file the name that its rows get: without `prefix`, and without `/`.

    Keys that would get one name keep their prefix, or are named as they are.
    """
    names = {key: key.removeprefix(prefix).replace("/", "_") for key in keys}
    for longer in (lambda key: key.replace("/", "_"), str):
        count = Counter(names.values())
        names = {key: longer(key) if count[name] > 1 else name for key, name in names.items()}
    return names


def choose(
    what: str, asked: str | None, choices: Sequence[str], *, name: str, missing: str = ""
) -> str:
    """The key that was asked for, by its name or its last part; the only one where none was.

    Args:
        what: What is chosen: the option's name.
        asked: The option's value.
        choices: What there is.
        name: Of the data set, for messages.
        missing: Why there may be no choices.

    Raises:
        ConfigError: there is none, or several and none was chosen.
    """
    if not choices:
        raise ConfigError(f"{name}: has no {what}{missing and ': '}{missing}")
    if asked is None:
        if len(choices) == 1:
            return choices[0]
        raise ConfigError(f"{name}: has several, name one with {what}=: {', '.join(choices)}")
    if asked in choices:
        return asked
    ends = [key for key in choices if key.replace("/", ".").rpartition(".")[2] == asked]
    if len(ends) > 1:
        raise ConfigError(f"{name}: {what}={asked} may be any of {', '.join(ends)}; name one whole")
    if not ends:
        raise ConfigError(f"{name}: no {what} '{asked}': {nearest(asked, choices)}")
    return ends[0]


def check_positive(name: str, value: float | None) -> None:
    """Refuse what is set and not positive.

    Raises:
        ConfigError: it is not.
    """
    if value is not None and not value > 0:
        raise ConfigError(f"{name} must be positive, got {value}")


def check_room(
    name: str, frames: int, height: int, width: int, limits: Limits | None = None
) -> None:
    """Refuse an episode that would not fit in memory.

    Raises:
        EpisodeError: it is larger than the limits for one request.
    """
    limits = limits or Limits()
    mib = frames * height * width * 3 / 2**20
    if height * width > limits.pixels or mib > limits.mib:
        raise EpisodeError(
            f"{name}: claims {frames} frames of {height} x {width}, {mib:.0f} MiB; the limit is "
            f"{limits.mib:g} MiB and {limits.pixels} pixels: read it as video instead"
        )


def square(frames: Tensor, size: int | None) -> Tensor:
    """Frames t h w c as they are, or their middle squares at `size` pixels."""
    if size is None:
        return frames
    small = to_size(frames, size)
    top, left = ((side - size) // 2 for side in small.shape[-2:])
    small = small[..., top : top + size, left : left + size]
    return rearrange(small, "t c h w -> t h w c").contiguous()


def stand_in(length: int, height: int = 1, width: int = 1) -> Tensor:
    """Frames t h w 3 that take no memory, where an episode is checked without its own."""
    return torch.zeros(1, dtype=torch.uint8).expand(length, height, width, 3)


def make_episode(
    name: str,
    frames: Tensor,
    times: np.ndarray,
    actions: np.ndarray | None,
    info: Mapping[str, np.ndarray],
    metadata: Mapping[str, str],
) -> Episode:
    """An episode from rows of one length.

    Args:
        name: For messages.
        frames: t h w 3, uint8.
        times: t, seconds.
        actions: t a, the last of which is not used; or None.
        info: t ..., each.
        metadata: Strings.

    Raises:
        EpisodeError: lengths differ, actions are NaN, or times do not increase.
    """
    kept = None
    if actions is not None:
        if len(actions) != len(frames):
            raise EpisodeError(
                f"{name}: has {len(frames)} frames and {len(actions)} actions; write it again"
            )
        if actions.dtype.kind not in "fiub" or actions.ndim > 2:
            raise EpisodeError(
                f"{name}: actions are {actions.shape} {actions.dtype}, not rows of numbers; "
                f"choose others with action="
            )
        width = int(np.prod(actions.shape[1:]))  # also of no rows
        kept = torch.from_numpy(actions[:-1].astype(np.float32).reshape(-1, width))
    try:
        return Episode(
            frames,
            torch.from_numpy(np.asarray(times, np.float64)),
            kept,
            {key: torch.from_numpy(np.ascontiguousarray(value)) for key, value in info.items()},
            dict(metadata),
            name,
        )
    except (EpisodeError, TypeError) as cause:
        raise EpisodeError(
            f"{name}: {cause}; correct the file, or leave the episode out"
        ) from cause


def bounds(actions: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lowest and highest of each number in actions n a, NaN left out."""
    rows = actions.reshape(len(actions), -1).astype(np.float64)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if not len(rows):
        return (), ()
    return tuple(rows.min(axis=0).tolist()), tuple(rows.max(axis=0).tolist())


def bounds_of_all(
    found: Sequence[tuple[tuple[float, ...], tuple[float, ...]]],
) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The bounds of several arrays of actions from those of each; empty where widths differ."""
    found = [pair for pair in found if pair[0]]
    if len({len(low) for low, _ in found}) != 1:
        return (), ()
    lows, highs = zip(*found, strict=True)
    return tuple(np.min(lows, axis=0).tolist()), tuple(np.max(highs, axis=0).tolist())


class EpisodeSource(ABC):
    """Episodes in a third-party format: facts about all of them, and reading one.

    Attributes:
        name: Of the data set.
        lengths: Frames of each.
        has_actions: True for each that has some.
    """

    name: str
    lengths: Sequence[int]
    has_actions: Sequence[bool]

    @abstractmethod
    def describe(self) -> FolderInfo:
        """Facts about all of them; may take reading their actions."""

    @abstractmethod
    def read(self, index: int) -> Episode:
        """Episode number `index`.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """

    @abstractmethod
    def item(self, index: int) -> Item:
        """The same as a video, not opened yet."""


class StoredEpisodes(EpisodeStore):
    """The episodes of a source, or some of them."""

    def __init__(
        self,
        source: EpisodeSource,
        chosen: Sequence[int] | None = None,
        info: FolderInfo | None = None,
    ) -> None:
        self.info = info or source.describe()
        self._source = source
        self._chosen = range(len(source.lengths)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> "EpisodeStore": ...
    def __getitem__(self, index: int | slice) -> Episode | EpisodeStore:
        if isinstance(index, slice):
            return StoredEpisodes(self._source, self._chosen[index], self.info)
        return self._source.read(self._chosen[index])

    def __iter__(self) -> Iterator[Episode]:
        return (self._source.read(index) for index in self._chosen)

    @property
    def lengths(self) -> list[int]:
        """Number of frames of each, without reading them."""
        return [int(self._source.lengths[index]) for index in self._chosen]

    @property
    def labelled(self) -> "StoredEpisodes":
        """Those with actions."""
        return self._where(True)

    @property
    def unlabelled(self) -> "StoredEpisodes":
        """Those that are videos only."""
        return self._where(False)

    def _where(self, wanted: bool) -> "StoredEpisodes":
        chosen = [i for i in self._chosen if self._source.has_actions[i] == wanted]
        return StoredEpisodes(self._source, chosen, self.info)


class EpisodeCatalogue(Catalogue):
    """The episodes of a source as videos, actions ignored."""

    def __init__(self, source: EpisodeSource) -> None:
        if not len(source.lengths):
            raise EpisodeError(f"{source.name}: holds no episode; check the path")
        self.name = source.name
        self._source = source

    def __len__(self) -> int:
        return len(self._source.lengths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as Sequence has it
        chosen = range(len(self))[index]
        if isinstance(chosen, range):
            return [self._source.item(i) for i in chosen]
        return self._source.item(chosen)
