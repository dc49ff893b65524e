"""The sources of clips that a configuration can name: videos, mixtures of data sets, or episodes.

Decides what is kept in memory (`preload.py`) and what is streamed (`stream.py`).
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.datasets.catalogue import Catalogue, LeftOut
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError
from worldmodel.loading.in_memory import ClipDataset, Clips, episode_videos
from worldmodel.loading.preload import Progress, preload
from worldmodel.loading.stream import ClipStream, Streaming
from worldmodel.runs.processes import rank, world
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling

Tell = Callable[[LeftOut], None]
AS_IT_IS = Decoding()


class ClipSource(ABC):
    """Where clips for training come from; of several processes, each reads its share of a batch.

    Attributes:
        clips_per_video: clips of each video in a batch.
    """

    clips_per_video: int

    @abstractmethod
    def open(
        self, *, size: int, num_frames: int, progress: Progress, video: Decoding = AS_IT_IS,
        on_skip: Tell | None = None,
    ) -> Clips:  # fmt: skip
        """Read what there is, or make ready to.

        Args:
            size: side of the square frames in pixels.
            num_frames: frames of a clip.
            progress: called with the number of videos read so far and of all.
            video: how files are decoded.
            on_skip: called with each video that is left out after this has returned; those that
                were left out before are in `Clips.skipped`.
        """


@dataclass(frozen=True, kw_only=True)
class VideoSource(Streaming, ClipSource):
    """Clips from videos: what `VideoFiles` and `VideoMixture` share.

    Attributes:
        stride: frames from one frame of a clip to the next. Give one of `stride`, `fps` and
            `duration`; 1 by default.
        fps: frames per second of the clips: the nearest in time are taken.
        duration: seconds of a clip, over which its frames are spread evenly.
        flip: mirror half of the clips left to right.
    """

    stride: int | None = None
    fps: float | None = None
    duration: float | None = None
    flip: bool = True
    clips_per_video: int = 4

    def sampling(self, num_frames: int) -> Sampling:
        """Which frames make a clip."""
        return Sampling(num_frames, stride=self.stride, fps=self.fps, duration=self.duration)

    def clips(
        self, catalogues: Sequence[Catalogue], weights: Sequence[float] | None, *, size: int,
        num_frames: int, video: Decoding, on_skip: Tell | None,
    ) -> ClipStream:  # fmt: skip
        """A stream of clips from data sets; in a distributed training each rank takes its share."""
        return ClipStream(
            catalogues, weights=weights, sampling=self.sampling(num_frames), size=size,
            flip=self.flip, decoding=video.at(size), streaming=self, rank=rank(), world=world(),
            on_skip=on_skip,
        )  # fmt: skip


@dataclass(frozen=True)
class VideoFiles(VideoSource):
    """Videos of a folder, a manifest, shards, ...: whatever `open_catalogue` knows.

    Attributes:
        path: where they are.
        format: their layout; `auto` looks.
        reading: options of the format, for example `{camera: top}`.
        cache_mib: what fits into this, at the training's resolution, is decoded once and kept in
            memory; what does not is streamed.
        preload: True keeps all in memory however much it is, False streams.
    """

    path: str | None
    format: str = "auto"
    reading: Mapping[str, Any] | None = None
    cache_mib: float = 2048
    preload: bool | None = None

    def open(
        self, *, size: int, num_frames: int, progress: Progress, video: Decoding = AS_IT_IS,
        on_skip: Tell | None = None,
    ) -> Clips:  # fmt: skip
        """Decode the videos once at the training's resolution, or stream them."""
        if self.path is None:
            raise ConfigError("data.path is not set: name a folder of videos, data.path=my/videos")
        catalogue = open_catalogue(self.path, format=self.format, **(self.reading or {})).training
        sampling = self.sampling(num_frames)
        if self.preload is not False:
            kept = preload(
                catalogue, sampling=sampling, decoding=video.at(size), streaming=self,
                room=None if self.preload else int(self.cache_mib * 2**20), progress=progress,
            )  # fmt: skip
            if kept is not None:
                videos, skipped = kept
                return ClipDataset(
                    videos, num_frames=num_frames, stride=None if sampling.fps else sampling.stride,
                    fps=sampling.fps, size=size, flip=self.flip, epochs=True,
                    skipped=[*catalogue.left_out, *skipped],
                    clips_per_video=self.clips_per_video, rank=rank(), world=world(),
                )  # fmt: skip
        progress(len(catalogue), len(catalogue))
        return self.clips(
            [catalogue], None, size=size, num_frames=num_frames, video=video, on_skip=on_skip
        )


