"""LeRobot data sets, v2.0, v2.1 and v3: rows in parquet, frames in videos or in the rows."""

import os
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import torch
from einops import rearrange

from worldmodel.datasets.catalogue import Catalogue, Item
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
)
from worldmodel.datasets.format import Format
from worldmodel.datasets.lerobot_images import LeRobotImages
from worldmodel.datasets.lerobot_meta import EpisodePlace, LeRobotMeta
from worldmodel.datasets.lerobot_rows import BOOKS, LeRobotVideo, RowReader
from worldmodel.datasets.listing import shown
from worldmodel.datasets.parquet import read_table
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.errors import EpisodeError
from worldmodel.video.decoding import Decoding


@dataclass(frozen=True)
class LeRobot(Format):
    """A folder with `meta/info.json`.

    Attributes:
        camera: Which frames, by their key or the last part of it; needed where there are several.
        action: Which feature the actions are.
        size: Episodes are read as middle squares of this side; as they are where it is None.
    """

    name: ClassVar[str] = "lerobot"
    rank: ClassVar[int] = 11
    looks: ClassVar[str] = "a folder with meta/info.json"

    camera: str | None = None
    action: str = "action"
    size: int | None = None

    def __post_init__(self) -> None:
        check_positive("size", self.size)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its description."""
        return os.path.isfile(os.path.join(path, "meta", "info.json"))

    def open(self, path: str) -> Catalogue:
        """The episodes as videos, actions ignored."""
        return EpisodeCatalogue(self._source(path))

    def episodes(self, path: str, video: Decoding | None = None) -> StoredEpisodes:
        """The episodes with their actions."""
        return StoredEpisodes(self._source(path, video))

    def _source(self, path: str, video: Decoding | None = None) -> "LeRobotEpisodes":
        meta = LeRobotMeta.read(path)
        camera = choose("camera", self.camera, meta.cameras, name=shown(path))
        return LeRobotEpisodes(meta, camera, action=self.action, size=self.size, video=video)


class LeRobotEpisodes(EpisodeSource):
    """The episodes of a data set, as seen by one camera."""

    def __init__(
        self, meta: LeRobotMeta, camera: str, *, action: str, size: int | None,
        video: Decoding | None = None,
    ) -> None:  # fmt: skip
        self.name = shown(meta.root)
        self.places, self._camera = meta.places(camera), camera
        self.lengths = [place.length for place in self.places]
        self._meta, self._size, self._video = meta, size, video or Decoding()
        self._action = action if action in meta.features else None
        if self._action is None and action != "action":
            choose("action", action, list(meta.features), name=self.name)
        if self._action is not None and self._action not in self._numbers():
            raise EpisodeError(
                f"{self.name}: the feature '{shown(action)}' is no row of numbers; choose another "
                f"with action="
            )
        self.has_actions = [self._action is not None] * len(self.places)
        self._reader = RowReader(meta.fps, self._action, tuple(self._numbers()))

    def describe(self) -> FolderInfo:
        """Rate and bounds of the actions, for which all of them are read."""
        low, high = self._bounds()
        root = self._meta.root.rstrip(os.sep)
        robot = str(self._meta.info.get("robot_type") or os.path.basename(root))
        return FolderInfo(f"lerobot/{robot}", self._meta.fps, low, high, len(self.places))

    def item(self, index: int) -> Item:
        """The episode as part of a video."""
        place = self.places[index]
        if self._meta.is_images(self._camera):
            name = self._name_of(place)
            return LeRobotImages(name, name, self._camera, self._bare(place), self._reader)
        window = None
        if self._meta.version == 3:
            # Half a frame earlier at both ends: the next episode begins where this one ends.
            half = 0.5 / self._meta.fps
            window = (max(0.0, place.begin - half), place.end - half)
        return LeRobotVideo(
            self._name_of(place), place.video, None, window, place=self._bare(place),
            rows=self._reader,
        )  # fmt: skip

    def read(self, index: int) -> Episode:
        """The episode with all its rows."""
        place = self.places[index]
        name = self._name_of(place)
        rows = self._reader.read(place, name)
        frames = self._frames(index, rows.times, name)
        times = rows.times - rows.times[0]
        return make_episode(name, frames, times, rows.actions, rows.info, {"task": place.task})

    @staticmethod
    def _bare(place: EpisodePlace) -> EpisodePlace:
        """Without its task, which may be long: there may be a million items."""
        return replace(place, task="")

    def _name_of(self, place: EpisodePlace) -> str:
        return f"{self.name}::episode {place.index}"

    def _numbers(self) -> list[str]:
        """The features that are numbers."""
        kinds = ("float", "int", "uint", "bool")
        return [
            key for key, of in self._meta.features.items()
            if str(of.get("dtype")).startswith(kinds) and key not in BOOKS
        ]  # fmt: skip

    def _frames(self, index: int, times: np.ndarray, name: str) -> torch.Tensor:
        """The frames at these times of the episode: t h w c, uint8."""
        place, numbers = self.places[index], np.arange(len(times))
        # Which seconds of a video the episode is does not matter here: rows find their frames.
        reader = self.item(index).open(self._video.at(self._size))
        try:
            if place.video:
                numbers = self._reader.frames(place, times, reader, name)
            height, width = reader.read(numbers[:1]).shape[-2:]
            check_room(name, len(numbers), height, width, self._video.limits)
            return square(rearrange(reader.read(numbers), "t c h w -> t h w c"), self._size)
        finally:
            reader.close()

    def _bounds(self) -> tuple[tuple[float, ...], tuple[float, ...]]:
        """Of all actions."""
        if self._action is None:
            return (), ()
        found = []
        for path in dict.fromkeys(place.data for place in self.places):
            rows = read_table(path, [self._action]).column(self._action).to_pylist()
            try:
                found.append(bounds(np.array(rows, np.float64)))
            except (ValueError, TypeError) as cause:
                raise EpisodeError(
                    f"{shown(path)}: '{self._action}' is not rows of numbers of one length; choose "
                    f"another with action="
                ) from cause
        found = [pair for pair in found if pair[0]]
        if not found or len({len(low) for low, _ in found}) != 1:
            return (), ()
        low = np.min([low for low, _ in found], axis=0)
        high = np.max([high for _, high in found], axis=0)
        return tuple(low.tolist()), tuple(high.tolist())
