"""Videos of a catalogue, decoded once and kept in memory: the fast way for what fits.

Every video is decoded from beginning to end, in processes that may crash or hang, so each one that
is there is known to be readable. What does not fit is for `loader.py`.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.errors import VideoError
from worldmodel.loading.clip_reader import Opened
from worldmodel.loading.in_memory import BAD, MemoryVideo, Skipped
from worldmodel.loading.stream import Streaming
from worldmodel.loading.workers import WorkerPool
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling
from worldmodel.video.video import Video

LONG = 1000  # videos: a longer list is not looked through before it is streamed
_WEIGHED = 24  # videos whose size tells that of all
_CHUNK = 64 * 2**20  # bytes of frames that are decoded at a time

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Visit:
    """A video to read whole, or to weigh."""

    item: Item
    room: int | None = None  # bytes that its frames may take; None: only say how many they take

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


@dataclass(frozen=True)
class Whole:
    """What a visit found."""

    size: int  # bytes of its frames
    times: np.ndarray  # t, seconds
    frames: np.ndarray | None  # t c h w, uint8; None: weighed only, or more than there is room for


class WholeReader:
    """Reads whole videos.

    Args:
        sampling: A video that is too short for it is a bad one.
        decoding: How videos are opened.
    """

    def __init__(self, sampling: Sampling, decoding: Decoding) -> None:
        self._sampling, self._decoding = sampling, decoding

    def __call__(self, visit: Visit) -> Whole:
        """Read or weigh a video.

        Raises:
            VideoError: it is bad, or shorter than a clip.
        """
        opened = Opened(self._decoding, most=1)
        try:
            video = opened.get(visit.item)
            first, times = video.part(visit.item)
            self._sampling.num_starts(times, name=visit.item.name)
            image = video.source.read(np.array([first]))[0]
            size = image.numel() * len(times)
            fits = visit.room is not None and size <= visit.room
            frames = _read(video.source, first, len(times), image.numel()) if fits else None
            return Whole(size, times, frames)
        finally:
            opened.forget(visit.item)


def _read(source: Video, first: int, count: int, image_bytes: int) -> np.ndarray:
    step = max(1, _CHUNK // image_bytes)
    parts = [
        source.read(np.arange(at, min(at + step, first + count))).numpy()
        for at in range(first, first + count, step)
    ]
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def preload(
    catalogue: Catalogue,
    *,
    sampling: Sampling,
    decoding: Decoding,
    streaming: Streaming,
    room: int | None,
    progress: Progress | None = None,
) -> tuple[list[Video], list[Skipped]] | None:
    """Decode all videos into memory, if they fit.

    Args:
        catalogue: The videos.
        sampling: A video that is too short for it is a bad one.
        decoding: How they are opened.
        streaming: Its `workers` and `on_bad_video`.
        room: Bytes of memory for all frames as uint8; None: as much as they take.
        progress: Called with the number of videos read so far and of all.

    Returns:
        The videos and what was left out; None where they do not fit.

    Raises:
        VideoError: a video is bad and must not be skipped, or all are.
    """
    if room is not None and len(catalogue) > LONG:
        return None
    work = WholeReader(sampling, decoding)
    seconds = decoding.limits.seconds
    with WorkerPool(work, workers=streaming.workers, seconds=seconds) as pool:
        if room is not None and len(catalogue) > _WEIGHED and _weight(catalogue, pool) > room:
            return None
        return _read_all(catalogue, pool, streaming, room=room, progress=progress)


def _weight(catalogue: Catalogue, pool: WorkerPool[Visit, Whole]) -> float:
    """Bytes that all videos will take, from some of them; bad ones count nothing."""
    chosen = np.linspace(0, len(catalogue) - 1, _WEIGHED).round().astype(int)
    sizes = []
    for _, future in pool.each(Visit(catalogue[i]) for i in chosen):
        error = future.exception()
        if error is not None and not isinstance(error, BAD):
            raise error
        sizes.append(0 if error else future.result().size)
    return float(np.mean(sizes)) * len(catalogue)


def _read_all(
    catalogue: Catalogue, pool: WorkerPool[Visit, Whole], streaming: Streaming, *,
    room: int | None, progress: Progress | None,
) -> tuple[list[Video], list[Skipped]] | None:  # fmt: skip
    videos: list[Video] = []
    skipped: list[Skipped] = []
    left = 2**63 if room is None else room
    visits = (Visit(item, left) for item in catalogue)  # what is left when it is handed out
    for number, (visit, future) in enumerate(pool.each(visits, ahead=2 * pool.workers), start=1):
        try:
            whole = future.result()
        except BAD as error:
            if streaming.on_bad_video == "error":
                raise
            skipped.append(Skipped(visit.name, str(error)))
        else:
            left -= whole.size
            if whole.frames is None or left < 0:
                return None
            frames, times = torch.from_numpy(whole.frames), torch.from_numpy(whole.times)
            videos.append(MemoryVideo(visit.name, frames, times))
        if progress:
            progress(number, len(catalogue))
    if not videos:
        raise VideoError(
            f"{catalogue.name}: all {len(catalogue)} videos are bad, nothing is left to read; the "
            f"first: {skipped[0].reason}"
        )
    return videos, skipped
