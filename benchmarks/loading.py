"""Clips that reach a training from files that do not fit in memory, by the number of workers."""

import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, Table
from benchmarks.video import FILES, folder_of, shown_folder
from worldmodel.errors import ConfigError
from worldmodel.loading.sources import VideoFiles

WORKERS = (0, 1, 2)
SIDE, FRAMES, BATCH = 112, 16, 16
STEPS = 6  # timed, after one that is not


def bench_loading(*, videos: str | None, repeats: int, device: str) -> Table:
    """Clips a second, with nothing else to do than to load them.

    Args:
        videos: The folder that the files are in.
        repeats: A fifth of it are rounds; in each, all numbers of workers take their turn.
        device: Where frames are decoded; only `cpu`.
    """
    folder = folder_of("loading", videos)
    if device != "cpu":
        raise ConfigError(f"bench loading measures decoding on the cpu, got device={device}")
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as place:
        manifest = Path(place) / "videos.csv"
        manifest.write_text("".join(f"{(folder / file).resolve()}\n" for file in FILES))
        for seed in range(max(repeats // 5, 2)):
            for workers in WORKERS:
                rates[workers].append(_clips_a_second(manifest, workers, seed))
    rows = [Row.median(f"workers_{n}.clips_per_s", values) for n, values in rates.items()]
    for n in WORKERS[1:]:
        gain = [a / b for a, b in zip(rates[n], rates[0], strict=True)]
        rows.append(Row.median(f"workers_{n}.speedup", gain))
    protocol = {
        "files": list(FILES),
        "short_side": SIDE,
        "frames": FRAMES,
        "batch": BATCH,
        "batches": STEPS,
        "clips_per_video": 1,
    }
    command = f"worldmodel bench loading videos={shown_folder(folder)}"
    return Table("speed-loading", command, protocol, rows)


def _clips_a_second(manifest: Path, workers: int, seed: int) -> float:
    """Of several batches, after a first one that starts the workers and opens the files."""
    clip_source = VideoFiles(str(manifest), preload=False, workers=workers)
    clips = clip_source.open(size=SIDE, num_frames=FRAMES, progress=lambda *done: None)
    try:
        clips.sample(0, BATCH, seed=seed)
        begin = time.perf_counter()
        for step in range(1, STEPS + 1):
            clips.sample(step, BATCH, seed=seed)
        return STEPS * BATCH / (time.perf_counter() - begin)
    finally:
        clips.close()
