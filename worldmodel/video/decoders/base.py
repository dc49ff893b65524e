"""The role of a decoder: it gives the right frames of an indexed file, or is refused for it."""

from abc import ABC, abstractmethod
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from torch import Tensor

from worldmodel.video.container import VideoInfo, describe, open_container, said_in_one_line
from worldmodel.video.decoding import Decoding
from worldmodel.video.index import FrameIndex, distrust, index_by_time, scan
from worldmodel.video.reference import decode
from worldmodel.video.rgb import orientation
from worldmodel.video.source import SourceFile


class Mismatch(Exception):
    """A decoded frame is not the one that the index says: the index or the decoder is wrong."""


@dataclass(frozen=True)
class Facts:
    """All that is known of a file before a decoder opens it.

    Attributes:
        source: Its bytes.
        info: What it says about itself.
        index: Its frames.
        decoding: How it is to be decoded.
        stream: Number of the stream among all streams.
        opened: The container that was scanned and its stream; for PyAV alone, others get none.
    """

    source: SourceFile
    info: VideoInfo
    index: FrameIndex
    decoding: Decoding
    stream: int
    opened: tuple[InputContainer, VideoStream] | None = None


def look(source: SourceFile, decoding: Decoding) -> tuple[Facts, str]:
    """Scan the packets of a file. Also says why its timestamps cannot be trusted, if they cannot.

    Raises:
        VideoError: it is no video, is damaged, or claims more than the limits allow.
        ConfigError: it has no such video stream.
    """
    limits = decoding.limits
    with said_in_one_line(source.name):
        container, stream = open_container(source, stream=decoding.stream, limits=limits)
        try:
            packets = scan(source.name, container, stream, limits)
            codec = stream.codec_context.codec.canonical_name
            reason = distrust(packets, container.format.name, codec)
            index = index_by_time(source, container, stream, packets)
        except BaseException:
            container.close()
            raise
    info = describe(source.name, container, stream, len(index))
    return Facts(source, info, index, decoding, stream.index, (container, stream)), reason


def why_seeking_fails(facts: Facts) -> str:
    """Why a decoder that seeks by itself would find wrong frames; empty where it does not."""
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
    frames: Any = decode(facts.source, stream=stream, limits=limits)
    with closing(frames):
        mirrored, turns = orientation(next(frames)[1])
    if mirrored:
        return "it does not mirror images that are stored mirrored"
    if turns and facts.decoding.short_side is not None:
        return "it resizes images that are stored lying to the wrong shape"
    return ""


class Decoder(ABC):
    """An opened file that gives frames by their number in `Facts.index`.

    A new decoder is a new file in this folder with one class that has these names.
    """

    name: str
    limits: str  # what it is refused for, in a few words
    install: str  # what to do where it does not work

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
            Mismatch: another frame came than the one that was asked for.
            VideoError: the file is damaged there.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of the file."""
