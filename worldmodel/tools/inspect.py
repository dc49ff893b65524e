"""Summarise a data set (`data inspect`), or decode all of it and list what fails (`data check`).

`inspect` reads headers, and draws clips as a model will see them; `check` decodes every frame. Both
read what episodes hold beside their frames. Files are read in processes that may crash or hang, and
what is wrong with a file is listed; only where there is nothing, or nothing that a format
recognises, is it an error.
"""

from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, fields, replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from rich.console import Console
from rich.table import Table

from worldmodel.datasets import find_format, open_catalogue
from worldmodel.datasets.catalogue import AllLeftOut, Item, LeftOut
from worldmodel.datasets.our_episodes import EpisodeVideo
from worldmodel.episodes.folder import read_folder_info
from worldmodel.errors import (
    ConfigError,
    EpisodeError,
    VideoError,
    WorldModelError,
    printable,
)
from worldmodel.loading.clip_reader import ClipReader, ClipRequest, ClipResult, shared_frames
from worldmodel.loading.transforms import Plain, Transforms
from worldmodel.loading.workers import WorkerPool
from worldmodel.runs.run import Run
from worldmodel.storage.files import write_table
from worldmodel.tools.check_video import WITH_ACTIONS, SummaryRequest, VideoChecker, VideoSummary
from worldmodel.tools.contact_sheet import Strip, write_sheet
from worldmodel.video.decoding import Decoding
from worldmodel.video.reader import require_backend
from worldmodel.video.sampling import Sampling

_TABLE_ROWS = 40
_BAD_ROWS = 100
Pool = WorkerPool[SummaryRequest | ClipRequest, VideoSummary | ClipResult]


@dataclass(frozen=True)
class Sheet:
    """The clips that `data inspect` draws.

    Attributes:
        rows: At most so many clips, of videos evenly chosen.
        size: Side of the model's frames, in pixels.
        num_frames: Frames of a clip.
        stride: Frames from one frame of a clip to the next. Give `stride` or `fps`.
        fps: Frames per second of a clip.
        flip: Mirror half of the clips left to right.
    """

    rows: int = 16
    size: int = 64
    num_frames: int = 4
    stride: int | None = None
    fps: float | None = None
    flip: bool = True

    def __post_init__(self) -> None:
        """Check the rows; the other values are checked by what takes the clips."""
        if self.rows < 1:
            raise ConfigError(f"rows must be at least 1, got {self.rows}")


_SHEET = Sheet()


def check(
    run: Run,
    *,
    path: str,
    format: str = "auto",
    reading: Mapping[str, Any] | None = None,
    workers: int = 2,
    video: Decoding | None = None,
) -> dict[str, float]:
    """Decode every frame of a data set of videos or episodes, and list what fails.

    Writes `files.csv` with a line per video, and `problems.csv` with those that cannot be used.

    Args:
        run: Where the files go and progress is shown.
        path: A folder of videos, a manifest, shards, episodes, ... or one file.
        format: Its layout; `auto` looks.
        reading: Options of its format, for example `{camera: top}`.
        workers: Processes that read; 0 reads in this process, where a crash ends all.
        video: How files are decoded.

    Returns:
        Counts; with `problems` above 0 the command line says that something is wrong.

    Raises:
        WorldModelError: there is nothing there.
    """
    decoding = video or Decoding()
    require_backend(decoding.backend)  # said here, not by each process
    items, summaries = find_items(path, format, reading)
    with Pool(VideoChecker(decoding), workers=workers, seconds=decoding.limits.seconds) as pool:
        summaries += _summarise(run, pool, items, decode_all=True)
    _report(run, summaries)
    return _count(summaries)


