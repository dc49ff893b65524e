"""decord: does not say the time of a frame, so it reads only files in which its seeks are exact."""

import ctypes
import importlib
from contextlib import suppress
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.video.decoders.base import (
    Decoder,
    Facts,
    Mismatch,
    why_seeking_fails,
    why_turning_fails,
)
from worldmodel.video.rgb import scaled

# Measured (docs/results/decoders.json): of H.265 it returns neighbours, AV1 it cannot decode.
_CODECS = frozenset("h264 mpeg4 vp9 mjpeg msmpeg4v3 msmpeg4v2 cinepak".split())


class Decord(Decoder):
    """decord, where its seeks are exact."""

    name = "decord"
    limits = (
        "refused for AV1, H.265, several video streams, edit lists, open groups of images, "
        "times that cannot be trusted, mirrored images, and what is not a path"
    )
    install = "pip install decord (there are wheels for Linux x86-64 only)"

    @classmethod
    def cannot(cls, facts: Facts) -> str:
        """Why it might give wrong frames of this file."""
        if facts.source.path is None:
            return "it reads paths only"
        if facts.info.codec not in _CODECS:
            return f"it does not read {facts.info.codec} rightly"
        if facts.info.streams > 1:
            return "it chooses the video stream itself"
        if facts.index.packets.discard.any():
            return "it does not follow edit lists"
        return why_seeking_fails(facts) or why_turning_fails(facts)

    def __init__(self, facts: Facts) -> None:
        self._decord = _package()
        self._decord.logging.set_level(self._decord.logging.QUIET)
        info, side = facts.info, facts.decoding.short_side
        height, width = (-1, -1) if side is None else scaled(info.height, info.width, side)
        try:
            self._reader = self._decord.VideoReader(
                str(facts.source.path), width=width, height=height, num_threads=1
            )
            stamps = self._reader.get_frame_timestamp(np.arange(len(self._reader)))[:, 0]
        except (self._decord.DECORDError, RuntimeError, IndexError) as cause:
            raise Mismatch(_reason(cause)) from cause
        times = facts.index.times
        # It keeps times in single precision.
        if len(stamps) != len(times) or not np.allclose(stamps - stamps[0], times, atol=2e-3):
            raise Mismatch(f"it finds {len(stamps)} frames at other times, not {len(times)}")

    def read(self, indices: np.ndarray) -> Tensor:
        """See `Decoder.read`."""
        try:
            frames = self._reader.get_batch(indices).asnumpy()
        except (self._decord.DECORDError, RuntimeError) as cause:
            raise Mismatch(_reason(cause)) from cause
        return rearrange(torch.from_numpy(frames), "t h w c -> t c h w").contiguous()

    def close(self) -> None:
        """Let go of the file."""
        self._reader = None


def _package() -> Any:
    """The package.

    Its library has a zlib of its own, and shows it to all that is loaded later: pygame, which draws
    some worlds of gymnasium, then reads no PNG. What is shown first is found first, so the system's
    zlib is, where there is one.
    """
    with suppress(OSError):
        ctypes.CDLL("libz.so.1", ctypes.RTLD_GLOBAL)
    return importlib.import_module("decord")


def _reason(cause: Exception) -> str:
    """The last words of a message that has a stack trace in it."""
    lines = [line.strip() for line in str(cause).splitlines() if "Check failed" in line]
    return f"it fails: {' '.join((lines or [str(cause)])[0].split())[-160:]}"
