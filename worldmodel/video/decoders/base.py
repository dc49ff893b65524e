"""What a decoder is: a way to the frames of an indexed file, right or refused."""

from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from worldmodel.video.container import VideoInfo
from worldmodel.video.decoding import Decoding
from worldmodel.video.index import FrameIndex
from worldmodel.video.reference import decode
from worldmodel.video.rgb import orientation
from worldmodel.video.source import SourceFile


class Mismatch(Exception):
    """What was decoded is not what the index says: the index or the decoder is wrong."""


@dataclass(frozen=True)
class Facts:
    """What is known of a file before a decoder is chosen.

    Attributes:
        media: Its bytes.
        info: What it says about itself.
        index: Its frames.
        decoding: How it is to be opened.
        container: FFmpeg's name of the format.
        pixels: FFmpeg's name of the pixel format.
        stream: Number of the stream among all streams.
        best: Whether it is the stream that FFmpeg calls best.
        opened: The container that was scanned and its stream; for PyAV alone, others get none.
    """

    media: SourceFile
    info: VideoInfo
    index: FrameIndex
    decoding: Decoding
    container: str
    pixels: str
    stream: int
    best: bool
    opened: tuple[InputContainer, VideoStream] | None = None


def why_seeking_fails(facts: Facts) -> str:
    """Why a decoder that seeks by itself would miss; empty where it finds the right frames."""
    index, packets = facts.index, facts.index.packets
    if index.counted:
        return f"it seeks by timestamps: {index.counted}"
    if not packets.clean:
        return "it begins at keyframes that need what is before them"
    keys, starts = packets.pts[packets.key], np.flatnonzero(packets.key)
    least_after = np.minimum.accumulate(packets.pts[::-1])[::-1]
    if (least_after[starts] < keys).any():
        return "frames are shown before the keyframe that they come after"
    return ""


def why_turning_fails(facts: Facts) -> str:
    """Why a decoder that puts images upright by itself would not; empty where it does.

    Decodes the first image.
    """
    stream, limits = facts.info.stream, facts.decoding.limits
    frames: Any = decode(facts.media, stream=stream, limits=limits)
    with closing(frames):
        mirrored, turns = orientation(next(frames)[1])
    if mirrored:
        return "it does not mirror images that are stored mirrored"
    if turns and facts.decoding.short_side is not None:
        return "it resizes images that are stored lying to the wrong shape"
    return ""


class Decoder(ABC):
    """An opened file that gives frames by their number in `Facts.index`.

    A new decoder is a new file in this folder with one class that has these two names.
    """

    name: str
    limits: str  # what it is refused for, in a few words

    @classmethod
    @abstractmethod
    def missing(cls) -> str:
        """Why it does not work on this machine and what to do; empty where it works."""

    @classmethod
    @abstractmethod
    def cannot(cls, facts: Facts) -> str:
        """Why it might not give the right frames of this file; empty where it does."""

    @abstractmethod
    def __init__(self, facts: Facts) -> None: ...

    @abstractmethod
    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these numbers, in any order.

        Raises:
            Mismatch: what came is not what was asked for.
            VideoError: the file is damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""