def inspect(
    run: Run,
    *,
    path: str,
    format: str = "auto",
    reading: Mapping[str, Any] | None = None,
    sheet: Sheet = _SHEET,
    transforms: Transforms | None = None,
    workers: int = 2,
    video: Decoding | None = None,
) -> dict[str, float]:
    """Summarise a data set of videos or episodes, and draw clips of it.

    Writes `files.csv` with a line per video, `problems.csv` with those that cannot be used, and
    `sheet.png`: a clip of each of some videos as a training with the same settings sees it, after
    crop, flip and transforms.

    Args:
        run: Where the files go and progress is shown.
        path: A folder of videos, a manifest, shards, episodes, ... or one file.
        format: Its layout; `auto` looks.
        reading: Options of its format, for example `{camera: top}`.
        sheet: The clips that are drawn.
        transforms: What is done to them, as in `pretrain`.
        workers: Processes that read; 0 reads in this process, where a crash ends all.
        video: How files are decoded.

    Returns:
        Counts, as `check`.

    Raises:
        WorldModelError: there is nothing there, or nothing that can be read.
    """
    transforms = transforms or Plain()
    size = transforms.frame_size(sheet.size)
    decoding = (video or Decoding()).at(size)
    require_backend(decoding.backend)  # said here, not by each process
    items, summaries = find_items(path, format, reading)
    frames = shared_frames(min(sheet.rows, max(len(items), 1)), sheet.num_frames, size)
    sampling = Sampling(sheet.num_frames, stride=sheet.stride, fps=sheet.fps)
    clips = ClipReader(frames, sampling=sampling, size=size, flip=sheet.flip, decoding=decoding)
    checker = VideoChecker(decoding, clips)
    with Pool(checker, workers=workers, seconds=decoding.limits.seconds) as pool, closing(clips):
        summaries += _summarise(run, pool, items, decode_all=False)
        bad = _report(run, summaries)
        good = _good_items(items, summaries)
        if not good:
            are_episodes = all(isinstance(item, EpisodeVideo) for item in items)
            kind = EpisodeError if are_episodes else VideoError
            raise kind(f"{path}: nothing in it can be read; the first: {bad[0].problem}")
        chosen = np.linspace(0, len(good) - 1, min(sheet.rows, len(good))).round().astype(int)
        strips = _strips(pool, [good[i] for i in chosen], seed=run.seed)
        images = transforms(frames.float() / 255, size=sheet.size, seed=run.seed, step=0)
        drawn = write_sheet(_drawn(strips, images), run.folder / "sheet.png")
        run.say(f"sheet: {drawn}")
    return _count(summaries)


def find_items(
    path: str, format: str = "auto", reading: Mapping[str, Any] | None = None
) -> tuple[Sequence[Item], list[VideoSummary]]:
    """The videos of a data set, and what is wrong with the whole of it or is left out of it.

    What a format can leave out is left out, unless `reading` says what to do with it. A folder of
    episodes that is not complete still has episodes that can be looked at.

    Raises:
        WorldModelError: there is nothing, or nothing that a format recognises.
    """
    options = dict(reading or {})
    found = find_format(path, format=format, **options)
    if "on_bad" in (field.name for field in fields(found)):  # type: ignore[arg-type]
        options = {"on_bad": "skip"} | options
    try:
        catalogue = open_catalogue(path, format=found.name, **options)
        return catalogue, _left_out(catalogue.left_out)
    except AllLeftOut as cause:
        return [], _left_out(cause.left_out) or [VideoSummary(printable(path), problem=str(cause))]
    except VideoError as cause:
        return [], [VideoSummary(printable(path), problem=str(cause))]
    except EpisodeError as cause:
        if found.name != "episodes":
            return [], [VideoSummary(printable(path), problem=str(cause))]
        files = sorted(str(file) for file in Path(path).glob("*.safetensors"))
        items = [EpisodeVideo(printable(file), file) for file in files]
        try:
            read_folder_info(Path(path))
        except EpisodeError as of_folder:
            return items, [VideoSummary(printable(path), problem=str(of_folder))]
        if not items:
            raise
        # The folder itself is complete: one of its episodes was refused, and will be found.
        return items, []


def _left_out(found: Sequence[LeftOut]) -> list[VideoSummary]:
    return [VideoSummary(out.name, problem=out.reason) for out in found]


def _summarise(
    run: Run, pool: Pool, items: Sequence[Item], *, decode_all: bool
) -> list[VideoSummary]:
    summaries = []
    tasks = (SummaryRequest(item, decode_all) for item in items)
    with run.progress(len(items), "check" if decode_all else "inspect") as bar:
        for task, future in pool.each(tasks, ahead=8 * max(pool.workers, 1)):
            try:
                summary = future.result()
                assert isinstance(summary, VideoSummary)
                summaries.append(summary)
            except WorldModelError as error:
                if isinstance(error, ConfigError):
                    raise  # not the file's fault
                summaries.append(VideoSummary(task.name, problem=str(error)))
            bar.advance(1)
    return summaries


