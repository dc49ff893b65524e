"""The folders in which DINO-WM publishes its episodes (Zhou et al. 2024, arXiv:2411.04983).

Beside the frames lie tables of all episodes, `n t ...`, padded to the longest: `states.pth`,
`actions.pth`, `rel_actions.pth`, `velocities.pth`, ... and `seq_lengths.pth` or `.pkl`, which says
how long each episode is; without it all are as long as the tables. What is of another shape is not
read, nor are other pickles.
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from worldmodel.datasets.array_video import ArrayVideo, frame_size, images, looks_like_frames
from worldmodel.datasets.episode_source import (
    DEFAULT_FPS,
    EpisodeFormat,
    EpisodeItem,
    EpisodeRows,
    EpisodeSource,
    check_positive,
    choose,
    stamp,
    warn_once,
)
from worldmodel.datasets.listing import names_in
from worldmodel.errors import ConfigError, EpisodeError, VideoError, printable
from worldmodel.storage.pickles import is_dense, is_held, read_list, read_torch
from worldmodel.video.clip import VideoReader
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_SPLITS = ("train", "val")
ACTIONS = ("rel_actions", "actions", "abs_actions")  # the first that is there; as DINO-WM has it
_NUMBERS = frozenset((
    torch.float16, torch.float32, torch.float64, torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
))  # fmt: skip


@dataclass(frozen=True)
class DinoWM(EpisodeFormat):
    """A folder with `states.pth`, or one with such folders called `train` and `val`.

    Attributes:
        action: Which table is the actions; by default `rel_actions`, `actions` or `abs_actions`.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; the files do not say.
        split: `train` or `val`, where the folder holds both.
    """

    name: ClassVar[str] = "dino_wm"
    rank: ClassVar[int] = 13
    looks: ClassVar[str] = "a folder with states.pth and obses/, or train/ and val/ with them"

    action: str | None = None
    size: int | None = None
    fps: float = DEFAULT_FPS
    split: str | None = None

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the table of states."""
        return bool(_roots(path))

    def source(self, path: str, video: Decoding) -> "DinoWMEpisodes":
        """The episodes of the folder, or of the split."""
        roots = _roots(path)
        if not roots:
            raise EpisodeError(
                f"{path}: holds no states.pth with frames below obses/; name the folder that does"
            )
        split = self.split
        if split is None:
            split = choose("split", None, list(roots), name=path)
        if split not in roots:
            raise ConfigError(
                f"{path}: has no split '{split}': {', '.join(filter(None, roots)) or 'none'}"
            )
        tables = Tables.read(roots[split], self.action)
        return DinoWMEpisodes(tables, size=self.size, fps=self.fps, decoding=video)


def _roots(path: str) -> dict[str, str]:
    """The folders of episodes by the split that they are; '' where it is the path itself."""
    if "\0" in path or "://" in path:
        return {}
    candidates = {"": path, **{split: os.path.join(path, split) for split in _SPLITS}}
    found = {split: root for split, root in candidates.items() if _is_one(root)}
    return {"": path} if "" in found else found


def _is_one(root: str) -> bool:
    frames = any(os.path.isdir(os.path.join(root, name)) for name in ("obses", "000000"))
    return frames and os.path.isfile(os.path.join(root, "states.pth"))


