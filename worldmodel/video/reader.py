"""An open video file: its frames by number, as decoding it in order would give them.

`source.py` says what can be opened, `index.py` which frame is which, and `decoders/` decode. Knows
nothing of clips.
"""

import os
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import NoReturn

import numpy as np
import torch
from torch import Tensor

from worldmodel.errors import ConfigError, VideoError, nearest
from worldmodel.video.arguments import shown
from worldmodel.video.container import REMEDY, VideoInfo, opened
from worldmodel.video.decoders import known, why_not
from worldmodel.video.decoders.base import Decoder, Facts, Mismatch, look
from worldmodel.video.decoding import Decoding, require_mib
from worldmodel.video.index import FrameIndex, index_by_counting
from worldmodel.video.rgb import scaled
from worldmodel.video.source import Source, SourceFile
from worldmodel.video.video import Video, require_numbers


def require_backend(backend: str) -> None:
    """Refuse what is not the name of a decoder that works on this machine, before a file is opened.

    Raises:
        ConfigError: saying which there are, or what the decoder lacks.
    """
    names = ("auto", *known())
    if not isinstance(backend, str):
        raise ConfigError(
            f"backend must be a name, got {shown(backend)}; choose from: {', '.join(names)}"
        )
    if backend not in names:
        raise ConfigError(f"no video backend '{backend}': {nearest(backend, names)}")
    problem = why_not(backend) if backend not in ("auto", "pyav") else None
    if problem:
        raise ConfigError(f"backend={backend}: {problem}; or use backend=auto")


