"""Reading clips from video files, against the libraries as their users call them."""

import importlib
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import av
import numpy as np

from benchmarks.table import Row, Table
from worldmodel.errors import ConfigError
from worldmodel.video.decoders import why_not
from worldmodel.video.decoding import Decoding
from worldmodel.video.open import VideoReader, video_info
from worldmodel.video.rgb import scaled

FILES = ("bigbuckbunny.mp4", "bikes.mp4", "vtest.avi")
SIZES = (112, 224)  # short side, pixels
FRAMES, STRIDE = 16, 4  # of a clip
CLIPS = 8  # from one file, in order
FRESH_BAR, SHARED_BAR = 1.15, 1.5

Size = tuple[int, int]  # height, width
Read = Callable[[Path, np.ndarray, Size], Any]


def ours(path: Path, indices: np.ndarray, size: Size) -> Any:
    """A reader for one clip."""
    reader = VideoReader(path, Decoding(short_side=min(size)))
    frames = reader.read(indices)
    reader.close()
    return frames


def by_decord(path: Path, indices: np.ndarray, size: Size) -> Any:
    """What decord's documentation shows, resized by the reader."""
    decord = importlib.import_module("decord")
    return decord.VideoReader(str(path), width=size[1], height=size[0]).get_batch(indices).asnumpy()


def by_torchcodec(path: Path, indices: np.ndarray, size: Size) -> Any:
    """What torchcodec's documentation shows, resized by the decoder."""
    decoders: Any = importlib.import_module("torchcodec.decoders")
    transforms: Any = importlib.import_module("torchcodec.transforms")
    decoder = decoders.VideoDecoder(str(path), transforms=[transforms.Resize(size)])
    return decoder.get_frames_at(indices.tolist()).data


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


def bench_video(*, videos: str | None, repeats: int, device: str) -> Table:
    """One clip from a file that is opened for it, and several clips from one file.

    Args:
        videos: The folder that the files are in.
        repeats: Rounds; in each, all libraries read the same clip, in turn.
        device: Where frames are decoded; only `cpu`.
    """
    folder = folder_of("video", videos)
    if device != "cpu":
        raise ConfigError(f"bench video measures decoding on the cpu, got device={device}")
    readers: dict[str, Read] = {"pyav": by_pyav}
    for name, read in (("decord", by_decord), ("torchcodec", by_torchcodec)):
        if why_not(name) is None:
            readers[name] = read
    rows: list[Row] = []
    for file in FILES:
        path = folder / file
        for side in SIZES:
            rows += _rows(path, side, readers, repeats=repeats)
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
    return Table(
        "speed-video", f"worldmodel bench video videos={shown_folder(folder)}", protocol, rows
    )


def folder_of(part: str, videos: str | None) -> Path:
    """The folder of the files.

    Raises:
        ConfigError: none is named, or one of them is not in it.
    """
    missing = [f for f in FILES if videos is None or not (Path(videos) / f).is_file()]
    if videos is None or missing:
        raise ConfigError(f"bench {part} needs videos=FOLDER with {', '.join(FILES)}; got {videos}")
    return Path(videos)


def shown_folder(folder: Path) -> str:
    """No machine's paths in documents."""
    return folder.name


def _rows(path: Path, side: int, readers: Mapping[str, Read], *, repeats: int) -> list[Row]:
    info = video_info(path)
    size = scaled(info.height, info.width, side)
    random = np.random.default_rng(0)
    steps = STRIDE * np.arange(FRAMES)
    last = info.frames - steps[-1]
    starts = random.integers(last, size=repeats + 1)

    times = _in_turn({"ours": ours, **readers}, [(path, start + steps, size) for start in starts])
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
    both = _in_turn({"shared": shared, "each": each}, several)
    speedup = [a / b for a, b in zip(both["each"], both["shared"], strict=True)]
    key = f"{path.stem}.{side}"
    return [
        *(Row.median(f"{key}.fresh.{k}_ms", [1e3 * s for s in v]) for k, v in times.items()),
        Row.median(f"{key}.fresh.ratio", ratio, bar=FRESH_BAR, at_least=False),
        Row.median(f"{key}.shared.ms", [1e3 * s for s in both["shared"]]),
        Row.median(f"{key}.shared.speedup", speedup, bar=SHARED_BAR),
    ]


def _in_turn(
    functions: Mapping[str, Callable[..., Any]], rounds: Sequence[tuple[Any, ...]]
) -> dict[str, list[float]]:
    """Seconds of each function in each round, all with the same arguments; one more to warm up."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for number, arguments in enumerate(rounds):
        for name, function in functions.items():
            start = time.perf_counter()
            function(*arguments)
            if number:
                times[name].append(time.perf_counter() - start)
    return times
