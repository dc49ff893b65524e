"""How fast clips are read from files, beside the libraries as their documentation calls them."""

import importlib
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from benchmarks.measure import time_in_rounds
from benchmarks.table import Row, Table
from worldmodel.errors import ConfigError
from worldmodel.video.clip import VideoReader, video_info
from worldmodel.video.decoders import why_not
from worldmodel.video.decoding import Decoding
from worldmodel.video.rgb import scaled

FILES = ("bigbuckbunny.mp4", "bikes.mp4", "vtest.avi")
SIZES = (112, 224)  # short side, pixels
FRAMES, STRIDE = 16, 4  # of a clip
CLIPS = 8  # from one file, in order
FRESH_BAR, SHARED_BAR = 1.15, 1.5

Size = tuple[int, int]  # height, width
Read = Callable[[Path, np.ndarray, Size], Any]  # gives frames t h w c


def ours(path: Path, indices: np.ndarray, size: Size) -> Any:
    """A reader for one clip; gives frames t c h w."""
    reader = VideoReader(path, Decoding(short_side=min(size)))
    frames = reader.read(indices)
    reader.close()
    return frames


def by_decord(path: Path, indices: np.ndarray, size: Size) -> Any:
    """As decord's documentation shows, resized by the reader."""
    decord = importlib.import_module("decord")
    decord.logging.set_level(decord.logging.QUIET)
    return decord.VideoReader(str(path), width=size[1], height=size[0]).get_batch(indices).asnumpy()


def by_torchcodec(path: Path, indices: np.ndarray, size: Size) -> Any:
    """As torchcodec's documentation shows, resized by the decoder."""
    decoders: Any = importlib.import_module("torchcodec.decoders")
    transforms: Any = importlib.import_module("torchcodec.transforms")
    decoder = decoders.VideoDecoder(str(path), transforms=[transforms.Resize(size)])
    return decoder.get_frames_at(indices.tolist()).data.permute(0, 2, 3, 1).numpy()


def by_pyav(path: Path, indices: np.ndarray, size: Size) -> Any:
    """Decoding in order from the start, keeping what is asked for."""
    wanted, images = set(indices.tolist()), []
    with av.open(str(path)) as container:
        container.streams.video[0].thread_type = "AUTO"
        for number, frame in enumerate(container.decode(video=0)):
            if number in wanted:
                small = frame.reformat(size[1], size[0], format="rgb24")
                images.append(small.to_ndarray())
            if number == indices[-1]:
                break
    return np.stack(images)


READERS: dict[str, Read] = {"pyav": by_pyav, "decord": by_decord, "torchcodec": by_torchcodec}


def bench(*, videos: Path, repeats: int = 25) -> Table:
    """One clip from a file that is opened for it, and several clips from one file.

    Args:
        videos: The folder that the files are in.
        repeats: Rounds; in each, all libraries read the same clip, in turn.
    """
    require_files(videos)
    problems = {name: why for name in READERS if (why := why_not(name))}
    readers = {name: read for name, read in READERS.items() if name not in problems}
    rows = [
        row
        for file in FILES
        for side in SIZES
        for row in _rows(videos / file, side, readers, repeats=repeats)
    ]
    rows += [Row.unmeasured(name, why) for name, why in problems.items()]
    protocol = {
        "frames": FRAMES,
        "stride": STRIDE,
        "clips": CLIPS,
        "libraries": sorted(readers),
        "fresh": "one clip at a random place from a file opened for it; ratio to the library with "
        "the lowest median, round by round",
        "shared": "several clips from one reader, each frame decoded once, against that library "
        "opening the file for each",
    }
    # Documents show no machine's paths.
    command = f"python -m benchmarks video --videos {videos.resolve().name}"
    return Table("speed-video", command, protocol, rows)


def require_files(videos: Path) -> None:
    """Ask for the files that are measured.

    Raises:
        ConfigError: one of them is not in the folder.
    """
    missing = [file for file in FILES if not (videos / file).is_file()]
    if missing:
        raise ConfigError(f"--videos {videos}: the folder has to hold {', '.join(FILES)}; "
                          f"missing: {', '.join(missing)}")  # fmt: skip


def _rows(path: Path, side: int, readers: Mapping[str, Read], *, repeats: int) -> list[Row]:
    info = video_info(path)
    size = scaled(info.height, info.width, side)
    random = np.random.default_rng(0)
    steps = STRIDE * np.arange(FRAMES)
    last = info.frames - steps[-1]
    starts = random.integers(last, size=repeats + 1)

    times = time_in_rounds(
        {"ours": ours, **readers}, [(path, start + steps, size) for start in starts]
    )
    fastest = min(readers, key=lambda name: median(times[name]))
    ratio = [a / b for a, b in zip(times["ours"], times[fastest], strict=True)]

    def shared(path: Path, indices: np.ndarray, size: Size) -> None:
        reader = VideoReader(path, Decoding(short_side=min(size)))
        reader.read_clips(list(indices))
        reader.close()

    def each(path: Path, indices: np.ndarray, size: Size) -> None:
        for clip in indices:
            readers[fastest](path, clip, size)

    several = [
        (path, np.sort(random.integers(last, size=CLIPS))[:, None] + steps, size)
        for _ in range(max(repeats // 3, 2) + 1)
    ]
    both = time_in_rounds({"shared": shared, "each": each}, several)
    speedup = [a / b for a, b in zip(both["each"], both["shared"], strict=True)]
    key = f"{path.stem}.{side}"
    return [
        *(Row.median(f"{key}.fresh.{k}_ms", [1e3 * s for s in v]) for k, v in times.items()),
        Row.median(f"{key}.fresh.ratio", ratio, bar=FRESH_BAR, at_least=False),
        Row.median(f"{key}.shared.ms", [1e3 * s for s in both["shared"]]),
        Row.median(f"{key}.shared.speedup", speedup, bar=SHARED_BAR),
    ]
