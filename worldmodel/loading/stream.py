"""Streams clips of catalogues that are too large for memory; processes decode them ahead of time.

The video, the part of it and the crop are functions of `(seed, number of the sample)`, so a batch
is the same for any number of processes, and a run that was interrupted in the middle of an epoch
goes on with the very next sample. Decoding ahead only guesses that step + 1 is asked for next.
Knows catalogues, not formats.
"""

from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from worldmodel.datasets.catalogue import Catalogue, LeftOut
from worldmodel.errors import ConfigError, VideoError, nearest
from worldmodel.loading.clip_reader import ClipReader, ClipRequest, ClipResult, shared_frames
from worldmodel.loading.in_memory import BAD, Clips
from worldmodel.loading.sampler import Sampler, shares_of_rank
from worldmodel.loading.workers import WorkerPool
from worldmodel.types import Origin
from worldmodel.video.decoding import Decoding
from worldmodel.video.reader import require_backend
from worldmodel.video.sampling import Sampling
from worldmodel.video.video import Damaged

ON_BAD_VIDEO = ("error", "skip")
_ATTEMPTS = 256  # videos tried in place of a bad one before the data are called bad


@dataclass(frozen=True, kw_only=True)
class Streaming:
    """Settings for streaming clips.

    Attributes:
        workers: Processes that decode; 0 decodes here, without guard against hangs and crashes.
        ahead: Batches that are decoded or waiting at a time: memory is that many batches as uint8.
        clips_per_video: Clips of each video in a batch, spread over it: decoding is cheaper, and an
            objective can tell what stands still in a video (`centre=episode`).
        on_bad_video: `error` stops at the first bad video; `skip` lists it and takes another one
            from the same data set.
    """

    workers: int = 2
    ahead: int = 2
    clips_per_video: int = 1
    on_bad_video: str = "error"

    def __post_init__(self) -> None:
        if self.on_bad_video not in ON_BAD_VIDEO:
            hint = nearest(self.on_bad_video, ON_BAD_VIDEO)
            raise ConfigError(
                f"on_bad_video must be error or skip, got '{self.on_bad_video}': {hint}"
            )
        if self.ahead < 1 or self.clips_per_video < 1 or self.workers < 0:
            raise ConfigError(
                f"ahead and clips_per_video must be at least 1 and workers at least 0, got "
                f"{self.ahead}, {self.clips_per_video} and {self.workers}"
            )


@dataclass
class _Pending:
    """A request that is being done; another one stands in when its video is bad."""

    request: ClipRequest
    place: tuple[int, int]  # data set, item
    future: "Future[ClipResult] | None" = None  # None: known to be bad


