"""Episodes in one HDF5 file, in the two layouts that are published.

- Rows of all episodes one after another in columns (`pixels`, `action`, ...), and `ep_len` and
  `ep_offset` that say which rows each episode is: stable-worldmodel, LeWM, and the data sets of
  DINO-WM that come with them.
- A group for each episode, `data/demo_<i>`, with `actions` and `obs/<camera>`: robomimic.

How a file is searched is in `hdf5_layouts.py`.
"""

import os
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch

from worldmodel.datasets.array_video import ArrayVideo, images
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.episode_source import (
    EpisodeCatalogue,
    EpisodeSource,
    StoredEpisodes,
    bounds,
    check_positive,
    check_room,
    make_episode,
    square,
    stand_in,
)
from worldmodel.datasets.format import Format
from worldmodel.datasets.hdf5_layouts import Rows, Table, opened_h5, read_layout, rows_of
from worldmodel.datasets.listing import shown
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.video import Video

DEFAULT_FPS = 10.0
_MAGIC = b"\x89HDF\r\n\x1a\n"


@dataclass(frozen=True)
class HDF5(Format):
    """One HDF5 file of episodes.

    Attributes:
        camera: Which frames, by their key or the last part of it; needed where there are several.
        action: Which actions; `action` or `actions` by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; by default what the file says (robomimic), else 10.
        split: A list of episodes below `mask/` (robomimic); all by default.
    """

    name: ClassVar[str] = "hdf5"
    rank: ClassVar[int] = 12
    looks: ClassVar[str] = "a file that begins as HDF5 does"

    camera: str | None = None
    action: str | None = None
    size: int | None = None
    fps: float | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its first bytes, or by its ending where it has none."""
        if "://" in path or not os.path.isfile(path):
            return False
        try:
            with open(path, "rb") as file:
                return file.read(8) == _MAGIC or path.lower().endswith((".h5", ".hdf5"))
        except OSError:
            return path.lower().endswith((".h5", ".hdf5"))

    def open(self, path: str) -> Catalogue:
        """The episodes as videos, actions ignored."""
        return EpisodeCatalogue(self._source(path))

    def episodes(self, path: str, video: Decoding | None = None) -> StoredEpisodes:
        """The episodes with their actions."""
        return StoredEpisodes(self._source(path, (video or Decoding()).limits))

    def _source(self, path: str, limits: Limits | None = None) -> "HDF5Episodes":
        with opened_h5(path) as file:
            table = read_layout(
                file, path, camera=self.camera, action=self.action, split=self.split
            )
        fps = self.fps or table.fps or DEFAULT_FPS
        return HDF5Episodes(path, table, size=self.size, fps=fps, limits=limits or Limits())


@dataclass(frozen=True)
class HDF5Video(Item):
    """Frames of an episode in an HDF5 file."""

    name: str
    key: str
    path: str
    frames: Rows
    shape: tuple[int, int, int]  # t h w
    fps: float
    actions: Rows | None
    infos: tuple[str, ...]  # datasets whose same rows go with the frames

    def open(self, decoding: Decoding) -> Video:
        """Frames are read from the file when asked for."""

        def take(numbers: np.ndarray) -> np.ndarray:
            with opened_h5(self.path) as file:
                return images(rows_of(file, self.path, self.frames, numbers))

        return ArrayVideo(self.name, take, self.shape, self.fps, decoding)

    def check_rows(self, source: Video) -> bool:
        """The numbers of every frame; the action of the last one is not used."""
        with opened_h5(self.path) as file:
            actions = None if self.actions is None else rows_of(file, self.path, self.actions)
            info = {
                key: rows_of(file, self.path, Rows(key, self.frames.start, self.frames.stop))
                for key in self.infos
            }
        times = np.arange(self.shape[0]) / self.fps
        make_episode(self.name, stand_in(*self.shape), times, actions, info, {})
        return actions is not None


class HDF5Episodes(EpisodeSource):
    """The episodes of a file, as seen by one camera."""

    def __init__(
        self, path: str, table: Table, *, size: int | None, fps: float, limits: Limits
    ) -> None:
        self.name = shown(path)
        self.lengths = [rows.stop - rows.start for rows in table.frames]
        self.has_actions = [rows is not None for rows in table.actions]
        self._path, self._table, self._size, self._fps = path, table, size, fps
        self._limits = limits

    def describe(self) -> FolderInfo:
        """Rate and bounds of the actions, for which all of them are read."""
        lows, highs = [], []
        with opened_h5(self._path) as file:
            for rows in self._table.actions:
                if rows is not None:
                    low, high = bounds(rows_of(file, self._path, rows))
                    lows += [low] * bool(low)
                    highs += [high] * bool(high)
        if not lows or len({len(low) for low in lows}) != 1:
            return FolderInfo(self._table.env, self._fps, (), (), len(self.lengths))
        return FolderInfo(
            self._table.env,
            self._fps,
            tuple(np.min(lows, axis=0).tolist()),
            tuple(np.max(highs, axis=0).tolist()),
            len(self.lengths),
        )

    def item(self, index: int) -> Item:
        """The episode as a video."""
        rows, name = self._table.frames[index], f"{self.name}::{self._table.names[index]}"
        shape = (self.lengths[index], *self._table.size)
        infos = tuple(of.key for of in self._table.infos[index].values())
        actions = self._table.actions[index]
        return HDF5Video(name, name, self._path, rows, shape, self._fps, actions, infos)

    def read(self, index: int) -> Episode:
        """The episode with all its rows."""
        table, name = self._table, f"{self.name}::{self._table.names[index]}"
        length = self.lengths[index]
        check_room(name, length, *table.size, self._limits)
        with opened_h5(self._path) as file:
            frames = images(rows_of(file, self._path, table.frames[index]))
            action, infos = table.actions[index], table.infos[index]
            actions = None if action is None else rows_of(file, self._path, action)
            info = {key: rows_of(file, self._path, rows) for key, rows in infos.items()}
        whole = square(torch.from_numpy(frames), self._size)
        return make_episode(name, whole, np.arange(length) / self._fps, actions, info, {})
