"""The parts that readers of third-party episodes share: choosing, naming, cutting and checking.

Knows no layout. In most of them the action of a row is taken at the frame of that row, so the last
one leads out of the episode and is left out.
"""

import os
import warnings
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.datasets.array_video import to_size
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.format import Format
from worldmodel.episodes.choices import from_zero
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import ConfigError, EpisodeError, VideoError, nearest, printable
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

DEFAULT_FPS = 10.0  # where nothing says it
MOST_BYTES = 2**32  # of one array's rows of one episode
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


def stamp(path: str) -> tuple[int, int]:
    """The time and size of a file, which change when it is written again; zeros without one."""
    try:
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    except OSError:
        return 0, 0


def fetch_again(path: str) -> str:
    """The remedy for a file that is damaged, or only the pointer to one."""
    with suppress(OSError), open(path, "rb") as file:
        if file.read(20).startswith(b"version https://git-"):
            return "it only points to one that Git LFS keeps: fetch it with git lfs pull"
    return "fetch or write it again"


def info_names(keys: Iterable[str], *prefixes: str) -> dict[str, str]:
    """For each key of a file the name that its rows get: without its prefix, and without `/`.

    Keys that would get one name keep their prefix, or are named as they are.
    """
    names = {key: _without(key, prefixes).replace("/", "_") for key in keys}
    for longer in (lambda key: key.replace("/", "_"), str):
        count = Counter(names.values())
        names = {key: longer(key) if count[name] > 1 else name for key, name in names.items()}
    return names


def _without(key: str, prefixes: Iterable[str]) -> str:
    prefix = next((prefix for prefix in prefixes if key.startswith(prefix)), "")
    return key.removeprefix(prefix)


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