def _good_items(
    items: Sequence[Item], summaries: Sequence[VideoSummary]
) -> list[tuple[Item, VideoSummary]]:
    own = summaries[len(summaries) - len(items) :]  # those before are of the whole
    return [(item, f) for item, f in zip(items, own, strict=True) if not f.problem]


def _strips(pool: Pool, chosen: Sequence[tuple[Item, VideoSummary]], *, seed: int) -> list[Strip]:
    """Captions and times of a clip of each, whose frames are then in the buffer.

    A video that no clip can be taken of has no times, and the reason as its caption.
    """
    draws = (ClipRequest(item, seed, row, 1, row) for row, (item, _) in enumerate(chosen))
    strips = []
    for (_, found), (_, future) in zip(chosen, pool.each(draws), strict=True):
        error = future.exception()
        if isinstance(error, WorldModelError) and not isinstance(error, ConfigError):
            strips.append(Strip(str(error), [], []))
            continue
        taken = future.result()
        assert isinstance(taken, ClipResult)
        caption = (
            f"{taken.origins[0].name}   {found.codec} {found.width}x{found.height}, "
            f"{found.frames} frames, {found.seconds:.1f} s"
        )
        strips.append(Strip(caption, [], taken.times[0].tolist()))
    return strips


def _drawn(strips: Sequence[Strip], frames: torch.Tensor) -> list[Strip]:
    """The strips with their images, from frames `b t c h w` in [0, 1]."""
    pixels = rearrange((frames * 255).round().byte(), "b t c h w -> b t h w c").numpy()
    return [
        replace(strip, images=list(images) if strip.times else [])
        for strip, images in zip(strips, pixels, strict=False)
    ]


def _report(run: Run, summaries: Sequence[VideoSummary]) -> list[VideoSummary]:
    """Write the tables and say what is in them; returns those with a problem."""
    bad = [summary for summary in summaries if summary.problem]
    write_table(run.folder / "files.csv", VideoSummary, summaries)
    write_table(run.folder / "problems.csv", VideoSummary, bad)
    for line in [*_table(summaries).splitlines(), *(f"bad  {f.problem}" for f in bad[:_BAD_ROWS])]:
        run.say(line)
    if len(bad) > _BAD_ROWS:
        run.say(f"and {len(bad) - _BAD_ROWS} more, see {run.folder / 'problems.csv'}")
    return bad


def _count(summaries: Sequence[VideoSummary]) -> dict[str, float]:
    good = [summary for summary in summaries if not summary.problem]
    return {
        "files": len(summaries),
        "problems": len(summaries) - len(good),
        "frames": sum(summary.frames for summary in good),
        "seconds_of_video": sum(summary.seconds for summary in good),
        "with_actions": sum(summary.codec.endswith(WITH_ACTIONS) for summary in good),
    }


def _table(summaries: Sequence[VideoSummary]) -> str:
    """The files as a table, or their kinds where there are too many to read."""
    good = [summary for summary in summaries if not summary.problem]
    if not good:
        return ""
    table = Table(box=None, pad_edge=False)
    names = ("file", "codec", "size", "frames", "seconds")
    if len(good) > _TABLE_ROWS:
        names = ("files", "codec", "size", "shortest", "longest")
    for name in names:
        table.add_column(name, justify="left" if name in ("file", "codec", "size") else "right")
    if len(good) > _TABLE_ROWS:
        kinds: dict[tuple[str, str], list[float]] = {}
        for f in good:
            kinds.setdefault((f.codec, f"{f.width}x{f.height}"), []).append(f.seconds)
        most = sorted(kinds.items(), key=lambda kind: -len(kind[1]))[:_TABLE_ROWS]
        for (codec, size), s in most:
            table.add_row(str(len(s)), codec, size, f"{min(s):.2f} s", f"{max(s):.2f} s")
    else:
        for f in good:
            size = f"{f.width}x{f.height}"
            table.add_row(Path(f.path).name, f.codec, size, str(f.frames), f"{f.seconds:.2f}")
    text = StringIO()
    Console(file=text, width=110).print(table)
    return text.getvalue()