@dataclass(frozen=True)
class Tables:
    """The tables beside the frames. Light and picklable: every item carries them.

    Attributes:
        root: The folder.
        names: The tables that have a row for every frame.
        action: The one of them that is the actions, if any.
    """

    root: str
    names: tuple[str, ...]
    action: str | None

    @classmethod
    def read(cls, root: str, action: str | None) -> "Tables":
        """Find the tables; `action` insists on one.

        Raises:
            EpisodeError: a file is damaged or would run code.
            ConfigError: there is no such table.
        """
        count, longest = _table(root, "states").shape[:2]
        names = []
        for stem, ending in map(os.path.splitext, names_in(root)):
            if ending != ".pth" or stem == "seq_lengths":
                continue
            table = _table(root, stem) if stem in ACTIONS else _table_or_none(root, stem)
            if table is not None and table.shape[:2] == (count, longest):
                names.append(stem)
            elif table is not None and stem in ACTIONS:
                raise EpisodeError(
                    f"{os.path.join(root, stem)}.pth: has {tuple(table.shape[:2])} episodes and "
                    f"rows, states.pth {(count, longest)}; fetch them again"
                )
        if action is not None:
            action = choose("action", action, names, name=root)
        else:
            action = next((name for name in ACTIONS if name in names), None)
        return cls(root, tuple(names), action)

    def lengths(self) -> list[int]:
        """Frames of each episode.

        Raises:
            EpisodeError: they do not fit the tables.
        """
        count, longest = _table(self.root, "states").shape[:2]
        kept, plain = (Path(self.root, f"seq_lengths{ending}") for ending in (".pth", ".pkl"))
        lengths: Any = [longest] * count
        path = kept if kept.exists() else plain
        if kept.exists() and plain.exists():
            warn_once((self.root, "lengths"), f"{kept} is read, and {plain.name} beside it is not")
        if kept.exists():
            lengths = read_torch(kept, "list of lengths", EpisodeError)
            lengths = lengths.tolist() if _is_complete(lengths, kept) else lengths
        elif plain.exists():
            lengths = read_list(plain, "list of lengths", EpisodeError)
        if not isinstance(lengths, list) or len(lengths) != count or not all(
            type(n) is int and 1 <= n <= longest for n in lengths
        ):  # fmt: skip
            raise EpisodeError(
                f"{path}: is no list of {count} whole numbers from 1 to {longest}, as "
                f"states.pth has episodes and rows; fetch both again"
            )
        return lengths

    def rows(self, name: str, index: int, length: int) -> np.ndarray:
        """The rows of an episode, `t ...`, what is in a row flattened."""
        table = _table(self.root, name)
        if index >= len(table) or length > table.shape[1]:
            raise EpisodeError(f"{self.root}: {name}.pth has changed; begin again")
        rows = table[index, :length].numpy()
        return np.array(rows if rows.ndim < 3 else rows.reshape(length, -1))


def frame_files(root: str, count: int) -> list[str]:
    """The file of each episode's frames.

    Raises:
        EpisodeError: those of one are nowhere.
    """
    together, alone = set(names_in(os.path.join(root, "obses"))), set(names_in(root))
    files = []
    for index in range(count):
        names = [f"episode_{index:03d}.mp4", f"episode_{index:03d}.pth"]
        name = next((name for name in names if name in together), None)
        if together.issuperset(names):
            warn_once(
                (root, "frames"),
                f"{root}: obses/{name} is read, and {names[1]} beside it is not; so with all that "
                f"are there twice",
            )
        if name is not None:
            files.append(os.path.join(root, "obses", name))
        elif f"{index:06d}" in alone:
            files.append(os.path.join(root, f"{index:06d}", "obses.pth"))
        else:
            raise EpisodeError(
                f"{root}: has no frames of episode {index}: neither obses/{names[0]} nor "
                f"obses/{names[1]} nor {index:06d}/obses.pth; fetch it again"
            )
    return files


def frame_table(path: str) -> Tensor:
    """The frames of an episode, `t h w c` or `t c h w`, uint8, left on disk.

    Raises:
        EpisodeError: they are something else.
    """
    frames = read_torch(Path(path), "file of frames", EpisodeError)
    if not _is_complete(frames, path) or not looks_like_frames(frames.numpy()):
        raise EpisodeError(f"{path}: holds no frames t h w c of uint8; fetch it again")
    return frames


def _table(root: str, name: str) -> Tensor:
    """A table `n t ...`, left on disk.

    Raises:
        EpisodeError: it is none.
    """
    table = _table_or_none(root, name)
    if table is None:
        raise EpisodeError(
            f"{root}: {name}.pth is no table of numbers, episodes x rows; fetch it again"
        )
    return table


