"""Speed of the parts on this machine: the `bench` verb.

Each part measures one thing and returns a `Table`. Planners and environments come in as arguments,
as everywhere in this room.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from benchmarks.decoders import bench_decoders
from benchmarks.encode import bench_encode
from benchmarks.loading import bench_loading
from benchmarks.plan import bench_plan
from benchmarks.pretrain import bench_pretrain
from benchmarks.render import bench_render
from benchmarks.sigreg import bench_sigreg
from benchmarks.table import Grid, Table
from benchmarks.video import bench_video
from worldmodel.runs.run import Run

Part = Literal["sigreg", "pretrain", "plan", "render", "encode", "video", "loading", "decoders"]


def bench(
    run: Run,
    *,
    what: Part = "sigreg",
    repeats: int = 25,
    device: str = "cpu",
    results_dir: str = "docs/results",
    videos: str | None = None,
    planner: Any,
    make_cost: Callable[..., Any],
    prepare_rendering: Callable[[], object],
    make_renderer: Callable[..., Any],
) -> dict[str, float]:
    """Measure a part; the table goes into the run's folder, and into `results_dir` if it is there.

    Args:
        run: the run that keeps the numbers.
        what: sigreg, pretrain (a training step), plan (a decision), render (frames of a world),
            encode (a clip, by a ViT-L), video (clips from files), loading (clips by number of
            workers), decoders (which frames they return).
        repeats: measurements of each number; their median and quartiles are reported.
        device: where tensors live.
        results_dir: the tables that the documentation shows; ignored where there is no such folder.
        videos: the folder of files that `video`, `loading` and `decoders` read.
        planner: what `plan` measures.
        make_cost: makes the cost that it plans for, from a goal state.
        prepare_rendering: chooses how OpenGL works here, before anything is rendered.
        make_renderer: what `render` compares with the renderer that MuJoCo brings.

    Returns:
        The rows by name, each with its count and quartiles.
    """
    table: Table | Grid
    if what == "plan":
        table = bench_plan(planner, make_cost, repeats=repeats, device=device)
    elif what == "render":
        prepare_rendering()
        table = bench_render(make_renderer, repeats=repeats)
    elif what == "decoders":
        table = bench_decoders(videos=videos)
    elif what in ("video", "loading"):
        part = {"video": bench_video, "loading": bench_loading}[what]
        table = part(videos=videos, repeats=repeats, device=device)
    else:
        speed = {"sigreg": bench_sigreg, "pretrain": bench_pretrain, "encode": bench_encode}[what]
        table = speed(repeats=repeats, device=device)
    folders = [run.folder] + [Path(results_dir)] * Path(results_dir).is_dir()
    for folder in folders:
        table.write(folder / f"{table.name}.json", device=device)
    return table.results()
