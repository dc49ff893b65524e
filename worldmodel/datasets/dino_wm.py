"""The folders in which DINO-WM publishes its episodes (Zhou et al. 2024, arXiv:2411.04983).

What lies beside the frames is in `dino_wm_tables.py`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.datasets.array_video import ArrayVideo, frame_size, images
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.dino_wm_tables import Tables, frame_files, frame_table
from worldmodel.datasets.episode_source import (
    EpisodeCatalogue,
    EpisodeSource,
    StoredEpisodes,
    bounds,
    check_positive,
    check_room,
    choose,
    make_episode,
    square,
    stand_in,
)
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import shown
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.errors import ConfigError, EpisodeError, VideoError
from worldmodel.video.decoding import Decoding
from worldmodel.video.open import VideoReader
from worldmodel.video.video import Video

DEFAULT_FPS = 10.0
_SPLITS = ("train", "val")


@dataclass(frozen=True)
class DinoWM(Format):
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

    def open(self, path: str) -> Catalogue:
        """The episodes as videos, actions ignored."""
        return EpisodeCatalogue(self._source(path, Decoding()))

    def episodes(self, path: str, video: Decoding | None = None) -> StoredEpisodes:
        """The episodes with their actions."""
        return StoredEpisodes(self._source(path, video or Decoding()))

    def _source(self, path: str, video: Decoding) -> "DinoWMEpisodes":
        roots = _roots(path)
        if not roots:
            raise EpisodeError(
                f"{shown(path)}: holds no states.pth with frames below obses/; name the folder "
                "that does"
            )
        split = self.split
        if split is None:
            split = choose("split", None, list(roots), name=shown(path))
        if split not in roots:
            raise ConfigError(
                f"{shown(path)}: has no split '{split}': {', '.join(filter(None, roots)) or 'none'}"
            )
        tables = Tables.read(roots[split], self.action)
        return DinoWMEpisodes(tables, size=self.size, fps=self.fps, video=video)


def _roots(path: str) -> dict[str, str]:
    """The folders of episodes by the split that they are; '' where it is the path itself."""
    if "\0" in path or "://" in path:
        return {}
    places = {"": path, **{split: os.path.join(path, split) for split in _SPLITS}}
    found = {split: root for split, root in places.items() if _is_one(root)}
    return {"": path} if "" in found else found


def _is_one(root: str) -> bool:
    frames = any(os.path.isdir(os.path.join(root, name)) for name in ("obses", "000000"))
    return frames and os.path.isfile(os.path.join(root, "states.pth"))


@dataclass(frozen=True)
class DinoWMVideo(Item):
    """The frames of an episode."""

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

    def check_rows(self, source: Video) -> bool:
        """The numbers of every frame; the action of the last one is not used."""
        actions, info = self.tables.numbers(self.index, self.length)
        times = np.arange(self.length) / self.fps
        make_episode(self.name, stand_in(self.length), times, actions, info, {})
        return actions is not None


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
        f"{name}: {shown(path)} has {found} frames, its list of lengths says {length}; fetch it "
        "again"
    )


class DinoWMEpisodes(EpisodeSource):
    """The episodes of a folder."""

    def __init__(self, tables: Tables, *, size: int | None, fps: float, video: Decoding) -> None:
        self.name = shown(tables.root)
        self.lengths = tables.lengths()
        self.has_actions = [tables.action is not None] * len(self.lengths)
        self._tables, self._size, self._fps, self._video = tables, size, fps, video
        self._files = frame_files(tables.root, len(self.lengths))

    def describe(self) -> FolderInfo:
        """Rate and bounds of the actions, for which all of them are read."""
        found = []
        if (action := self._tables.action) is not None:
            for index, length in enumerate(self.lengths):
                found.append(bounds(self._tables.rows(action, index, length)))
        found = [pair for pair in found if pair[0]]
        low = np.min([low for low, _ in found], axis=0).tolist() if found else ()
        high = np.max([high for _, high in found], axis=0).tolist() if found else ()
        name = f"dino_wm/{Path(self._tables.root).resolve().name}"
        return FolderInfo(name, self._fps, tuple(low), tuple(high), len(self.lengths))

    def item(self, index: int) -> Item:
        """The episode as a video."""
        name, file = f"{self.name}::episode {index}", self._files[index]
        return DinoWMVideo(name, file, self._tables, index, self.lengths[index], self._fps)

    def read(self, index: int) -> Episode:
        """The episode with all its rows."""
        item, length = self.item(index), self.lengths[index]
        try:
            source = item.open(self._video.at(self._size))
            try:
                height, width = source.read(np.arange(1)).shape[-2:]
                check_room(item.name, length, height, width, self._video.limits)
                frames = rearrange(source.read(np.arange(length)), "t c h w -> t h w c")
            finally:
                source.close()
        except VideoError as cause:
            raise EpisodeError(str(cause)) from cause
        actions, info = self._tables.numbers(index, length)
        times = np.arange(length) / self._fps
        return make_episode(item.name, square(frames, self._size), times, actions, info, {})
