"""What a training on video reads, named in a configuration: video files, or episodes as videos."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from worldmodel.data.clips import ClipDataset, episode_videos
from worldmodel.data.episodes import Episodes
from worldmodel.data.folder import Skipped, VideoFolder
from worldmodel.data.segments import load_arrays
from worldmodel.errors import ConfigError

Progress = Callable[[int, int], None]


class Footage(ABC):
    """Where clips for training come from."""

    @abstractmethod
    def open(
        self, *, size: int, num_frames: int, progress: Progress
    ) -> tuple[ClipDataset, list[Skipped]]:
        """Read what there is; returns the clips and what was left out.

        Args:
            size: side of the square frames in pixels.
            num_frames: frames of a clip.
            progress: called with the number of videos read so far and of all.
        """


@dataclass(frozen=True)
class VideoFiles(Footage):
    """Videos of a folder, a manifest or one file; see `VideoFolder`."""

    path: str | None
    stride: int | None = None
    fps: float | None = None
    flip: bool = True
    on_bad_video: str = "error"
    cache_mib: float = 2048

    def open(
        self, *, size: int, num_frames: int, progress: Progress
    ) -> tuple[ClipDataset, list[Skipped]]:
        """Decode the videos once at the training's resolution."""
        if self.path is None:
            raise ConfigError("data.path is not set: name a folder of videos, data.path=my/videos")
        folder = VideoFolder(
            self.path, size=size, num_frames=num_frames, stride=self.stride,
            fps=self.fps, on_bad_video=self.on_bad_video,
            cache_mib=self.cache_mib, progress=progress,
        )  # fmt: skip
        return folder.clips(flip=self.flip), folder.skipped


@dataclass(frozen=True)
class EpisodeVideos(Footage):
    """All episodes of a folder as videos: their actions, where they have some, are not used."""

    path: str | None
    stride: int = 1
    rest_fraction: float = 0.1

    def open(
        self, *, size: int, num_frames: int, progress: Progress
    ) -> tuple[ClipDataset, list[Skipped]]:
        """Read the episodes into memory."""
        if self.path is None:
            raise ConfigError("data.path is not set: name a folder of episodes, data.path=runs/...")
        episodes = Episodes(self.path)
        sources = episode_videos(load_arrays(episodes))
        progress(len(episodes), len(episodes))
        clips = ClipDataset(
            sources, num_frames=num_frames, stride=self.stride, size=size,
            rest_fraction=self.rest_fraction,
        )  # fmt: skip
        return clips, []
