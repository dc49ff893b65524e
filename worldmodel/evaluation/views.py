"""Views of a video: several clips, evenly spread over it, and several squares of each frame."""

from dataclasses import dataclass

import numpy as np
import torch
from einops import rearrange

from worldmodel.datasets.catalogue import Item
from worldmodel.errors import ConfigError
from worldmodel.loading.clip_reader import Opened
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling


@dataclass(frozen=True, kw_only=True)
class Views:
    """Which clips and squares of a video are looked at; scores are averaged over them.

    Attributes:
        num_frames: frames of a clip.
        stride: frames from one frame of a clip to the next. Give one of `stride`, `fps` and
            `duration`; 1 by default.
        fps: frames per second of the clips: the nearest in time are taken.
        duration: seconds of a clip, over which its frames are spread evenly.
        clips: of a video, in the middle of as many equal parts of what a clip can begin in.
        crops: squares of a clip, evenly spread along its long side; one is in the middle.
        workers: processes that decode; 0 decodes here, without guard against hangs and crashes.
        on_bad_video: `error` stops at the first bad video, `skip` lists it and goes on.
    """

    num_frames: int = 16
    stride: int | None = None
    fps: float | None = None
    duration: float | None = None
    clips: int = 2
    crops: int = 1
    workers: int = 2
    on_bad_video: str = "error"

    def __post_init__(self) -> None:
        if self.on_bad_video not in ("error", "skip"):
            raise ConfigError(f"views.on_bad_video={self.on_bad_video}: say error or skip")
        if self.clips < 1 or self.crops < 1 or self.workers < 0:
            raise ConfigError(
                "views.clips and views.crops must be at least 1 and views.workers at least 0, got "
                f"{self.clips}, {self.crops} and {self.workers}"
            )
        self.sampling()  # says what is wrong with the others

    def __len__(self) -> int:
        return self.clips * self.crops

    def sampling(self) -> Sampling:
        """Which frames make a clip."""
        return Sampling(self.num_frames, stride=self.stride, fps=self.fps, duration=self.duration)


@dataclass(frozen=True)
class ViewRequest:
    """A video whose views are to be read."""

    item: Item

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


def read_views(views: Views, size: int, decoding: Decoding, request: ViewRequest) -> np.ndarray:
    """The views of a video: k t c h w, uint8, square, all crops of a clip one after another.

    Raises:
        VideoError: it cannot be read, or is shorter than a clip.
    """
    opened, item = Opened(decoding.at(size), most=1), request.item
    try:
        video, sampling = opened.get(item), views.sampling()
        first, times = video.part(item)
        starts = video.starts(item, sampling)
        middles = ((np.arange(views.clips) + 0.5) / views.clips * len(starts)).astype(int)
        numbers = [first + sampling.indices(times, int(starts[i])) for i in middles]
        clips = torch.stack(video.source.read_clips(numbers))
    finally:
        opened.close()
    squares = [clips[..., y : y + size, x : x + size] for y, x in _corners(views, clips, size)]
    return rearrange(torch.stack(squares), "s k t c h w -> (k s) t c h w").contiguous().numpy()


def _corners(views: Views, clips: torch.Tensor, size: int) -> list[tuple[int, int]]:
    """The upper left corners of the squares."""
    room = [side - size for side in clips.shape[-2:]]
    shares = np.linspace(0, 1, views.crops) if views.crops > 1 else [0.5]
    return [tuple(int(share * side) for side in room) for share in shares]  # type: ignore[misc]
