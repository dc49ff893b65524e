"""Summarise one video of a catalogue, decode all of it, or take a clip of it.

`data inspect` and `data check` do this in decoder processes. Knows nothing of tables and images.
"""

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.datasets.catalogue import Item
from worldmodel.episodes.episode import read_episode
from worldmodel.loading.clip_reader import ClipReader, ClipRequest, ClipResult, Opened
from worldmodel.video.clip import VideoReader
from worldmodel.video.decoding import Decoding

WITH_ACTIONS = "with actions"
_CHUNK = 32 * 2**20  # bytes of frames that are decoded at a time


@dataclass(frozen=True)
class VideoSummary:
    """One video: its format and size, and what is wrong with it."""

    path: str
    codec: str = ""  # of our episodes: "episode"; ends with "with actions" where it has them
    width: int = 0  # pixels
    height: int = 0
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""  # one line; empty where there is none


@dataclass(frozen=True)
class SummaryRequest:
    """A video to summarise; `decode_all` reads every frame of it."""

    item: Item
    decode_all: bool

    @property
    def name(self) -> str:
        """The video's name."""
        return self.item.name


class VideoChecker:
    """Summarises videos, and takes clips of them as a training does.

    Args:
        decoding: How videos are opened; they are summarised in their own size.
        clips: Takes the clips, where any are asked for.
    """

    def __init__(self, decoding: Decoding, clips: ClipReader | None = None) -> None:
        self._decoding, self._clips = replace(decoding, short_side=None), clips

    def __call__(self, task: SummaryRequest | ClipRequest) -> VideoSummary | ClipResult:
        """Answer one request.

        Raises:
            WorldModelError: what is wrong with the video.
        """
        if isinstance(task, SummaryRequest):
            return self._summary(task)
        assert self._clips is not None
        return self._clips(task)

    def _summary(self, task: SummaryRequest) -> VideoSummary:
        if task.item.key.endswith(".safetensors"):
            return _episode_summary(task.item)
        opened = Opened(self._decoding, most=1)
        try:
            video = opened.get(task.item)
            first, times = video.part(task.item)
            if isinstance(video.source, VideoReader):
                info = video.source.info
                codec, width, height, seconds = info.codec, info.width, info.height, info.duration
            else:
                height, width = video.source.read(np.array([first])).shape[-2:]
                codec, seconds = "frames", _seconds(video.times)
            if task.item.window is not None:
                seconds = _seconds(times)
            if task.item.check_rows(video.source):
                codec = f"{codec} {WITH_ACTIONS}"
            if task.decode_all:
                step = max(1, _CHUNK // (width * height * 3))
                end = first + len(times)
                for at in range(first, end, step):
                    video.source.read(np.arange(at, min(at + step, end)))
            return VideoSummary(task.name, codec, width, height, len(times), seconds)
        finally:
            opened.forget(task.item)


def _seconds(times: np.ndarray) -> float:
    """How long frames at these times are shown; the last one as long as the others on average."""
    span = float(times[-1] - times[0])
    return span * len(times) / (len(times) - 1) if len(times) > 1 else 0.0


def _episode_summary(item: Item) -> VideoSummary:
    episode = read_episode(item.key)
    height, width = episode.frames.shape[1:3]
    seconds = float(episode.times[-1] - episode.times[0])
    kind = "episode" if episode.actions is None else f"episode {WITH_ACTIONS}"
    return VideoSummary(item.name, kind, width, height, len(episode), seconds)