class VideoReader(Video):
    """An open video: its frames by number, with their times.

    It keeps its position: reading on is cheap, going back costs a seek. The frames are those that
    decoding the file in order from its start gives, whichever decoder reads them. Threads may share
    it, processes may not.

    Args:
        source: A path, bytes, a binary file or a URL that fsspec knows.
        decoding: How it is decoded.
        name: What messages call it; the path by default.
        complete: Refuse a truncated file; otherwise its intact part is read.

    Raises:
        VideoError: naming the video, what is wrong with it and what to do.
        ConfigError: the backend is unknown or not installed, or there is no such stream.
    """

    def __init__(
        self,
        source: Source | SourceFile,
        decoding: Decoding | None = None,
        *,
        name: str | None = None,
        complete: bool = True,
    ) -> None:
        self._lock, self._process = threading.RLock(), os.getpid()
        self._decoding = decoding or Decoding()
        require_backend(self._decoding.backend)
        self._source = SourceFile.of(source, name)
        self.name = self._source.name
        self._decoder: Decoder | None = None
        self._given_up = ""  # why nothing is read any more
        try:
            facts, reason = look(self._source, self._decoding)
            self._facts = self._count(facts, reason) if reason else facts
            if complete and self._facts.index.missing:
                raise VideoError(self._facts.index.missing)
            self._take_decoder()
        except BaseException:
            self.close()
            raise

    @property
    def info(self) -> VideoInfo:
        """The file's description of itself; `frames` is how many there are."""
        return self._facts.info

    @property
    def num_frames(self) -> int:  # type: ignore[override]  # never assigned from outside
        """The number of frames."""
        return len(self._facts.index)

    @property
    def backend(self) -> str:
        """The decoder in use."""
        assert self._decoder is not None
        return self._decoder.name

    @property
    def counted(self) -> str:
        """Why the file's timestamps are not trusted and its frames counted; empty if they are."""
        return self._facts.index.counted

    @property
    def missing(self) -> str:
        """The part that is missing of a truncated file, as a message; empty if nothing is."""
        return self._facts.index.missing

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these numbers: in any order, decoded in theirs.

        Raises:
            VideoError: a number is not in the video, the frames are more than `limits.mib`, or the
                file is damaged there. Where that makes the numbers of its frames wrong, nothing
                is read any more.
        """
        indices = np.asarray(indices, np.int64)
        with self._lock:
            self._require_room(indices)
            assert self._decoder is not None
            with suppress(Mismatch):
                return self._decoder.read(indices)
            # Where the last read ended may have been the cause, and must not matter: once more.
            while True:
                try:
                    return self._decoder.read(indices)
                except Mismatch as cause:
                    self._recover(cause)

    def read_clips(self, clips: Sequence[np.ndarray]) -> list[Tensor]:
        """Several clips `t c h w`, uint8, each frame decoded once, however they overlap.

        Args:
            clips: For each the numbers of its frames, in any order.
        """
        frames = self.read(np.concatenate([np.zeros(0, np.int64), *clips]))
        return list(torch.split(frames, [len(clip) for clip in clips]))

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        indices = np.asarray(indices, np.int64)
        require_numbers(indices, self.num_frames, self.name)
        return self._facts.index.times[indices]

    def close(self) -> None:
        """Let go of the file."""
        with self._lock:
            if self._decoder is not None:
                self._decoder.close()
            self._source.close()

    def __reduce__(self) -> NoReturn:
        """An open file does not travel.

        Raises:
            ConfigError: always.
        """
        raise ConfigError(
            f"{self.name}: an open video cannot be sent to another process; send its path and "
            f"open it there"
        )

    def _count(self, facts: Facts, reason: str) -> Facts:
        """The same facts with an index made by decoding, from a container that is opened anew."""
        if facts.opened is not None:
            facts.opened[0].close()
        limits, stream = self._decoding.limits, self._decoding.stream
        with opened(self._source, stream=stream, limits=limits) as (container, video):
            index = index_by_counting(
                self._source, container, video, facts.index.packets, reason, limits
            )
        # What such a container says of its length is often FFmpeg's guess.
        usual = 1 / (facts.info.fps or 25.0)
        step = float(np.median(np.diff(index.times))) if len(index) > 1 else usual
        seconds = float(index.times[-1]) + step
        info = replace(facts.info, frames=len(index), duration=seconds, fps=len(index) / seconds)
        return replace(facts, info=info, index=index, opened=None)

    def _take_decoder(self) -> None:
        """Open the decoder that is insisted on; PyAV, which is right for every file, otherwise."""
        name = "pyav" if self._decoding.backend == "auto" else self._decoding.backend
        kind = known()[name]
        reason = kind.cannot(self._facts)
        if reason:
            raise self._refusal(name, reason)
        try:
            self._decoder = kind(self._facts)
        except Mismatch as cause:
            raise self._refusal(name, str(cause)) from cause

    def _refusal(self, name: str, reason: str) -> VideoError:
        return VideoError(
            f"{self.name}: {name} would not give its right frames ({reason}); use backend=auto"
        )

    def _recover(self, cause: Mismatch) -> None:
        """After a frame that was not the one it should be: count, or say that it cannot be had.

        The same frames have the same numbers and times afterwards: what is read must not depend on
        what was read before.
        """
        assert self._decoder is not None
        self._decoder.close()
        try:
            self._facts = replace(self._facts, index=self._other_index(cause), opened=None)
            self._decoder = known()["pyav"](self._facts)
        except VideoError as error:
            self._given_up = str(error)
            raise

    def _other_index(self, cause: Mismatch) -> FrameIndex:
        index = self._facts.index
        if self.backend != "pyav":
            raise self._refusal(self.backend, str(cause)) from cause
        if not index.counted:
            counted = self._count(replace(self._facts, opened=None), str(cause)).index
            if len(counted) != len(index) or not np.allclose(
                counted.times, index.times, rtol=0, atol=1e-9
            ):
                raise VideoError(
                    f"{self.name}: is damaged: decoding it gives {len(counted)} frames, not "
                    f"{len(index)} at the times of its packets ({cause}); {REMEDY}"
                )
            return replace(counted, times=index.times, missing=index.missing)
        if len(index.first) == 1 and index.packet is None:
            raise VideoError(
                f"{self.name}: gives other frames each time that it is decoded ({cause}); encode "
                f"it again, or leave it out"
            )
        # Keyframes that are none: only the start of the file can be trusted.
        return replace(index, packet=None, entries=index.entries[:1] * 0, first=index.first[:1])

    def _require_room(self, indices: np.ndarray) -> None:
        """Refuse a request before anything is allocated for it."""
        if self._process != os.getpid():  # both would move one file's position
            raise ConfigError(
                f"{self.name}: was opened in another process; open it in this one (it was forked)"
            )
        if self._given_up:
            raise VideoError(self._given_up)
        if len(indices) == 0:
            raise VideoError(f"{self.name}: was asked for no frame; name at least one")
        require_numbers(indices, self.num_frames, self.name)
        info = self._facts.info
        height, width = scaled(info.height, info.width, self._decoding.short_side)
        require_mib(self.name, len(indices), height, width, self._decoding.limits)
