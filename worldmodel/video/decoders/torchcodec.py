"""torchcodec: seeks by itself, and says the time of what it returns, which is checked."""

import importlib
import re
from typing import Any

import numpy as np
from torch import Tensor

from worldmodel.video.decoders.base import (
    Decoder,
    Facts,
    Mismatch,
    why_seeking_fails,
    why_turning_fails,
)
from worldmodel.video.rgb import scaled


class TorchCodec(Decoder):
    """torchcodec, where its seeks find the right frames."""

    name = "torchcodec"
    limits = (
        "refused for edit lists, open groups of images, times that cannot be trusted, mirrored "
        "images"
    )
    install = (
        "pip install 'worldmodel[torchcodec]', of the version that goes with this PyTorch, and "
        "FFmpeg's libraries: apt-get install ffmpeg (Debian, Ubuntu)"
    )

    @classmethod
    def cannot(cls, facts: Facts) -> str:
        """Why it might give wrong frames of this file."""
        if facts.index.packets.discard.any():
            return "it counts frames that an edit list hides"
        return why_seeking_fails(facts) or why_turning_fails(facts)

    def __init__(self, facts: Facts) -> None:
        info, side = facts.info, facts.decoding.short_side
        self._times = facts.index.times
        source = facts.source.argument() if facts.source.path is None else str(facts.source.path)
        try:
            decoders: Any = importlib.import_module("torchcodec.decoders")
            steps = None
            if side is not None:
                transforms: Any = importlib.import_module("torchcodec.transforms")
                steps = [transforms.Resize(scaled(info.height, info.width, side))]
            self._reader = decoders.VideoDecoder(
                source, stream_index=facts.stream, transforms=steps
            )
            count = len(self._reader)
        except (ImportError, OSError, RuntimeError, ValueError, IndexError) as cause:
            raise Mismatch(_reason(cause)) from cause
        if count != len(self._times):
            raise Mismatch(f"it finds {count} frames, not {len(self._times)}")
        self._start = 0.0
        self._start = self._seconds([0])[1][0]

    def read(self, indices: np.ndarray) -> Tensor:
        """See `Decoder.read`."""
        frames, seconds = self._seconds(indices.tolist())
        wrong = np.abs(seconds - self._times[indices]) > 1e-4
        if wrong.any():
            raise Mismatch(f"it returns another frame for {indices[wrong][0]}")
        return frames

    def _seconds(self, indices: list[int]) -> tuple[Tensor, np.ndarray]:
        """Frames and their times after the first."""
        try:
            batch = self._reader.get_frames_at(indices)
        except (RuntimeError, IndexError, ValueError) as cause:
            raise Mismatch(_reason(cause)) from cause
        return batch.data.contiguous(), batch.pts_seconds.numpy() - self._start

    def close(self) -> None:
        """Let go of the file."""
        self._reader = None


def _reason(cause: Exception) -> str:
    """The cause in one line: where it is a page on libraries, the one that cannot be loaded."""
    text = str(cause)
    if "Could not load libtorchcodec" in text:
        # It tries one FFmpeg after the other, so that most of what it tells is of no use.
        told = re.findall(r"^OSError: (?!Could not load this library)(.+)$", text, re.MULTILINE)
        others = [line for line in told if "libavutil" not in line]
        if others:
            return f"a library cannot be loaded: {others[0][:160]}"
        return "it cannot load libavutil, a library of FFmpeg"
    return f"it fails: {' '.join(text.split())[:160]}"