class ClipStream(Clips):
    """Square clips from videos that are decoded when they are needed.

    Every video of a data set is seen once in an epoch; every start in it is equally likely.

    Args:
        catalogues: The data sets.
        weights: Their shares; by default every video of all is equally likely.
        sampling: Which frames make a clip; a video that is too short for one is a bad video.
        size: Side of the square crop, in pixels; the short side of frames is resized to it.
        flip: Mirror half of the clips left to right.
        decoding: How videos are decoded; its `short_side` is `size` here.
        streaming: Processes, and what is done about bad videos.
        rank, world: Which of how many processes this is: each takes its part of a batch that is
            drawn for all.
        on_skip: Called with each video that is left out, once.
    """

    def __init__(
        self,
        catalogues: Sequence[Catalogue],
        *,
        weights: Sequence[float] | None = None,
        sampling: Sampling,
        size: int,
        flip: bool = False,
        decoding: Decoding | None = None,
        streaming: Streaming | None = None,
        rank: int = 0,
        world: int = 1,
        on_skip: Callable[[LeftOut], None] | None = None,
    ) -> None:
        self.catalogues = list(catalogues)
        self.weights = weights
        self.num_videos = sum(map(len, self.catalogues))
        self.skipped = [bad for catalogue in catalogues for bad in catalogue.left_out]
        self.sampling, self.size, self.flip = sampling, size, flip
        self.decoding = replace(decoding or Decoding(), short_side=size)
        require_backend(self.decoding.backend)  # said here, not by each process
        self.streaming = streaming or Streaming()
        self.clips_per_video = self.streaming.clips_per_video
        if not 0 <= rank < world:
            raise ConfigError(f"rank must be from 0 to world - 1, got {rank} of {world}")
        self.rank, self.world = rank, world
        self._on_skip = on_skip
        self._bad: dict[tuple[int, int], Exception] = {}
        self._hopeless = 0  # how many of those no clip can be taken of
        self._begun: dict[int, list[_Pending]] = {}  # by step
        self._pool: WorkerPool[ClipRequest, ClipResult] | None = None
        # Made here to say now what is wrong with the lengths and weights.
        self._batch, self._order = 0, self.order(0)
        # Without processes nothing can be done ahead of time.
        self._ahead = self.streaming.ahead if self.streaming.workers else 1

    def order(self, seed: int) -> Sampler:
        """The order of the videos in a run with this seed."""
        return Sampler([len(c) for c in self.catalogues], weights=self.weights, seed=seed)

    def sample_uint8(
        self, step: int, batch: int, *, seed: int
    ) -> tuple[Tensor, Tensor, tuple[Origin, ...]]:
        """See `Clips`; begins with those of the next steps."""
        self.check_batch(batch)
        if batch != self._batch:
            self._open_pool(batch)
        if seed != self._order.seed:
            self._drain()
            self._order = self.order(seed)
        wanted = range(step, step + self._ahead)
        self._drain(keep=wanted)  # steps that were passed over hold rows of these
        for later in wanted:
            if later not in self._begun:
                self._begun[later] = self._begin(later)
        results = [self._finish(pending) for pending in self._begun[step]]
        del self._begun[step]
        base = step % self._ahead * self._batch
        frames = self._frames[base : base + self._batch].clone()
        if self.streaming.workers:  # the rows of this step are free for the next one
            self._begun[step + self._ahead] = self._begin(step + self._ahead)
        times = torch.from_numpy(np.concatenate([result.times for result in results]))
        return frames, times, tuple(origin for result in results for origin in result.origins)

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            self._pool.close()
            self._reader.close()
        self._pool, self._batch = None, 0
        self._begun.clear()

    def _open_pool(self, batch: int) -> None:
        self.close()
        rows = self._ahead * batch
        try:
            self._frames = shared_frames(rows, self.sampling.num_frames, self.size)
        except RuntimeError as cause:
            mib = rows * self.sampling.num_frames * 3 * self.size**2 / 2**20
            raise ConfigError(
                f"no {mib:.0f} MiB of shared memory for {self._ahead} batches; give /dev/shm more "
                f"room (docker: --shm-size), or say a smaller batch, ahead=1 or workers=0"
            ) from cause
        self._reader = ClipReader(
            self._frames, sampling=self.sampling, size=self.size, flip=self.flip,
            decoding=self.decoding,
        )  # fmt: skip
        self._pool = WorkerPool(
            self._reader, workers=self.streaming.workers, seconds=self.decoding.limits.seconds
        )
        self._batch = batch

    def _drain(self, keep: range = range(0)) -> None:
        """Give up what was begun but these steps; nothing else writes to the buffer afterwards."""
        lost = [self._begun.pop(step) for step in list(self._begun) if step not in keep]
        futures = [pending.future for of_step in lost for pending in of_step if pending.future]
        for future in [future for future in futures if not future.cancel()]:
            future.exception()  # waits

    def _begin(self, step: int) -> list[_Pending]:
        numbers = shares_of_rank(step, self._batch, rank=self.rank, world=self.world)
        base = step % self._ahead * self._batch
        begun, clips = [], self.streaming.clips_per_video
        for offset in range(0, self._batch, clips):
            first = numbers[offset]
            begun.append(self._request(self._order[first // clips], first, base + offset))
        return begun

    def _request(
        self, place: tuple[int, int], first: int, row: int, failed: Collection[tuple[int, int]] = ()
    ) -> _Pending:
        data_set, item = place
        request = ClipRequest(
            self.catalogues[data_set][item], self._order.seed, first,
            self.streaming.clips_per_video, row,
        )  # fmt: skip
        assert self._pool is not None
        # Other clips of a video that is damaged in places may be intact: which are read must not
        # depend on those before.
        known = not isinstance(self._bad.get(place, Damaged()), Damaged) or place in failed
        return _Pending(request, place, None if known else self._pool.submit(request))

    def _finish(self, pending: _Pending) -> ClipResult:
        number = pending.request.first // self.streaming.clips_per_video
        failed: set[tuple[int, int]] = set()  # which are damaged where these clips are
        for attempt in range(1, _ATTEMPTS + 1):
            if pending.future is not None:
                try:
                    return pending.future.result()
                except BAD as error:
                    if self.streaming.on_bad_video == "error":
                        raise
                    self._skip(pending, error)
                    if isinstance(error, Damaged):
                        failed.add(pending.place)
            if self._hopeless + len(failed) == self.num_videos:
                break
            place = self._order.reserve(number, attempt)
            pending = self._request(place, pending.request.first, pending.request.row, failed)
        first = next(iter(self._bad.values()))
        raise VideoError(
            f"{self.catalogues[pending.place[0]].name}: {len(self._bad)} videos are bad, "
            f"{'nothing is left' if len(self._bad) == self.num_videos else 'too many'} to read; "
            f"the first: {first}"
        )

    def _skip(self, pending: _Pending, error: Exception) -> None:
        if pending.place in self._bad:
            return
        self._bad[pending.place] = error
        self._hopeless += not isinstance(error, Damaged)
        self.skipped.append(LeftOut(pending.request.name, str(error)))
        if self._on_skip:
            self._on_skip(self.skipped[-1])
