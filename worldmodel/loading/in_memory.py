"""Batches of clips, and those of videos whose frames are in memory, such as episodes.

Knows `Video`, not where its frames come from.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from worldmodel.datasets.catalogue import LeftOut
from worldmodel.episodes.windows import EpisodeArrays
from worldmodel.errors import ConfigError, EpisodeError, VideoError
from worldmodel.loading.sampler import Sampler
from worldmodel.types import Clip, Origin
from worldmodel.video.sampling import Sampling
from worldmodel.video.video import Video

BAD = (VideoError, EpisodeError)  # errors that say that a video, or an episode as one, is bad


class Clips(ABC):
    """Batches of clips, each a function of `(seed, step)` alone: nothing to save or resume.

    Attributes:
        num_videos: How many videos there are, with those that turn out to be bad later on.
        skipped: Those that were left out so far.
        clips_per_video: How many clips of a batch are of the same video, one after the other.
    """

    num_videos: int
    skipped: list[LeftOut]
    clips_per_video: int

    @abstractmethod
    def sample_uint8(
        self, step: int, batch: int, *, seed: int
    ) -> tuple[Tensor, Tensor, tuple[Origin, ...]]:
        """`batch` clips, each `clips_per_video` in a row of one video.

        Returns:
            frames b t c h w uint8, times b t in seconds, and where each clip was cut from.

        Raises:
            ConfigError: they do not divide into videos.
            VideoError: a video is bad and must not be skipped, or too many are.
        """

    def sample(self, step: int, batch: int, *, seed: int) -> Clip:
        """The same as one value, float32 in [0, 1]."""
        frames, times, origins = self.sample_uint8(step, batch, seed=seed)
        names = tuple(origin.name for origin in origins)
        return Clip.from_uint8(frames, times, sources=names, origins=origins)

    def check_batch(self, batch: int) -> None:
        """Refuse a batch that does not divide into videos."""
        if batch % self.clips_per_video:
            raise ConfigError(
                f"batch={batch} is no multiple of clips_per_video={self.clips_per_video}; change "
                "one of them"
            )

    def close(self) -> None:  # noqa: B027  # what is in memory has nothing to close
        """Let go of files and processes."""


class MemoryVideo(Video):
    """A video whose frames are in memory; several may be views of one tensor.

    Args:
        name: Where the frames came from.
        frames: `t c h w`, uint8.
        times: `t`, seconds, increasing.
    """

    def __init__(self, name: str, frames: Tensor, times: Tensor) -> None:
        assert frames.dtype == torch.uint8 and len(frames) == len(times)
        self.name = name
        self.num_frames = len(frames)
        self._frames = frames
        self._times = times.to(torch.float64).numpy()

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these numbers."""
        # A constant step is a view, which the caller's copy then reads straight from.
        steps = np.diff(indices)
        if len(indices) > 1 and steps[0] > 0 and (steps == steps[0]).all():
            return self._frames[indices[0] : indices[-1] + 1 : steps[0]]
        return self._frames[torch.from_numpy(indices)]

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame at these numbers."""
        return self._times[indices]


def episode_videos(arrays: EpisodeArrays) -> list[Video]:
    """Each episode as a video, actions ignored; shares the memory of `arrays`."""
    names = arrays.sources or tuple(f"episode {i}" for i in range(len(arrays)))
    return [
        MemoryVideo(name or f"episode {i}", arrays.frames[place], arrays.times[place])
        for i, (name, place) in enumerate(zip(names, arrays.slices, strict=True))
    ]


class ClipDataset(Clips):
    """Clips of videos whose frames are in memory.

    Every video is equally likely, whatever its length, and every start in it; with `epochs` each
    comes once before any comes again. The square crop and the flip are the same for all clips of a
    video in a batch.

    Args:
        sources: The videos; those shorter than a clip are refused.
        num_frames: Frames of a clip.
        stride: Frames from one frame of a clip to the next. Give `stride` or `fps`.
        fps: Frames per second of the clips: the nearest in time are taken.
        size: Side of the square crop; by default the short side of the smallest video.
        flip: Mirror half of the clips left to right.
        rest_fraction: Share of the clips that begin with the video's first frame shown twice, as
            an agent sees a world that has just been reset.
        epochs: Go through the videos in epochs, shuffled anew each time; otherwise the video of
            each clip is drawn by itself.
        skipped: What was left out of `sources`, to be told.
        clips_per_video: Clips of each video in a batch.
        rank, world: Which of how many processes this is: each takes its part of a batch that is
            drawn for all.
    """

    def __init__(
        self,
        sources: Sequence[Video],
        *,
        num_frames: int,
        stride: int | None = None,
        fps: float | None = None,
        size: int | None = None,
        flip: bool = False,
        rest_fraction: float = 0.0,
        epochs: bool = False,
        skipped: Sequence[LeftOut] = (),
        clips_per_video: int = 1,
        rank: int = 0,
        world: int = 1,
    ) -> None:
        if len(sources) == 0:
            raise VideoError("no videos to draw clips from; check the folder or the manifest")
        self.sampling = Sampling(num_frames, stride=stride, fps=fps)
        self.sources = list(sources)
        self.num_videos = len(self.sources)
        self.skipped = list(skipped)
        self.flip = flip
        self.rest_fraction = rest_fraction
        self.epochs = epochs
        self.clips_per_video = clips_per_video
        self.rank, self.world = rank, world
        self._times = [s.times(np.arange(s.num_frames)) for s in self.sources]
        named = zip(self.sources, self._times, strict=True)
        self._starts = [self.sampling.starts(times, name=s.name) for s, times in named]
        self._sizes = np.array([s.read(np.array([0])).shape[-2:] for s in self.sources])
        self.size = int(self._sizes.min()) if size is None else size
        if self.size > self._sizes.min():
            name = self.sources[int(self._sizes.min(axis=1).argmin())].name
            raise ConfigError(
                f"size={self.size} is larger than the frames of {name}; choose a smaller size"
            )

    def _videos(self, step: int, count: int, seed: int, random: np.random.Generator) -> np.ndarray:
        """Which videos a step is of, over all ranks."""
        if not self.epochs:
            return random.integers(len(self.sources), size=count)
        order = Sampler([len(self.sources)], seed=seed)
        return np.array([order[index][1] for index in range(step * count, (step + 1) * count)])

    def sample_uint8(
        self, step: int, batch: int, *, seed: int
    ) -> tuple[Tensor, Tensor, tuple[Origin, ...]]:
        """`batch` clips: frames b t c h w uint8, times b t in seconds, origins."""
        self.check_batch(batch)
        random, k = np.random.default_rng((seed, step)), self.clips_per_video
        drawn = self._videos(step, batch * self.world // k, seed, random)
        videos = drawn.repeat(k)
        starts = random.integers([len(self._starts[video]) for video in videos])
        corners = random.integers(self._sizes[drawn] - self.size + 1).repeat(k, axis=0)
        flips = self.flip & (random.random(len(drawn)) < 0.5).repeat(k)
        rests = random.random(len(videos)) < self.rest_fraction
        # With `fps` the clip that begins with a video's first frame may show one twice.
        rests &= np.array([self._starts[video][0] == 0 for video in videos])
        rests &= self.sampling.num_frames > 1  # an image has no frame to hold
        mine = slice(self.rank * batch, (self.rank + 1) * batch)
        videos, starts, corners = videos[mine], starts[mine], corners[mine]
        flips, rests = flips[mine], rests[mine]
        frames = torch.empty(
            (batch, self.sampling.num_frames, 3, self.size, self.size), dtype=torch.uint8
        )
        times = torch.empty((batch, self.sampling.num_frames), dtype=torch.float64)
        origins = []
        for b, video in enumerate(videos):
            begin = 0 if rests[b] else int(self._starts[video][starts[b]])
            indices = self.sampling.indices(self._times[video], begin)
            seen = self._times[video][indices]
            origins.append(self.sampling.origin(self.sources[video].name, seen[0]))
            if rests[b]:
                indices = np.concatenate([indices[:1], indices[:-1]])
                seen = np.concatenate([2 * seen[:1] - seen[1:2], seen[:-1]])
            y, x = corners[b]
            image = self.sources[video].read(indices)[..., y : y + self.size, x : x + self.size]
            frames[b] = image.flip(-1) if flips[b] else image
            times[b] = torch.from_numpy(seen)
        return frames, times, tuple(origins)
