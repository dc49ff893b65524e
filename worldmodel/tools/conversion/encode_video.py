"""Writing videos: copied byte for byte where they are whole files, else encoded as H.264.

Knows nothing of data sets.
"""

import shutil
from collections.abc import Iterator
from contextlib import AbstractContextManager
from fractions import Fraction
from pathlib import Path
from typing import IO

import av
import numpy as np
from einops import rearrange
from torch import Tensor

from worldmodel.datasets.catalogue import Item
from worldmodel.datasets.listing import VIDEOS, VideoFile
from worldmodel.datasets.shards import ShardVideo
from worldmodel.datasets.tar_members import member_file, opened
from worldmodel.errors import VideoError
from worldmodel.storage.files import require_file, whole_file
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_CLOCK = 90_000  # ticks a second, as MPEG counts
# With several threads or a macroblock tree x264 now and then writes other bytes for the same
# frames.
_SAME_BYTES = {"threads": "1", "x264-params": "mbtree=0"}
_CHUNK = 64  # frames decoded at a time
Chunk = tuple[Tensor, np.ndarray]  # frames t c h w uint8, times t in seconds


def ending_of(item: Item) -> str | None:
    """The ending of the whole file that an item is, for example `.mp4`; None if it is none."""
    if isinstance(item, VideoFile) and item.window is not None:
        return None
    if isinstance(item, VideoFile | ShardVideo):
        name = item.key if isinstance(item, VideoFile) else item.name
        if "://" in name and isinstance(item, VideoFile):
            name = name.partition("::")[0]  # the file in an archive, not the archive
        ending = Path(name).suffix.lower()
        return ending if ending in VIDEOS else None
    return None


def raw_file(item: Item) -> AbstractContextManager[IO[bytes]]:
    """The bytes of an item that `ending_of` knows, opened to read."""
    if isinstance(item, ShardVideo):
        return member_file(item.shard, item.offset, item.size)
    if "://" not in item.key:
        require_file(Path(item.key), "video", VideoError)
    return opened(item.key)


def copy_video(item: Item, path: Path) -> None:
    """Write the bytes of an item as they are."""
    try:
        with raw_file(item) as source, whole_file(path) as temporary:
            with temporary.open("wb") as file:
                shutil.copyfileobj(source, file, 2**20)
    except OSError as cause:
        raise VideoError(f"{item.name}: cannot be copied to {path} ({cause})") from cause


def places(item: Item, source: Video) -> np.ndarray:
    """The numbers of the frames of an opened file that are the item's."""
    return np.arange(*item.part(source.times(np.arange(source.num_frames))))


def chunks_of(source: Video, numbers: np.ndarray, times: np.ndarray) -> Iterator[Chunk]:
    """Frames by number a few at a time, at these times."""
    for first in range(0, len(numbers), _CHUNK):
        part = slice(first, first + _CHUNK)
        yield source.read(numbers[part]), times[part]


def encode_item(item: Item, path: Path, *, decoding: Decoding, quality: int) -> None:
    """Write the frames of an item at their own times."""
    source = item.open(decoding)
    try:
        numbers = places(item, source)
        times = source.times(numbers)
        encode(path, chunks_of(source, numbers, times - times[0]), quality=quality)
    finally:
        source.close()


def encode(path: Path, chunks: Iterator[Chunk], *, quality: int, full_colour: bool = False) -> None:
    """Write an MP4 with H.264, whole or not at all.

    Args:
        path: The file.
        chunks: Frames and increasing times.
        quality: The encoder's constant rate factor, 0 to 51: smaller is better and larger.
        full_colour: Keep colour in full; otherwise it is kept at half resolution where both sides
            are even.
    """
    with whole_file(path) as temporary, av.open(str(temporary), "w") as container:
        stream = None
        for frames, times in chunks:
            if stream is None:
                height, width = frames.shape[-2:]
                rate = 1 / float(times[1] - times[0]) if len(times) > 1 else 1.0
                stream = container.add_stream(
                    "libx264", rate=Fraction(rate).limit_denominator(1001)
                )
                stream.height, stream.width = height, width
                halves = height % 2 == 0 == width % 2 and not full_colour
                stream.pix_fmt = "yuv420p" if halves else "yuv444p"
                stream.options = {"crf": str(quality), "preset": "medium", "g": "30"} | _SAME_BYTES
                stream.codec_context.time_base = Fraction(1, _CLOCK)
            images = rearrange(frames, "t c h w -> t h w c").contiguous().numpy()
            for image, time in zip(images, times, strict=True):
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                frame.pts, frame.time_base = round(float(time) * _CLOCK), Fraction(1, _CLOCK)
                container.mux(stream.encode(frame))
        assert stream is not None
        container.mux(stream.encode(None))
