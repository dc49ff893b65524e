"""How fast clips are streamed from files, by the number of workers; and how long a step waits."""

import tempfile
import time
from pathlib import Path

from benchmarks.table import Row, Table
from benchmarks.video import FILES, require_files
from worldmodel.cli.runner import run_verb
from worldmodel.loading.sources import VideoFiles
from worldmodel.runs.run import read_log

WORKERS = (0, 1, 2)
SIDE, FRAMES, BATCH = 112, 16, 16
STEPS = 6  # timed, after one that is not
TRAININGS = {  # that read by two workers: steps, and what is said beside the defaults
    "small_112": (12, ("model=small", "model.size=112", "num_frames=16", "batch=8")),
    "tiny_64": (40, ()),
}
WAIT = 0.05  # of a step's time, at most


def bench(*, videos: Path, repeats: int = 5) -> Table:
    """Clips a second, with nothing else to do than to load them.

    Args:
        videos: The folder that the files are in.
        repeats: Rounds; in each, all numbers of workers take their turn.
    """
    require_files(videos)
    rates: dict[int, list[float]] = {workers: [] for workers in WORKERS}
    with tempfile.TemporaryDirectory() as place:
        manifest = Path(place) / "videos.csv"
        manifest.write_text("".join(f"{(videos / file).resolve()}\n" for file in FILES))
        for seed in range(repeats):
            for workers in WORKERS:
                rates[workers].append(_clips_a_second(manifest, workers, seed))
        waits = {name: _waits(name, manifest, Path(place)) for name in TRAININGS}
    rows = [Row.median(f"workers_{n}.clips_per_s", values) for n, values in rates.items()]
    for n in WORKERS[1:]:
        gain = [a / b for a, b in zip(rates[n], rates[0], strict=True)]
        rows.append(Row.median(f"workers_{n}.speedup", gain))
    rows += [Row.median(f"{n}.data_wait", w, bar=WAIT, at_least=False) for n, w in waits.items()]
    protocol = {
        "trainings": {name: [steps, *words] for name, (steps, words) in TRAININGS.items()},
        "files": list(FILES),
        "short_side": SIDE,
        "frames": FRAMES,
        "batch": BATCH,
        "batches": STEPS,
        "clips_per_video": 1,
    }
    command = f"python -m benchmarks loading --videos {videos.resolve().name}"
    return Table("speed-loading", command, protocol, rows)


def _clips_a_second(manifest: Path, workers: int, seed: int) -> float:
    """Of several batches, after a first one that starts the workers and opens the files."""
    clip_source = VideoFiles(str(manifest), preload=False, workers=workers, clips_per_video=1)
    clips = clip_source.open(size=SIDE, num_frames=FRAMES, progress=lambda *done: None)
    try:
        clips.sample(0, BATCH, seed=seed)
        begin = time.perf_counter()
        for step in range(1, STEPS + 1):
            clips.sample(step, BATCH, seed=seed)
        return STEPS * BATCH / (time.perf_counter() - begin)
    finally:
        clips.close()


def _waits(name: str, manifest: Path, place: Path) -> list[float]:
    """The share of its time that each step but the first waited for clips, in one training."""
    steps, words = TRAININGS[name]
    run_verb(
        "pretrain",
        ["recipe=tube_sigreg", f"data.path={manifest}", "data.workers=2", "data.preload=false",
         f"optimisation.steps={steps}", "optimisation.log_every=1", *words],
        runs_dir=place, name=name,
    )  # fmt: skip
    return [line["data_wait"] for line in read_log(place / "pretrain" / name)[1:]]
