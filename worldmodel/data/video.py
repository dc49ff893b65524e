"""From a video file to frames and their times: the only file that knows PyAV and decord.

Frames are counted while decoding in order from the start of the file: seeking by time or by rate
returns wrong frames on real files without saying so. Times are the presentation timestamps,
counted from the first frame. Knows nothing of data sets (`folder.py`, `clips.py`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
import torch
from av.container import InputContainer
from av.video.stream import VideoStream
from einops import rearrange

from worldmodel.data.catalogue import Opening, VideoSource
from worldmodel.data.files import require_file
from worldmodel.data.pace import Pace
from worldmodel.errors import ConfigError, VideoError, nearest
from worldmodel.types import Clip

BACKENDS = ("auto", "pyav", "decord")
_REMEDY = "fetch or encode it again, or leave it out"
# Playlists and lists of files would make FFmpeg open other files and the network; text would be
# drawn as video. So only containers of video are tried, and only this file is read.
_OPEN_OPTIONS = {
    "protocol_whitelist": "file",
    "format_whitelist": "mov,matroska,avi,mpegts,mpeg,ogg,flv,asf,gif",
}


@dataclass(frozen=True)
class VideoInfo:
    """What a file says about its main video stream, without decoding it."""

    path: str
    frames: int  # packets with data: each is a frame in all common codecs
    fps: float  # on average
    height: int
    width: int
    codec: str
    duration: float  # seconds


def video_info(path: str | Path) -> VideoInfo:
    """Read the header and count the packets.

    Raises:
        VideoError: naming the file, what is wrong with it and what to do.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        frames = sum(1 for packet in container.demux(stream) if packet.size)
        rate = float(stream.average_rate or 0)
        duration = _promised_seconds(container, stream) or (frames / rate if rate else 0.0)
        return VideoInfo(
            str(path),
            frames,
            frames / duration if duration else rate,
            stream.height,
            stream.width,
            stream.codec_context.codec.canonical_name,
            duration,
        )


def read_clip(
    source: str | Path,
    *,
    num_frames: int,
    fps: float | None = None,
    stride: int | None = None,
    start: float = 0.0,
    size: int | None = None,
    backend: str = "auto",
) -> Clip:
    """Read one clip.

    Args:
        source: The file.
        num_frames: Frames of the clip.
        fps: Frames per second: for each time the nearest frame is taken. Give `fps` or `stride`.
        stride: Frames from one to the next; 1 by default.
        start: Seconds after the first frame; the clip begins at the first frame from there on.
        size: Resize the short side to this and cut the square in the middle; by default frames
            stay as they are.
        backend: `pyav` (also `auto`) decodes in order and is always right; `decord` seeks, which
            is faster far into a file and wrong on some files.

    Returns:
        A clip with b = 1; `times` are seconds after the first frame of the video.

    Raises:
        VideoError: naming the file, what is wrong with it and what to do.
    """
    path = Path(source)
    pace = Pace(num_frames, stride=stride, fps=fps)
    if backend not in BACKENDS:
        raise ConfigError(f"no video backend '{backend}': {nearest(backend, BACKENDS)}")
    read = _read_decord if backend == "decord" else _read_pyav
    frames, times = read(path, pace, start, size)
    if size is not None:
        top, left = ((side - size) // 2 for side in frames.shape[1:3])
        frames = frames[:, top : top + size, left : left + size]
    tensor = rearrange(torch.from_numpy(frames), "t h w c -> 1 t c h w").contiguous()
    return Clip.from_uint8(tensor, torch.from_numpy(times)[None], sources=(str(source),))


class VideoReader(VideoSource):
    """An open video: its frames by number, with their times.

    Args:
        source: The file.
        opening: How it is opened.
        name: What messages call it; the path by default.

    Raises:
        VideoError: naming the video, what is wrong with it and what to do.
    """

    def __init__(
        self, source: str | Path, opening: Opening | None = None, *, name: str | None = None
    ) -> None:
        self.name = name or str(source)
        self.info = video_info(source)
        self._path = Path(source)
        self._opening = opening or Opening()
        self._times = np.array([time for time, _ in decode(source)])
        self.num_frames = len(self._times)

    def read(self, indices: np.ndarray) -> torch.Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""
        wanted = set(indices.tolist())
        found: dict[int, np.ndarray] = {}
        for number, (_, frame) in enumerate(decode(self._path)):
            if number in wanted:
                found[number] = to_rgb(frame, self._opening.short_side)
            if number >= max(wanted):
                break
        frames = torch.from_numpy(np.stack([found[i] for i in indices.tolist()]))
        return rearrange(frames, "t h w c -> t c h w").contiguous()

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""
        return self._times[indices]


def decode(path: str | Path) -> Iterator[tuple[float, av.VideoFrame]]:
    """All frames in order, each with its time in seconds after the first.

    Raises:
        VideoError: at the place where the file is damaged, or at its end when it is shorter than
            its header says.
    """
    path = Path(path)
    with _opened(path) as (container, stream):
        stream.thread_type = "AUTO"
        # AVI stores no presentation times: with B-frames they are guessed, out of order.
        counted = container.format.name == "avi" and stream.codec_context.has_b_frames
        rate = float(stream.average_rate or 25)
        first, time, gap, number = None, -1 / rate, 1 / rate, 0
        for frame in container.decode(stream):
            number += 1
            stamp = None if counted else frame.time
            if first is None:
                first = stamp or 0.0
            # Where a time is missing or does not increase, the next one at the usual rate.
            last, time = time, time + 1 / rate if stamp is None else stamp - first
            if time <= last:
                time = last + 1 / rate
            gap = max(gap, time - last)
            yield time, frame
        if number == 0:
            raise VideoError(f"{path}: holds no frame that can be decoded; {_REMEDY}")
        promised = _promised_seconds(container, stream) - (first or 0.0)
        if time + 2 * gap < 0.98 * promised:
            raise VideoError(
                f"{path}: is truncated: it ends after {number} frames, {time + gap:.3g} s, its "
                f"header promises {promised:.3g} s; {_REMEDY}"
            )


def to_rgb(frame: av.VideoFrame, short_side: int | None = None) -> np.ndarray:
    """The picture `h w c`, uint8, upright; resized to `short_side`, keeping the proportions."""
    height, width = frame.height, frame.width
    if short_side is not None:
        scale = short_side / min(height, width)
        height, width = (max(short_side, round(side * scale)) for side in (height, width))
    shrinks = height <= frame.height
    small = frame.reformat(
        width, height, format="rgb24", interpolation="AREA" if shrinks else "BILINEAR"
    )
    picture = small.to_ndarray()
    # A phone held upright stores its pictures lying, and how to turn them.
    return np.rot90(picture, round(frame.rotation / 90)) if frame.rotation else picture


def _promised_seconds(container: InputContainer, stream: VideoStream) -> float:
    """How long the header says that the video is; 0 where it does not."""
    by_time = float((stream.duration or 0) * (stream.time_base or 0))
    by_count = stream.frames / float(stream.average_rate) if stream.average_rate else 0.0
    if not by_time and not by_count and len(container.streams) == 1 and container.duration:
        # Matroska knows the length of the whole only: of use where nothing else is in it.
        return container.duration / av.time_base
    # In a cut AVI without its index the time comes from the bytes, the count from the header.
    return max(by_time, by_count)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[InputContainer, VideoStream]]:
    require_file(path, "video", VideoError)
    try:
        with av.open(f"file:{path}", options=dict(_OPEN_OPTIONS)) as container:
            stream = container.streams.best("video")
            if not isinstance(stream, VideoStream):
                raise VideoError(f"{path}: has no video stream, only sound or data; leave it out")
            yield container, stream
    except av.FFmpegError as cause:
        raise VideoError(
            f"{path}: cannot be decoded ({cause.strerror}): truncated, damaged or not a video; "
            f"{_REMEDY}"
        ) from cause