def _table_or_none(root: str, name: str) -> Tensor | None:
    path = os.path.join(root, f"{name}.pth")
    return _read(path, stamp(path))


@lru_cache(maxsize=16)  # as many as lie beside each other, and more
def _read(path: str, version: tuple[int, int]) -> Tensor | None:
    table = read_torch(Path(path), "table of episodes", EpisodeError)
    return table if _is_complete(table, path) and table.ndim >= 2 and table.numel() else None


def _is_complete(value: Any, path: str | Path) -> bool:
    """True for a tensor of numbers that the file really holds."""
    return is_dense(value) and value.dtype in _NUMBERS and is_held(value, os.path.getsize(path))


@dataclass(frozen=True)
class DinoWMVideo(EpisodeItem):
    """An episode."""

    name: str
    key: str  # their file
    tables: Tables
    index: int
    length: int
    fps: float

    def open(self, decoding: Decoding) -> Video:
        """A video, or a tensor that stays on disk until it is asked for."""
        if not self.key.endswith(".pth"):
            return FirstFrames(self.name, self.key, self.length, self.fps, decoding)
        frames = frame_table(self.key)
        if len(frames) < self.length:
            raise _too_few(self.name, self.key, len(frames), self.length)

        def take(numbers: np.ndarray) -> np.ndarray:
            return images(frames[torch.from_numpy(numbers)].numpy())

        shape = (self.length, *frame_size(frames.shape))
        return ArrayVideo(self.name, take, shape, self.fps, decoding)

    def read_rows(self) -> EpisodeRows:
        """The numbers of every frame."""
        tables = self.tables
        info = {name: tables.rows(name, self.index, self.length) for name in tables.names}
        actions = info.pop(tables.action) if tables.action else None
        return EpisodeRows(np.arange(self.length) / self.fps, actions, info)


class FirstFrames(Video):
    """The first frames of a video file, at a rate that is known from elsewhere."""

    def __init__(self, name: str, path: str, length: int, fps: float, decoding: Decoding) -> None:
        self.name, self.num_frames, self._fps = name, length, fps
        self._reader = VideoReader(path, decoding, name=name)
        if self._reader.num_frames < length:
            found = self._reader.num_frames
            self._reader.close()
            raise _too_few(name, path, found, length)

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""
        return self._reader.read(indices)

    def read_clips(self, clips: Sequence[np.ndarray]) -> list[Tensor]:
        """Several clips `t c h w`, for each the numbers of its frames."""
        return self._reader.read_clips(clips)

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        return np.asarray(indices, np.float64) / self._fps

    def close(self) -> None:
        """Let go of the file."""
        self._reader.close()


def _too_few(name: str, path: str, found: int, length: int) -> VideoError:
    return VideoError(
        f"{name}: {path} has {found} frames, its list of lengths says {length}; fetch it again"
    )


class DinoWMEpisodes(EpisodeSource):
    """The episodes of a folder."""

    def __init__(self, tables: Tables, *, size: int | None, fps: float, decoding: Decoding) -> None:
        self.name = printable(tables.root)
        self.env_id = f"dino_wm/{Path(tables.root).resolve().name}"
        self.fps, self.size, self.decoding = fps, size, decoding
        self.lengths = tables.lengths()
        self.has_actions = [tables.action is not None] * len(self.lengths)
        self._tables = tables
        self._files = frame_files(tables.root, len(self.lengths))

    def actions(self) -> Iterator[np.ndarray]:
        """Those of each episode."""
        if (action := self._tables.action) is not None:
            for index, length in enumerate(self.lengths):
                yield self._tables.rows(action, index, length)

    def item(self, index: int) -> DinoWMVideo:
        """The episode as a video."""
        name, file = f"{self.name}::episode {index}", self._files[index]
        return DinoWMVideo(name, file, self._tables, index, self.lengths[index], self.fps)
