"""Our own episodes, as `worldmodel collect` writes them, as videos."""

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import FileCatalogue
from worldmodel.episodes.episode import read_episode
from worldmodel.episodes.folder import EPISODE_FILE, Episodes
from worldmodel.errors import EpisodeError
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

# Below the folder itself, or below the run that collected the episodes.
_INDICES = (("episodes.json",), ("episodes", "episodes.json"))


@dataclass(frozen=True)
class OurEpisodes(Format):
    """A folder of episodes, the run that collected them, or one episode file."""

    name: ClassVar[str] = "episodes"
    rank: ClassVar[int] = 10
    looks: ClassVar[str] = "a folder with episodes.json, or a .safetensors file"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the names in it."""
        if not os.path.isdir(path):
            return path.endswith(".safetensors")
        if any(os.path.isfile(os.path.join(path, *at)) for at in _INDICES):
            return True
        # One whose collection was interrupted is one too: what to do about it is said on opening.
        names: list[str] = []
        for folder in (path, os.path.join(path, "episodes")):
            with suppress(OSError):
                names += os.listdir(folder)
        return any(EPISODE_FILE.fullmatch(name) for name in names)

    def open(self, path: str) -> Catalogue:
        """The episodes as videos, actions ignored."""
        if not os.path.isdir(path):
            return FileCatalogue(path, [path], make=EpisodeVideo)
        return EpisodeCatalogue(path, Episodes(path))

    def episodes(self, path: str, video: Decoding | None = None) -> Episodes:
        """The episodes themselves."""
        if os.path.isfile(path):
            raise EpisodeError(f"{path}: is one episode; name the folder that it is in")
        return Episodes(Path(path))


class EpisodeCatalogue(FileCatalogue):
    """The episodes of a folder as videos."""

    def __init__(self, name: str, episodes: Episodes) -> None:
        self._episodes = episodes
        super().__init__(name, [os.fspath(file) for file in episodes.paths], make=EpisodeVideo)

    @property
    def training(self) -> "EpisodeCatalogue":
        """Those that are not held out."""
        return EpisodeCatalogue(self.name, self._episodes.training)


@dataclass(frozen=True)
class EpisodeVideo(Item):
    """An episode file as a video."""

    name: str
    key: str
    label: int | None = None

    def open(self, decoding: Decoding) -> Video:
        """Read it into memory."""
        episode = read_episode(self.key)
        frames = episode.frames.numpy()
        times = (episode.times - episode.times[0]).numpy()
        return ArrayVideo(
            self.name, lambda numbers: frames[numbers], frames.shape[:3], times, decoding
        )