def square(frames: Tensor, size: int | None) -> Tensor:
    """Frames t h w c as they are, or their middle squares at `size` pixels."""
    if size is None:
        return frames
    small = to_size(frames, size)
    top, left = ((side - size) // 2 for side in small.shape[-2:])
    small = small[..., top : top + size, left : left + size]
    return rearrange(small, "t c h w -> t h w c").contiguous()


@dataclass(frozen=True)
class Choices:
    """What actions are numbers of, where each is a choice among alternatives."""

    counts: tuple[int, ...]  # a: how many alternatives each choice has
    first: tuple[float, ...]  # a: the number of the first of them


@dataclass(frozen=True)
class EpisodeRows:
    """The numbers of an episode, one row a frame."""

    times: np.ndarray  # t, seconds
    actions: np.ndarray | None  # t a, the last of which is not used; t-1 a if they lie between
    info: Mapping[str, np.ndarray]  # t ..., each
    between: bool = False  # there is no action that leads out of the episode
    choices: Choices | None = None  # what the actions are numbers of

    def with_frames(
        self, name: str, frames: Tensor, metadata: Mapping[str, str] | None = None
    ) -> Episode:
        """The rows and their frames `t h w 3` as an episode; times begin at 0.

        Raises:
            EpisodeError: lengths differ, actions are NaN, or times do not increase.
        """
        actions = self.actions
        if actions is not None and len(actions) != len(frames) - self.between:
            raise EpisodeError(
                f"{name}: has {len(frames)} frames and {len(actions)} actions; write it again"
            )
        if actions is not None and (actions.dtype.kind not in "fiub" or actions.ndim > 2):
            raise EpisodeError(
                f"{name}: actions are {actions.shape} {actions.dtype}, not rows of numbers; "
                f"choose others with action="
            )
        if actions is not None:
            width = int(np.prod(actions.shape[1:]))  # also of no rows
            actions = actions[: len(frames) - 1].astype(np.float32).reshape(-1, width)
        try:
            if actions is not None and self.choices is not None:
                from_zero(torch.from_numpy(actions), self.choices.counts, self.choices.first)
            return Episode(
                frames,
                torch.from_numpy(np.asarray(self.times - self.times[0], np.float64)),
                None if actions is None else torch.from_numpy(actions),
                {k: torch.from_numpy(np.ascontiguousarray(v)) for k, v in self.info.items()},
                dict(metadata or {}),
                name,
            )
        except (EpisodeError, TypeError) as cause:
            raise EpisodeError(
                f"{name}: {cause}; correct the file, or leave the episode out"
            ) from cause


def bounds(arrays: Iterable[np.ndarray]) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """The lowest and highest of each dimension of actions `n a` in all arrays.

    Rows with NaN do not count; empty where there are no others, or the arrays' widths differ.
    """
    lows, highs = [], []
    for actions in arrays:
        rows = actions.reshape(len(actions), -1).astype(np.float64) if actions.size else actions
        rows = rows[np.isfinite(rows).all(axis=1)] if actions.size else actions
        if rows.size:
            lows.append(rows.min(axis=0))
            highs.append(rows.max(axis=0))
    if len({len(low) for low in lows}) != 1:
        return (), ()
    return tuple(np.min(lows, axis=0).tolist()), tuple(np.max(highs, axis=0).tolist())


class EpisodeItem(Item):
    """An episode of a third-party format as a video, with the rows that go with its frames."""

    @abstractmethod
    def read_rows(self) -> EpisodeRows:
        """Its rows.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """

    def row_frames(self, times: np.ndarray, source: Video) -> np.ndarray:
        """The numbers of the frames of the opened video that rows at these times belong to."""
        return np.arange(len(times))

    def check_rows(self, source: Video) -> bool:
        """Read its rows, and see that each of them has a frame; True if it has actions."""
        rows = self.read_rows()
        no_frames = torch.zeros(1, dtype=torch.uint8).expand(len(rows.times), 1, 1, 3)
        rows.with_frames(self.name, no_frames)
        self.row_frames(rows.times, source)
        return rows.actions is not None


class EpisodeSource(ABC):
    """Episodes in a third-party format: facts about all of them, and reading one.

    Attributes:
        name: Of the data set.
        env_id: Stands for the environment.
        fps: Frames per second.
        lengths: Frames of each.
        has_actions: True for each that has some.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        decoding: How their frames are read.
        choices: What the actions are numbers of, where they are choices.
    """

    name: str
    env_id: str
    fps: float
    lengths: Sequence[int]
    has_actions: Sequence[bool]
    size: int | None
    decoding: Decoding
    choices: Choices | None = None

    @abstractmethod
    def item(self, index: int) -> EpisodeItem:
        """Episode number `index` as a video, not opened yet."""

    @abstractmethod
    def actions(self) -> Iterator[np.ndarray]:
        """All actions, array after array, `n a`."""

    def metadata(self, index: int) -> dict[str, str]:
        """What is known of an episode beside its rows."""
        return {}

    def describe(self) -> FolderInfo:
        """Rate and bounds of the actions, for which all of them are read if they are numbers."""
        count, choices = len(self.lengths), self.choices
        if choices is None:
            return FolderInfo(self.env_id, self.fps, *bounds(self.actions()), count)
        last = tuple(low + n - 1 for low, n in zip(choices.first, choices.counts, strict=True))
        return FolderInfo(
            self.env_id, self.fps, choices.first, last, count, action_choices=choices.counts
        )

    def read(self, index: int) -> Episode:
        """Episode number `index`, with all its rows.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """
        item = self.item(index)
        try:
            with closing(item.open(self.decoding.at(self.size))) as source:
                rows = item.read_rows()
                frames = source.read(item.row_frames(rows.times, source))
        except VideoError as cause:
            raise EpisodeError(str(cause)) from cause
        frames = square(rearrange(frames, "t c h w -> t h w c"), self.size)
        return rows.with_frames(item.name, frames, self.metadata(index))


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

    def read(self, index: int) -> Episode:
        """Episode number `index`, from 0."""
        return self._source.read(self._chosen[index])

    def select(self, indices: Sequence[int]) -> "StoredEpisodes":
        """The episodes with these numbers."""
        return StoredEpisodes(self._source, [self._chosen[i] for i in indices], self.info)

    @property
    def lengths(self) -> list[int]:
        """Number of frames of each, without reading them."""
        return [int(self._source.lengths[index]) for index in self._chosen]

    @property
    def has_actions(self) -> list[bool]:
        """True for each that has some."""
        return [self._source.has_actions[index] for index in self._chosen]


class EpisodeCatalogue(Catalogue):
    """The episodes of a source as videos, actions ignored."""

    def __init__(self, source: EpisodeSource) -> None:
        if not len(source.lengths):
            raise EpisodeError(f"{source.name}: holds no episode; check the path")
        self.name = source.name
        self._source = source

    def __len__(self) -> int:
        return len(self._source.lengths)

    def item(self, index: int) -> Item:
        """The episode as a video."""
        return self._source.item(index)


class EpisodeFormat(Format):
    """A third-party format of episodes."""

    @abstractmethod
    def source(self, path: str, video: Decoding) -> EpisodeSource:
        """The episodes at a path; `video` is how their frames are read."""

    def open(self, path: str) -> Catalogue:
        """The episodes as videos, actions ignored."""
        return EpisodeCatalogue(self.source(path, Decoding()))

    def episodes(self, path: str, video: Decoding | None = None) -> StoredEpisodes:
        """The episodes with their actions."""
        return StoredEpisodes(self.source(path, video or Decoding()))