def _read_pyav(
    path: Path, pace: Pace, start: float, size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """Frames `t h w c` and times `t` of one clip; decodes no further than the clip needs."""
    seen: list[float] = []

    def watched() -> Iterator[tuple[float, av.VideoFrame]]:
        for time, frame in decode(path):
            seen.append(time)
            yield time, frame

    chosen = [(time, to_rgb(frame, size)) for time, frame in _pick(watched(), pace, start)]
    if len(chosen) < pace.num_frames:
        left = [time for time in seen if time >= start]
        name = f"{path} from {start:g} s on" if start else str(path)
        raise pace.too_short(name, frames=len(left), seconds=left[-1] - left[0] if left else 0.0)
    times = np.array([time for time, _ in chosen])
    if (np.diff(times) <= 0).any():
        raise pace.too_slow(str(path), rate=(len(seen) - 1) / (seen[-1] - seen[0]))
    return np.stack([picture for _, picture in chosen]), times


def _pick(
    frames: Iterator[tuple[float, av.VideoFrame]], pace: Pace, start: float
) -> Iterator[tuple[float, av.VideoFrame]]:
    """The frames that `Pace.indices` names, as they come by."""
    begin, found, number = None, 0, 0
    before: tuple[float, av.VideoFrame] | None = None
    for time, frame in frames:
        if time < start - 1e-6:
            continue
        begin = time if begin is None else begin
        if pace.fps is None:
            if number == found * pace.stride:
                yield time, frame
                found += 1
        else:
            while found < pace.num_frames and begin + found / pace.fps <= time + 1e-6:
                goal = begin + found / pace.fps
                earlier = before is not None and goal - before[0] <= time - goal + 1e-6
                yield before if before is not None and earlier else (time, frame)
                found += 1
        before, number = (time, frame), number + 1
        if found == pace.num_frames:
            return
    if pace.fps is not None and before is not None and begin is not None and number > 1:
        # A clip may end half a frame after the last one: that is still the nearest.
        slack = (before[0] - begin) / (number - 1) / 2
        while found < pace.num_frames and begin + found / pace.fps <= before[0] + slack:
            yield before
            found += 1


def _read_decord(
    path: Path, pace: Pace, start: float, size: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """The same through decord, which seeks."""
    require_file(path, "video", VideoError)
    try:
        import decord
    except ImportError as cause:
        raise ConfigError(
            "backend=decord: decord is not installed here (there are wheels for Linux x86-64 "
            "only); use backend=auto"
        ) from cause
    try:
        reader = decord.VideoReader(str(path), num_threads=1)
        stamps = reader.get_frame_timestamp(np.arange(len(reader)))[:, 0].astype(np.float64)
        times = stamps - stamps[0]
        if (np.diff(times) <= 0).any():
            raise RuntimeError("its frame times do not increase")
        first = int(np.searchsorted(times, start - 1e-6))
        pace.num_starts(times[first:], name=str(path))
        indices = pace.indices(times, first)
        frames = reader.get_batch(indices).asnumpy()
    except (decord.DECORDError, RuntimeError) as cause:
        reason = " ".join(str(cause).split())[:200]
        raise VideoError(f"{path}: decord cannot read it ({reason}); use backend=auto") from cause
    if size is not None:
        pictures = (av.VideoFrame.from_ndarray(frame, format="rgb24") for frame in frames)
        frames = np.stack([to_rgb(picture, size) for picture in pictures])
    return frames, times[indices]
