"""Check the frames that decoders return, called as their users do and through `VideoReader`."""

from pathlib import Path

import numpy as np

from benchmarks.table import Grid
from benchmarks.video import READERS
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.clip import VideoReader, decode, to_rgb, video_info
from worldmodel.video.decoders import known, why_not
from worldmodel.video.decoding import Decoding

FRAMES, STRIDE = 16, 4  # of each of three clips: at the start, in the middle, at the end
AROUND = 200  # neighbours that a wrong frame is looked for among
SIDE = 64  # short side at which frames are compared, pixels


def bench(*, videos: Path) -> Grid:
    """For each file of a folder and each decoder: ok, so many wrong, or why it is refused."""
    if not videos.is_dir():
        raise ConfigError(f"--videos {videos}: is not a folder")
    problems = {name: why for name in known() if (why := why_not(name))}
    names = [name for name in known() if name != "pyav" and name not in problems]
    columns = ["file", "codec", "frames", "pyav"]
    for name in names:
        columns += [f"{name} alone", f"{name} here"]
    rows = []
    for path in sorted(videos.iterdir()):
        try:
            info = video_info(path)
        except VideoError:
            continue  # not a video
        truth = np.stack([to_rgb(frame, SIDE) for _, frame in decode(path)])
        indices = _clips(len(truth))
        row = [path.name, info.codec, str(len(truth)), _through(path, "pyav", truth, indices)]
        for name in names:
            row += [_alone(path, name, truth, indices), _through(path, name, truth, indices)]
        rows.append(row)
    rows += [[why, *[""] * (len(columns) - 1)] for why in problems.values()]
    protocol = {
        "frames": f"{FRAMES} at stride {STRIDE} at the start, in the middle and at the end",
        "truth": "the file decoded in order from its start with PyAV",
        "wrong": f"another frame within {AROUND} looks more like it, at short side {SIDE}",
    }
    command = f"python -m benchmarks decoders --videos {videos.resolve().name}"
    return Grid("decoders", command, protocol, columns, rows)


def _clips(count: int) -> np.ndarray:
    steps = STRIDE * np.arange(FRAMES)
    room = max(count - 1 - int(steps[-1]), 0)
    return np.concatenate([(start + steps).clip(max=count - 1) for start in (0, room // 2, room)])


def _through(path: Path, name: str, truth: np.ndarray, indices: np.ndarray) -> str:
    """The verdict on `VideoReader` where it is told to use this decoder."""
    try:
        reader = VideoReader(path, Decoding(short_side=SIDE, backend=name))
        frames = reader.read(indices).permute(0, 2, 3, 1).numpy()
    except VideoError as cause:
        return f"refused: {str(cause).partition('right frames (')[2].rpartition(')')[0]}"
    return _verdict(frames, truth, indices)


def _alone(path: Path, name: str, truth: np.ndarray, indices: np.ndarray) -> str:
    try:
        return _verdict(READERS[name](path, indices, truth.shape[1:3]), truth, indices)
    except Exception as cause:  # each library has errors of its own
        return f"cannot ({type(cause).__name__})"


def _verdict(frames: np.ndarray, truth: np.ndarray, indices: np.ndarray) -> str:
    wrong = 0
    for image, number in zip(frames, indices, strict=True):
        begin = max(0, number - AROUND)
        some = truth[begin : number + AROUND + 1].astype(np.int16)
        if some.shape[1:] != image.shape:
            return "another stream"
        far = np.abs(some - image.astype(np.int16)).mean((1, 2, 3))
        # Frames that look the same cannot be told apart.
        wrong += bool(far[number - begin] > far.min() + 0.25)
    return "ok" if wrong == 0 else f"**{wrong} of {len(indices)} wrong**"
