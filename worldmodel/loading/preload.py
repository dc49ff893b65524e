"""Decodes all videos of a catalogue once and keeps them in memory: fastest, where they fit.

Every video is decoded from beginning to end, in processes that may crash or hang, so those that are
kept are known to be readable. What does not fit is streamed (`stream.py`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch

from worldmodel.datasets.catalogue import Catalogue, Item, LeftOut
from worldmodel.errors import VideoError
from worldmodel.loading.clip_reader import Opened
from worldmodel.loading.in_memory import BAD, MemoryVideo
from worldmodel.loading.stream import Streaming
from worldmodel.loading.workers import WorkerPool
from worldmodel.video.decoding import Decoding
from worldmodel.video.reader import require_backend
from worldmodel.video.sampling import Sampling
from worldmodel.video.video import Video

LONG = 1000  # videos: a longer list is not looked through before it is streamed
_SAMPLED = 24  # videos whose sizes tell that of all
_CHUNK = 64 * 2**20  # bytes of frames that are decoded at a time

Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class LoadRequest:
    """A video to read from beginning to end, or to say the size of."""

    item: Item
    room: int | None = None  # bytes that its frames may take; None: only their size is asked for

    @property
    def name(self) -> str:
        """Of the video."""
        return self.item.name


@dataclass(frozen=True)
class LoadResult:
    """A video that was read."""

    size: int  # bytes of its frames
    times: np.ndarray  # t, seconds
    frames: np.ndarray | None  # t c h w, uint8; None: not asked for, or there is no room for them


def load_video(sampling: Sampling, decoding: Decoding, request: LoadRequest) -> LoadResult:
    """Read a video from beginning to end, or say its size.

    Raises:
        VideoError: it is bad, or shorter than a clip.
    """
    opened = Opened(decoding, most=1)
    try:
        video = opened.get(request.item)
        first, times = video.part(request.item)
        video.starts(request.item, sampling)
        image = video.source.read(np.array([first]))[0]
        size = image.numel() * len(times)
        fits = request.room is not None and size <= request.room
        frames = _read(video.source, first, len(times), image.numel()) if fits else None
        return LoadResult(size, times, frames)
    finally:
        opened.close()


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
) -> tuple[list[Video], list[LeftOut]] | None:
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
    require_backend(decoding.backend)  # said here, not by each process
    if room is not None and len(catalogue) > LONG:
        return None
    work = partial(load_video, sampling, decoding)
    seconds = decoding.limits.seconds
    with WorkerPool(work, workers=streaming.workers, seconds=seconds) as pool:
        if room is not None and len(catalogue) > _SAMPLED and _size_of_all(catalogue, pool) > room:
            return None
        return _read_all(catalogue, pool, streaming, room=room, progress=progress)


def _size_of_all(catalogue: Catalogue, pool: WorkerPool[LoadRequest, LoadResult]) -> float:
    """Bytes that all videos will take, from some of them; bad ones count nothing."""
    chosen = np.linspace(0, len(catalogue) - 1, _SAMPLED).round().astype(int)
    sizes = []
    for _, future in pool.each(LoadRequest(catalogue[i]) for i in chosen):
        error = future.exception()
        if error is not None and not isinstance(error, BAD):
            raise error
        sizes.append(0 if error else future.result().size)
    return float(np.mean(sizes)) * len(catalogue)


def _read_all(
    catalogue: Catalogue, pool: WorkerPool[LoadRequest, LoadResult], streaming: Streaming, *,
    room: int | None, progress: Progress | None,
) -> tuple[list[Video], list[LeftOut]] | None:  # fmt: skip
    videos: list[Video] = []
    skipped: list[LeftOut] = []
    left = 2**63 if room is None else room
    # Each with the room that is left when it is handed out.
    requests = (LoadRequest(item, left) for item in catalogue)
    done = pool.each(requests, ahead=2 * pool.workers)
    for number, (request, future) in enumerate(done, start=1):
        try:
            result = future.result()
        except BAD as error:
            if streaming.on_bad_video == "error":
                raise
            skipped.append(LeftOut(request.name, str(error)))
        else:
            left -= result.size
            if result.frames is None or left < 0:
                return None
            frames, times = torch.from_numpy(result.frames), torch.from_numpy(result.times)
            videos.append(MemoryVideo(request.name, frames, times))
        if progress:
            progress(number, len(catalogue))
    if not videos:
        raise VideoError(
            f"{catalogue.name}: all {len(catalogue)} videos are bad, nothing is left to read; the "
            f"first: {skipped[0].reason}"
        )
    return videos, skipped
