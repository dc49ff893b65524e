"""Video files as a data set: found in a folder or a manifest, decoded once, kept small.

Every video is decoded from beginning to end when the folder is opened, so each one that is there
is known to be readable, with the exact number and times of its frames.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from einops import rearrange
from torch import Tensor

from worldmodel.data.catalogue import VideoSource
from worldmodel.data.clips import ClipDataset, MemoryVideo
from worldmodel.data.files import require_file
from worldmodel.data.pace import Pace
from worldmodel.data.video import decode, to_rgb
from worldmodel.errors import ConfigError, VideoError, nearest

EXTENSIONS = frozenset(
    ".3gp .avi .flv .gif .m4v .mkv .mov .mp4 .mpeg .mpg .ogv .ts .webm .wmv".split()
)
MANIFESTS = frozenset({".csv", ".txt"})
ON_BAD_VIDEO = ("error", "skip")


@dataclass(frozen=True)
class Skipped:
    """A video that was left out, and why."""

    path: str
    reason: str


def find_videos(path: str | Path) -> list[Path]:
    """The videos that a path stands for, in a fixed order; they need not be readable.

    A folder stands for all files below it that are named like a video; a `.csv` or `.txt` file
    for the paths in its lines, each with a class number after it or not; another file for itself.

    Raises:
        VideoError: there is nothing there, or no video among it.
    """
    return [video for video, _ in _find(Path(path))]


def _find(path: Path) -> list[tuple[Path, str]]:
    """The videos, each with where a manifest names it, for messages; empty without one."""
    if not path.is_dir():
        manifest = path.suffix.lower() in MANIFESTS
        require_file(path, "manifest of videos" if manifest else "video", VideoError)
        return _read_manifest(path) if manifest else [(path, "")]
    found = sorted(p for p in path.rglob("*") if p.suffix.lower() in EXTENSIONS)
    if not found:
        others = sum(1 for p in path.rglob("*") if p.is_file())
        raise VideoError(
            f"{path}: holds no video ({others} other files); looked for "
            f"{' '.join(sorted(EXTENSIONS))}, or name a manifest (.csv, .txt) of paths"
        )
    return [(video, "") for video in found]


def _read_manifest(path: Path) -> list[tuple[Path, str]]:
    """Paths, taken from the manifest's folder where they are relative; labels are not used."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError as cause:
        raise VideoError(
            f"{path}: is not a text file; a manifest has the path of a video in each line"
        ) from cause
    entries = [
        (path.parent / _without_label(line.strip()), f" ({path}, line {number})")
        for number, line in enumerate(lines, start=1)
        if line.strip()
    ]
    if not entries:
        raise VideoError(f"{path}: names no video; write the path of a video in each line")
    return entries


def _without_label(line: str) -> str:
    """`a b.mp4 7`, `a b.mp4,7` and `a b.mp4` all name `a b.mp4`."""
    name, _, label = line.replace(",", " ").rpartition(" ")
    return line[: len(name.rstrip())] if name and label.lstrip("-").isdigit() else line


class FileVideo(VideoSource):
    """A video that is decoded again for every clip, from its start: right, and slow.

    Args:
        path: The file.
        times: `t`, seconds, of all its frames.
        short_side: Frames are resized to it.
    """

    def __init__(self, path: Path, times: np.ndarray, short_side: int) -> None:
        self.name = str(path)
        self.num_frames = len(times)
        self._path = path
        self._times = times
        self._short_side = short_side

    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these numbers."""
        wanted = set(indices.tolist())
        found: dict[int, np.ndarray] = {}
        for number, (_, frame) in enumerate(decode(self._path)):
            if number in wanted:
                found[number] = to_rgb(frame, self._short_side)
                if len(found) == len(wanted):
                    return _stack([found[i] for i in indices.tolist()])
        raise VideoError(
            f"{self._path}: has become shorter since it was opened; do not change videos in use"
        )

    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame at these numbers."""
        return self._times[indices]


class VideoFolder(Sequence[VideoSource]):
    """The videos of a folder, a manifest or one file, ready to draw clips from.

    Args:
        path: See `find_videos`.
        size: Short side of the frames, in pixels.
        num_frames: Frames of a clip: a video that is too short for one is a bad video.
        stride: Frames from one frame of a clip to the next. Give `stride` or `fps`.
        fps: Frames per second of the clips.
        on_bad_video: `error` stops at the first bad video, `skip` lists it in `skipped`.
        cache_mib: Frames are kept in memory, as uint8, up to this; videos that do not fit any more
            are decoded again for every clip.
        progress: Called with the number of videos opened so far and of all.

    Raises:
        VideoError: a video is bad and `on_bad_video` is `error`, or all of them are.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        size: int,
        num_frames: int,
        stride: int | None = None,
        fps: float | None = None,
        on_bad_video: str = "error",
        cache_mib: float = 2048,
        progress: Callable[[int, int], None] | None = None,
    ) -> None:
        if on_bad_video not in ON_BAD_VIDEO:
            hint = nearest(on_bad_video, ON_BAD_VIDEO)
            raise ConfigError(f"on_bad_video must be error or skip, got '{on_bad_video}': {hint}")
        self.pace = Pace(num_frames, stride=stride, fps=fps)
        self.size = size
        self.skipped: list[Skipped] = []
        self._videos: list[VideoSource] = []
        self._room = int(cache_mib * 2**20)  # bytes
        found = _find(Path(path))
        for number, (file, origin) in enumerate(found, start=1):
            try:
                self._videos.append(self._open(file))
            except VideoError as cause:
                if on_bad_video == "error":
                    raise VideoError(f"{cause}{origin}") from cause
                self.skipped.append(Skipped(str(file), f"{cause}{origin}"))
            if progress:
                progress(number, len(found))
        if not self._videos:
            raise VideoError(
                f"{path}: all {len(found)} videos are bad, nothing is left to read; the first: "
                f"{self.skipped[0].reason}"
            )

    def __len__(self) -> int:
        return len(self._videos)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as Sequence has it
        return self._videos[index]

    def __iter__(self) -> Iterator[VideoSource]:
        return iter(self._videos)

    def clips(self, *, flip: bool = False) -> ClipDataset:
        """Square clips of `size` pixels at the pace that the folder was opened with."""
        return ClipDataset(
            self,
            num_frames=self.pace.num_frames,
            stride=None if self.pace.fps else self.pace.stride,
            fps=self.pace.fps,
            size=self.size,
            flip=flip,
        )

    def _open(self, path: Path) -> VideoSource:
        times: list[float] = []
        pictures: list[np.ndarray] = []
        room, fits = self._room, True
        for time, frame in decode(path):
            times.append(time)
            if not fits:
                continue
            pictures.append(to_rgb(frame, self.size))
            room -= pictures[-1].nbytes
            if room < 0:
                fits = False
                pictures.clear()
        all_times = np.array(times)
        self.pace.num_starts(all_times, name=str(path))
        if not fits:
            return FileVideo(path, all_times, self.size)
        self._room = room
        return MemoryVideo(str(path), _stack(pictures), torch.from_numpy(all_times))


def _stack(pictures: Sequence[np.ndarray]) -> Tensor:
    """Pictures `h w c` as one tensor `t c h w`, uint8."""
    frames = torch.from_numpy(np.stack(pictures))
    return rearrange(frames, "t h w c -> t c h w").contiguous()
