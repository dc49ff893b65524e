"""Every window of every video of a catalogue, in order, in batches; processes decode them ahead.

A batch is the same for any number of processes, and wherever the stream was begun: batches are
counted from the place that it begins at. Knows catalogues, not formats, and no models.
"""

from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import dataclass, field
from itertools import groupby
from typing import NamedTuple, get_args

import numpy as np
from torch import Tensor

from worldmodel.datasets.catalogue import Catalogue, Item, LeftOut
from worldmodel.errors import ConfigError, VideoError, WorldModelError, nearest
from worldmodel.loading.clip_reader import shared_frames
from worldmodel.loading.stream import ON_BAD_VIDEO
from worldmodel.loading.window_reader import (
    Fit,
    Survey,
    WindowReader,
    WindowRequest,
    WindowResult,
    WindowRule,
    Windows,
    unreadable,
)
from worldmodel.loading.workers import WorkerPool
from worldmodel.video.decoding import Decoding
from worldmodel.video.reader import require_backend

Pool = WorkerPool[Survey | WindowRequest, Windows | WindowResult]


@dataclass(frozen=True)
class WindowLoading:
    """How windows are loaded.

    Attributes:
        fit: of frames that are not square, `crop` takes the square in the middle, `stretch` makes
            them square.
        batch: windows that are encoded together.
        workers: processes that decode; 0 decodes here, without guard against hangs and crashes.
        on_bad_video: `error` stops at the first window that cannot be read; `skip` lists it and
            goes on.

    Raises:
        ConfigError: one of them is no such thing.
    """

    fit: Fit = "crop"
    batch: int = 8
    workers: int = 2
    on_bad_video: str = "error"

    def __post_init__(self) -> None:
        for name, value, known in (
            ("fit", self.fit, get_args(Fit)), ("on_bad_video", self.on_bad_video, ON_BAD_VIDEO),
        ):  # fmt: skip
            if value not in known:
                raise ConfigError(f"no {name} '{value}': {nearest(str(value), known)}")
        if self.batch < 1 or self.workers < 0:
            raise ConfigError(
                f"batch must be at least 1 and workers at least 0, got {self.batch} and "
                f"{self.workers}"
            )


class Place(NamedTuple):
    """Where the next window is: the number of its video in the catalogue, and its own in that."""

    video: int = 0
    window: int = 0


START = Place()


@dataclass(frozen=True)
class WindowRow:
    """A window of a video.

    Attributes:
        item: the video.
        window: its number in it.
        first: its first frame, counted among those that count.
        times: of its frames, `length`, seconds; a held frame bears its own time again.
        frames: how many of them are not held.
        cropped: parts of its frames were cut off, as they were not square.
    """

    item: Item
    window: int
    first: int
    times: np.ndarray
    frames: int
    cropped: bool


@dataclass(frozen=True)
class WindowBatch:
    """Windows that follow each other.

    Attributes:
        frames: b t c h w, uint8; good until the next batch is asked for.
        rows: b of them.
        left_out: what could not be read since the batch before.
        next: where the next batch begins.
    """

    frames: Tensor
    rows: list[WindowRow]
    left_out: list[LeftOut]
    next: Place


@dataclass
class _Planned:
    """A window that is still to be read."""

    video: int
    window: int
    item: Item
    windows: Windows


@dataclass
class _Begun:
    """A batch that is being read."""

    base: int  # row of the buffer
    planned: list[_Planned] = field(default_factory=list)
    left_out: list[LeftOut] = field(default_factory=list)
    parts: "list[tuple[list[_Planned], Future]]" = field(default_factory=list)


