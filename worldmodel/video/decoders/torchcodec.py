"""torchcodec: seeks by itself, and says the time of what it returns, which is checked."""

import importlib
import json
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

INSTALL = (
    "pip install 'worldmodel[torchcodec]', of the version that goes with this PyTorch, and "
    "FFmpeg's libraries: apt-get install ffmpeg (Debian, Ubuntu)"
)


class TorchCodec(Decoder):
    """See the module."""

    name = "torchcodec"
    limits = (
        "refused for edit lists, open groups of images, times that cannot be trusted, mirrored "
        "images"
    )

    @classmethod
    def missing(cls) -> str:
        """Why it does not work on this machine and what to do; empty where it works."""
        try:
            importlib.import_module("torchcodec.decoders")
        except (ImportError, OSError, RuntimeError) as cause:
            reason = " ".join(str(cause).split())[:120]
            return f"torchcodec does not work here ({reason}); {INSTALL}"
        return ""

    @classmethod
    def cannot(cls, facts: Facts) -> str:
        """Why it might give wrong frames of this file."""
        if facts.index.packets.discard.any():
            return "it counts frames that an edit list hides"
        return why_seeking_fails(facts) or why_turning_fails(facts)

    def __init__(self, facts: Facts) -> None:
        decoders: Any = importlib.import_module("torchcodec.decoders")
        transforms: Any = importlib.import_module("torchcodec.transforms")
        info, side = facts.info, facts.decoding.short_side
        self._times = facts.index.times
        source = facts.media.argument() if facts.media.path is None else str(facts.media.path)
        steps = None
        if side is not None:
            height, width = scaled(info.height, info.width, side)
            steps = [transforms.Resize((height, width))]
        try:
            self._reader = decoders.VideoDecoder(
                source, stream_index=facts.stream, transforms=steps
            )
            count = len(self._reader)
        except (RuntimeError, ValueError, IndexError, json.JSONDecodeError) as cause:
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
    return f"it fails: {' '.join(str(cause).split())[:160]}"
