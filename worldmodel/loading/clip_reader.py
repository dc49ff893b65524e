"""Reads clips from videos that it opens: the work of a decoder process.

Where each clip begins, its crop and its flip come from its own number, so it is the same whichever
process reads it, and when. Knows nothing of processes, and not which videos come next.
"""

from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from worldmodel.datasets.catalogue import Item
from worldmodel.errors import VideoError, WorldModelError
from worldmodel.types import Origin
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling
from worldmodel.video.video import Damaged, Video

_OPEN_FILES = 4  # that one process keeps open


@dataclass(frozen=True)
class ClipRequest:
    """Clips to read from one video.

    Attributes:
        item: The video.
        seed, first: The number of its first clip, in the run with this seed.
        count: How many clips, in the order of their times.
        row: Where in the buffer the first goes.
    """

    item: Item
    seed: int
    first: int
    count: int
    row: int

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


@dataclass(frozen=True)
class ClipResult:
    """Where the clips come from; their frames are in the buffer."""

    times: np.ndarray  # clips t, float64, seconds
    origins: tuple[Origin, ...]


class ClipReader:
    """Reads the clips of a `ClipRequest` into a buffer; keeps the last few videos open.

    Args:
        frames: The buffer, `row t c h w`, uint8; in shared memory where processes share it.
        sampling: Which frames make a clip.
        size: Side of the square crop.
        flip: Mirror half of the clips left to right.
        decoding: How videos are opened.
    """

    def __init__(
        self, frames: Tensor, *, sampling: Sampling, size: int, flip: bool, decoding: Decoding
    ) -> None:
        self._frames, self._sampling, self._size, self._flip = frames, sampling, size, flip
        self._opened = Opened(decoding)

    def __call__(self, request: ClipRequest) -> ClipResult:
        """Read the clips.

        Raises:
            VideoError: the video is bad, or shorter than a clip.
            Damaged: these clips of it cannot be read. Whether others can is not known.
        """
        try:
            return self._read(request)
        except WorldModelError:
            self._opened.forget(request.item)  # its state is not known
            raise

    def close(self) -> None:
        """Close the videos that this process has open."""
        self._opened.close()

    def _read(self, request: ClipRequest) -> ClipResult:
        video = self._opened.get(request.item)
        first, times = video.part(request.item)
        starts = video.starts(request.item, self._sampling)
        numbers = range(request.first, request.first + request.count)
        randoms = [np.random.default_rng((request.seed, number)) for number in numbers]
        # Several clips of one video are spread over it, in order: each has its share.
        shares = [(rank + random.random()) / request.count for rank, random in enumerate(randoms)]
        begins = [starts[min(int(share * len(starts)), len(starts) - 1)] for share in shares]
        indices = np.stack([self._sampling.indices(times, int(begin)) for begin in begins])
        try:
            clips = video.source.read_clips(list(first + indices))
        except VideoError as cause:
            raise Damaged(str(cause)) from cause
        state = randoms[0].bit_generator.state  # one crop for all clips of the video
        for number, clip in enumerate(clips):
            randoms[0].bit_generator.state = state
            self._frames[request.row + number] = self._crop(clip, request.name, randoms[0])
        seen = times[indices]
        origins = (self._sampling.origin(request.name, begin) for begin in seen[:, 0])
        return ClipResult(seen, tuple(origins))

    def _crop(self, frames: Tensor, name: str, random: np.random.Generator) -> Tensor:
        """The same square of all frames, mirrored or not."""
        room = np.array(frames.shape[-2:]) - self._size
        if room.min() < 0:
            raise VideoError(
                f"{name}: its frames of {tuple(frames.shape[-2:])} pixels are smaller than "
                f"size={self._size}; choose a smaller size or leave it out"
            )
        y, x = (random.random(2) * (room + 1)).astype(int)
        image = frames[..., y : y + self._size, x : x + self._size]
        return image.flip(-1) if self._flip and random.random() < 0.5 else image


@dataclass
class OpenVideo:
    """A video with the times of all its frames."""

    source: Video
    times: np.ndarray  # t, seconds
    known: dict[tuple[int, int], np.ndarray] = field(default_factory=dict)  # by part

    def part(self, item: Item) -> tuple[int, np.ndarray]:
        """The number of the item's first frame, and the times of its frames."""
        first, end = item.part(self.times)
        return first, self.times[first:end]

    def starts(self, item: Item, sampling: Sampling) -> np.ndarray:
        """The frames of the item that a clip can begin at."""
        first, end = item.part(self.times)
        if (first, end) not in self.known:
            self.known[first, end] = sampling.starts(self.times[first:end], name=item.name)
        return self.known[first, end]


class Opened:
    """The videos that were used last, still open. Items that open the same share one.

    Args:
        decoding: How videos are opened.
        most: How many are kept.
    """

    def __init__(self, decoding: Decoding, most: int = _OPEN_FILES) -> None:
        self._decoding, self._most = decoding, most
        self._videos: OrderedDict[Hashable, OpenVideo] = OrderedDict()

    def get(self, item: Item) -> OpenVideo:
        """The video of an item.

        Raises:
            VideoError: it cannot be opened, or is empty.
        """
        wanted = item.opens
        if wanted not in self._videos:
            while len(self._videos) >= self._most:
                self._videos.popitem(last=False)[1].source.close()
            source = item.open(self._decoding)
            if source.num_frames < 1:
                raise VideoError(f"{item.name}: has no frames; leave it out")
            self._videos[wanted] = OpenVideo(source, source.times(np.arange(source.num_frames)))
        self._videos.move_to_end(wanted)
        return self._videos[wanted]

    def forget(self, item: Item) -> None:
        """Close the video of an item, if it is open."""
        video = self._videos.pop(item.opens, None)
        if video is not None:
            video.source.close()

    def close(self) -> None:
        """Close all."""
        while self._videos:
            self._videos.popitem()[1].source.close()


def shared_frames(rows: int, num_frames: int, size: int) -> Tensor:
    """A buffer that processes can share: `row t c h w`, uint8."""
    return torch.empty((rows, num_frames, 3, size, size), dtype=torch.uint8).share_memory_()