class EveryWindow:
    """Every window of every video.

    Args:
        catalogue: the videos.
        rule: where windows are.
        size: side of the square frames, in pixels.
        loading: see there.
        decoding: how videos are decoded.
    """

    def __init__(
        self, catalogue: Catalogue, *, rule: WindowRule, size: int, loading: WindowLoading,
        decoding: Decoding,
    ) -> None:  # fmt: skip
        require_backend(decoding.backend)  # said here, not by each process
        self._catalogue, self._rule, self._size = catalogue, rule, size
        self._loading, self._decoding = loading, decoding
        # Each process can have a batch, and one more is being encoded.
        self._slots = loading.workers + 1

    def batches(self, begin: Place = START) -> Iterator[WindowBatch]:
        """The batches from a place on.

        Raises:
            VideoError: a video cannot be read and must not be skipped.
        """
        batch, workers = self._loading.batch, self._loading.workers
        frames = _buffer(self._slots * batch, self._rule.length, self._size)
        reader = WindowReader(
            frames, rule=self._rule, fit=self._loading.fit, decoding=self._decoding
        )
        seconds = self._decoding.limits.seconds
        with Pool(reader, workers=workers, seconds=seconds) as pool, closing(reader):
            waiting: deque[_Begun] = deque()
            last = begin
            for begun in self._begin(pool, begin):
                waiting.append(begun)
                if len(waiting) == self._slots:
                    yield (done := self._finish(waiting.popleft(), frames, last))
                    last = done.next
            while waiting:
                yield (done := self._finish(waiting.popleft(), frames, last))
                last = done.next

    def _begin(self, pool: Pool, begin: Place) -> Iterator[_Begun]:
        """Batches whose frames are asked for; whoever takes one has done with the oldest slot."""
        batch, number = self._loading.batch, 0
        begun = _Begun(0)
        for found in self._plan(pool, begin):
            if isinstance(found, LeftOut):
                begun.left_out.append(found)
                continue
            begun.planned.append(found)
            if len(begun.planned) == batch:
                yield self._ask(pool, begun)
                number += 1
                begun = _Begun(number % self._slots * batch)
        if begun.planned or begun.left_out:
            yield self._ask(pool, begun)

    def _plan(self, pool: Pool, begin: Place) -> Iterator[_Planned | LeftOut]:
        """Every window in order, and the videos that have none."""
        videos = range(begin.video, len(self._catalogue))
        tasks = (Survey(self._catalogue[video]) for video in videos)
        ahead = 2 * max(self._loading.workers, 1)
        for video, (task, future) in zip(videos, pool.each(tasks, ahead=ahead), strict=True):
            try:
                windows = future.result()
            except WorldModelError as error:
                if isinstance(error, ConfigError) or self._loading.on_bad_video == "error":
                    raise
                yield LeftOut(task.name, str(error))
                continue
            assert isinstance(windows, Windows)
            first = begin.window if video == begin.video else 0
            for window in range(first, len(windows)):
                yield _Planned(video, window, task.item, windows)

    def _ask(self, pool: Pool, begun: _Begun) -> _Begun:
        """Begin to read a batch, the windows of each video together."""
        row = begun.base
        for _, group in groupby(begun.planned, key=lambda planned: planned.video):
            part = list(group)
            frames = [one.windows.numbers[one.windows.places(one.window)] for one in part]
            request = WindowRequest(part[0].item, np.stack(frames), row)
            begun.parts.append((part, pool.submit(request)))
            row += len(part)
        return begun

    def _finish(self, begun: _Begun, frames: Tensor, last: Place) -> WindowBatch:
        good: list[int] = []
        rows: list[WindowRow] = []
        row = begun.base
        for part, future in begun.parts:
            for one, reason, cropped in zip(part, *self._answer(part, future), strict=True):
                if reason:
                    begun.left_out.append(unreadable(one.item, one.windows, one.window, reason))
                else:
                    good.append(row)
                    rows.append(_row(one, cropped))
                row += 1
        if begun.planned:
            last = Place(begun.planned[-1].video, begun.planned[-1].window + 1)
        whole = good == list(range(begun.base, begun.base + len(good)))
        kept = frames[begun.base : begun.base + len(good)] if whole else frames[good]
        return WindowBatch(kept, rows, begun.left_out, last)

    def _answer(self, part: list[_Planned], future: "Future") -> tuple[list[str], list[bool]]:
        """For each window of a request why it cannot be read, and whether it was cropped."""
        try:
            result = future.result()
            reasons = list(result.failed)
        except WorldModelError as error:
            if isinstance(error, ConfigError):
                raise
            reasons, result = [str(error)] * len(part), None
        if any(reasons) and self._loading.on_bad_video == "error":
            raise VideoError(next(reason for reason in reasons if reason))
        return reasons, [result is not None and result.cropped] * len(part)


def _buffer(rows: int, num_frames: int, size: int) -> Tensor:
    try:
        return shared_frames(rows, num_frames, size)
    except RuntimeError as cause:
        mib = rows * num_frames * 3 * size**2 / 2**20
        raise ConfigError(
            f"no {mib:.0f} MiB of shared memory for {rows} windows; give /dev/shm more room "
            "(docker: --shm-size), or say a smaller loading.batch or loading.workers=0"
        ) from cause


def _row(planned: _Planned, cropped: bool) -> WindowRow:
    windows = planned.windows
    places = windows.places(planned.window)
    return WindowRow(
        planned.item, planned.window, int(places[0]), windows.times[places],
        len(np.unique(places)), cropped,
    )  # fmt: skip
