"""Looking at one video of a catalogue: what it is, whether all of it can be read, a clip of it.

What the verb `data` does in decoder processes. Knows nothing of tables and images.
"""

from dataclasses import dataclass, replace

import numpy as np

from worldmodel.datasets.catalogue import Item
from worldmodel.episodes.folder import read_episode
from worldmodel.loading.clip_reader import ClipReader, ClipRequest, ClipResult, Opened
from worldmodel.video.decoding import Decoding
from worldmodel.video.open import VideoReader
from worldmodel.video.video import Video

WITH_ACTIONS = "with actions"
_CHUNK = 32 * 2**20  # bytes of frames that are decoded at a time


@dataclass(frozen=True)
class Finding:
    """What was found about one video."""

    path: str
    codec: str = ""  # of our episodes: "episode"; ends with "with actions" where it has them
    width: int = 0  # pixels
    height: int = 0
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""  # one line; empty where all is well


@dataclass(frozen=True)
class Look:
    """A video to look at; `whole` reads all of it."""

    item: Item
    whole: bool

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


class Looker:
    """Looks at videos, and takes clips of them as a training does.

    Args:
        decoding: How videos are opened; they are looked at in their own size.
        clips: Takes the clips.
    """

    def __init__(self, decoding: Decoding, clips: ClipReader) -> None:
        self._decoding, self._clips = replace(decoding, short_side=None), clips

    def __call__(self, task: Look | ClipRequest) -> Finding | ClipResult:
        """Do one or the other.

        Raises:
            WorldModelError: what is wrong with the video.
        """
        return self._look(task) if isinstance(task, Look) else self._clips(task)

    def _look(self, task: Look) -> Finding:
        if task.item.key.endswith(".safetensors"):
            return _look_at_episode(task.item)
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
            if task.whole:
                _read_all(video.source, first, len(times), width * height * 3)
            return Finding(task.name, codec, width, height, len(times), seconds)
        finally:
            opened.forget(task.item)


def _seconds(times: np.ndarray) -> float:
    """How long frames at these times are shown; the last one as long as the others on average."""
    span = float(times[-1] - times[0])
    return span * len(times) / (len(times) - 1) if len(times) > 1 else 0.0


def _read_all(source: Video, first: int, count: int, image_bytes: int) -> None:
    step = max(1, _CHUNK // image_bytes)
    for at in range(first, first + count, step):
        source.read(np.arange(at, min(at + step, first + count)))


def _look_at_episode(item: Item) -> Finding:
    episode = read_episode(item.key)
    height, width = episode.frames.shape[1:3]
    seconds = float(episode.times[-1] - episode.times[0])
    kind = "episode" if episode.actions is None else f"episode {WITH_ACTIONS}"
    return Finding(item.name, kind, width, height, len(episode), seconds)
