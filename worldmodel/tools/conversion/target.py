"""A conversion, and the role of its targets: the formats that are written. Knows no target."""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from einops import rearrange

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.episode_source import check_positive, square
from worldmodel.episodes.episode import Episode
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import ConfigError
from worldmodel.tools.conversion.encode_video import places
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import nearest_frames


@dataclass(frozen=True)
class Writing:
    """Size, rate and quality of what is written.

    Attributes:
        size: Frames are resized and cut to their middle square of this side; as they are if None.
            Videos are then encoded again.
        fps: Frames per second of `episodes` and `lerobot`; the source's if None.
        quality: Of H.264 where videos must be encoded: its constant rate factor, smaller is
            better; 18 is hard to tell from the original.
        per_shard: Videos in each shard.
    """

    size: int | None = None
    fps: float | None = None
    quality: int = 18
    per_shard: int = 1000

    def __post_init__(self) -> None:
        """Check the values."""
        for name in ("size", "fps", "per_shard"):
            check_positive(name, getattr(self, name))
        if not 0 <= self.quality <= 51:
            raise ConfigError(f"quality must lie between 0 and 51, got {self.quality}")


@dataclass(frozen=True)
class Conversion:
    """The videos or episodes to write, where to, and how.

    Attributes:
        catalogue: The videos.
        store: The same as episodes, where they have actions.
        folder: Where to.
        writing: Size, rate and quality.
        video: How files are decoded.
    """

    catalogue: Catalogue
    store: EpisodeStore | None
    folder: Path
    writing: Writing = field(default_factory=Writing)
    video: Decoding = field(default_factory=Decoding)

    def copies(self) -> bool:
        """True if files may be copied as they are: a copy has every size and stream of its file."""
        return self.writing.size is None and self.video.stream is None

    def decoding(self) -> Decoding:
        """How videos are opened."""
        return self.video.at(self.writing.size)

    def rate(self) -> float:
        """Frames per second of the episodes: as asked, as the source says, or its first video's."""
        if self.writing.fps is not None:
            return self.writing.fps
        if self.store is not None:
            return self.store.info.fps
        source = self.catalogue[0].open(self.decoding())
        try:
            times = source.times(np.arange(source.num_frames))
            return round(float((len(times) - 1) / times[-1]), 3) if len(times) > 1 else 10.0
        finally:
            source.close()

    def episode(self, index: int, fps: float) -> Episode:
        """Item `index` as an episode, without actions where the source has none."""
        if self.store is not None:
            episode = self.store[index]
            frames = square(episode.frames, self.writing.size)
            return Episode(frames, episode.times, episode.actions,
                           {k: v for k, v in episode.info.items() if not k.endswith("_image")},
                           episode.metadata, episode.source)  # fmt: skip
        item = self.catalogue[index]
        source = item.open(self.decoding())
        try:
            own = places(item, source)
            since = source.times(own)
            since = since - since[0]
            times = np.arange(int(np.floor(since[-1] * fps + 0.5)) + 1) / fps
            numbers = own[nearest_frames(since, times)]
            frames = rearrange(source.read(numbers), "t c h w -> t h w c").contiguous()
        finally:
            source.close()
        label = "" if item.label is None else str(item.label)
        if label and self.catalogue.classes:
            label = self.catalogue.classes[int(label)]
        return Episode(square(frames, self.writing.size), torch.from_numpy(times), None, {},
                       {"task": label, "origin": item.name}, item.name)  # fmt: skip


class Target(ABC):
    """Writes a conversion in one format.

    Attributes:
        written: Items written by this run; what was there already is not counted.
        copied: Those of them that were copied byte for byte.
    """

    def __init__(self, plan: Conversion) -> None:
        self.plan = plan
        self.written = 0
        self.copied = 0

    @abstractmethod
    def write(self) -> Iterator[int]:
        """Write what is missing, file by file; yields how many items each file is."""

    @abstractmethod
    def finish(self) -> None:
        """Write what says that the data set is complete."""