@dataclass(frozen=True)
class MixturePart:
    """A data set in a mixture.

    Attributes:
        path: where it is.
        weight: its share of the clips, in any unit.
        format: its layout; `auto` looks.
        reading: options of the format.
    """

    path: str
    weight: float = 1.0
    format: str = "auto"
    reading: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class VideoMixture(VideoSource):
    """Several data sets of videos, each with its share of the clips; always streamed.

    Attributes:
        sources: `MixturePart`s, or mappings with their fields.
    """

    sources: Sequence[MixturePart | dict]

    def open(
        self, *, size: int, num_frames: int, progress: Progress, video: Decoding = AS_IT_IS,
        on_skip: Tell | None = None,
    ) -> Clips:  # fmt: skip
        """List the data sets; videos are opened when they are drawn."""
        if not self.sources:
            raise ConfigError(
                "data.sources names no data set: data.sources=[{path: my/videos, weight: 1}, ...]"
            )
        parts = [_part(source) for source in self.sources]
        catalogues = []
        for number, part in enumerate(parts, start=1):
            options = part.reading or {}
            catalogues.append(open_catalogue(part.path, format=part.format, **options).training)
            progress(number, len(parts))
        weights = [part.weight for part in parts]
        return self.clips(
            catalogues, weights, size=size, num_frames=num_frames, video=video, on_skip=on_skip
        )


def _part(given: Any) -> MixturePart:
    """A part as a configuration has it.

    Raises:
        ConfigError: it has other fields, or lacks its path.
    """
    try:
        part = given if isinstance(given, MixturePart) else MixturePart(**given)
    except TypeError:
        part = None
    if not (part and isinstance(part.path, str) and isinstance(part.weight, int | float)):
        raise ConfigError(
            f"each of data.sources is {{path: ..., weight: 1, format: auto, reading: {{}}}}; got "
            f"{given}"
        )
    return part


@dataclass(frozen=True)
class EpisodeVideos(ClipSource):
    """All episodes of a data set as videos: their actions, where they have some, are not used.

    Attributes:
        path: of any format that holds actions.
        stride: frames from one frame of a clip to the next.
        rest_fraction: share of the clips that begin at rest; see `ClipDataset`.
        clips_per_video: clips of each episode in a batch.
        format: their layout; `auto` looks.
        reading: options of the format, for example `{camera: top}`.
    """

    path: str | None
    stride: int = 1
    rest_fraction: float = 0.1
    clips_per_video: int = 4
    format: str = "auto"
    reading: Mapping[str, Any] | None = None

    def open(
        self, *, size: int, num_frames: int, progress: Progress, video: Decoding = AS_IT_IS,
        on_skip: Tell | None = None,
    ) -> Clips:  # fmt: skip
        """Read the episodes into memory."""
        if self.path is None:
            raise ConfigError("data.path is not set: name a folder of episodes, data.path=runs/...")
        options = {"fit": size} | dict(self.reading or {})
        episodes = open_episodes(self.path, format=self.format, **options).training
        sources = episode_videos(load_arrays(episodes))
        progress(len(episodes), len(episodes))
        return ClipDataset(
            sources, num_frames=num_frames, stride=self.stride, size=size,
            rest_fraction=self.rest_fraction, clips_per_video=self.clips_per_video, rank=rank(),
            world=world(),
        )  # fmt: skip
