"""What is in a data set (`data inspect`), and is all of it well (`data check`).

`check` decodes every frame; `inspect` reads headers, and shows clips as a model will see them. Both
read what episodes hold beside their frames.
They look at everything they are given, in processes that may crash or hang, and list what is wrong,
be it all of it; only where there is nothing, or nothing that a format recognises, they stop.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import fields, replace
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from einops import rearrange
from rich.console import Console
from rich.table import Table

from worldmodel.datasets import find_format, open_catalogue
from worldmodel.datasets.catalogue import AllLeftOut, Item, LeftOut
from worldmodel.datasets.listing import shown
from worldmodel.datasets.our_episodes import EpisodeVideo
from worldmodel.episodes.folder import read_folder_info
from worldmodel.errors import ConfigError, EpisodeError, VideoError, WorldModelError, nearest
from worldmodel.loading.clip_reader import ClipReader, ClipRequest, ClipResult, shared_frames
from worldmodel.loading.transforms import Plain, Transforms
from worldmodel.loading.workers import WorkerPool
from worldmodel.storage.files import write_table
from worldmodel.tools.check_video import WITH_ACTIONS, Finding, Look, Looker
from worldmodel.tools.contact_sheet import Strip, write_sheet
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

ACTIONS = ("check", "inspect")
_TABLE_ROWS = 40
_BAD_ROWS = 100
Pool = WorkerPool[Look | ClipRequest, Finding | ClipResult]


def examine(
    run: "Run", *, action: str = "inspect", path: str, format: str = "auto",
    reading: Mapping[str, Any] | None = None, rows: int = 16,
    size: int = 64, num_frames: int = 6, stride: int | None = None, fps: float | None = None,
    flip: bool = True, transforms: Transforms | None = None, workers: int = 2,
    video: Decoding | None = None, seed: int = 0,
) -> dict[str, float]:  # fmt: skip
    """Look at a data set of videos or episodes.

    Writes `files.csv` with a line per video, `problems.csv` with those that are not well, and,
    for `inspect`, `sheet.png`: a clip of each of some videos as a training with the same settings
    sees it, after crop, flip and transforms.

    Args:
        run: Where the files go and progress is shown.
        action: `inspect` or `check`.
        path: What to look at: whatever `open_catalogue` knows.
        format: Its layout; `auto` looks.
        reading: Options of its format.
        rows: At most so many clips on the sheet, of videos evenly chosen.
        size: Side of the model's frames, in pixels.
        num_frames: Frames of a clip.
        stride: Frames from one frame of a clip to the next. Give `stride` or `fps`.
        fps: Frames per second of a clip.
        flip: Mirror half of the clips left to right.
        transforms: What is done to batches.
        workers: Processes that read; 0 reads here, unguarded.
        video: How files are decoded.
        seed: Of the clips on the sheet.

    Returns:
        Counts; `problems` is the number of videos that cannot be used.

    Raises:
        WorldModelError: there is nothing there, or nothing that `inspect` can read.
    """
    if action not in ACTIONS:
        raise ConfigError(f"no action '{action}' for data: {nearest(action, ACTIONS)}")
    if rows < 1:
        raise ConfigError(f"rows must be at least 1, got {rows}")
    transforms = transforms or Plain()
    items, findings = find_items(path, format, reading)
    decoding = (video or Decoding()).at(transforms.frame_size(size))
    sampling = Sampling(num_frames, stride=stride, fps=fps)
    frames = shared_frames(min(rows, max(len(items), 1)), num_frames, transforms.frame_size(size))
    clips = ClipReader(
        frames, sampling=sampling, size=transforms.frame_size(size), flip=flip, decoding=decoding
    )
    pool = Pool(Looker(decoding, clips), workers=workers, seconds=decoding.limits.seconds)
    with pool, closing(clips):
        findings += _look_at_all(run, pool, items, action)
        bad = _report(run, findings)
        if action == "inspect":
            good = _good_items(items, findings)
            if not good:
                kind = EpisodeError if _are_episodes(items) else VideoError
                raise kind(f"{shown(path)}: nothing in it can be read; the first: {bad[0].problem}")
            chosen = np.linspace(0, len(good) - 1, min(rows, len(good))).round().astype(int)
            strips = _strips(pool, [good[i] for i in chosen], seed=seed)
            images = transforms(frames.float() / 255, size=size, seed=seed, step=0)
            sheet = write_sheet(_drawn(strips, images), run.folder / "sheet.png")
            run.say(f"sheet: {sheet}")
    return _count(findings)


def find_items(
    path: str, format: str = "auto", reading: Mapping[str, Any] | None = None
) -> tuple[Sequence[Item], list[Finding]]:
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
        return [], _left_out(cause.left_out) or [Finding(shown(path), problem=str(cause))]
    except VideoError as cause:
        return [], [Finding(shown(path), problem=str(cause))]
    except EpisodeError as cause:
        if found.name != "episodes":
            return [], [Finding(shown(path), problem=str(cause))]
        files = sorted(str(file) for file in Path(path).glob("*.safetensors"))
        items = [EpisodeVideo(shown(file), file) for file in files]
        try:
            read_folder_info(Path(path))
        except EpisodeError as of_folder:
            return items, [Finding(shown(path), problem=str(of_folder))]
        if not items:
            raise
        # The folder is well: what was refused is one of its episodes, and will be found.
        return items, []


def _left_out(found: Sequence[LeftOut]) -> list[Finding]:
    return [Finding(out.name, problem=out.reason) for out in found]


def _look_at_all(run: "Run", pool: Pool, items: Sequence[Item], action: str) -> list[Finding]:
    findings = []
    tasks = (Look(item, whole=action == "check") for item in items)
    with run.progress(len(items), action) as bar:
        for task, future in pool.each(tasks, ahead=8 * max(pool.workers, 1)):
            try:
                found = future.result()
                assert isinstance(found, Finding)
                findings.append(found)
            except WorldModelError as error:
                if isinstance(error, ConfigError):
                    raise  # not the file's fault
                findings.append(Finding(task.name, problem=str(error)))
            bar.advance(1)
    return findings


def _good_items(items: Sequence[Item], findings: Sequence[Finding]) -> list[tuple[Item, Finding]]:
    own = findings[len(findings) - len(items) :]  # those before are of the whole
    return [(item, f) for item, f in zip(items, own, strict=True) if not f.problem]


def _are_episodes(items: Sequence[Item]) -> bool:
    return all(isinstance(item, EpisodeVideo) for item in items)


def _strips(pool: Pool, chosen: Sequence[tuple[Item, Finding]], *, seed: int) -> list[Strip]:
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


def _report(run: "Run", findings: Sequence[Finding]) -> list[Finding]:
    """Write the tables and say what is in them; returns what is not well."""
    bad = [finding for finding in findings if finding.problem]
    write_table(run.folder / "files.csv", Finding, findings)
    write_table(run.folder / "problems.csv", Finding, bad)
    for line in [*_table(findings).splitlines(), *(f"bad  {f.problem}" for f in bad[:_BAD_ROWS])]:
        run.say(line)
    if len(bad) > _BAD_ROWS:
        run.say(f"and {len(bad) - _BAD_ROWS} more, see {run.folder / 'problems.csv'}")
    return bad


def _count(findings: Sequence[Finding]) -> dict[str, float]:
    good = [finding for finding in findings if not finding.problem]
    return {
        "files": len(findings),
        "problems": len(findings) - len(good),
        "frames": sum(finding.frames for finding in good),
        "seconds_of_video": sum(finding.seconds for finding in good),
        "with_actions": sum(finding.codec.endswith(WITH_ACTIONS) for finding in good),
    }


def _table(findings: Sequence[Finding]) -> str:
    """The files as a table, or their kinds where there are too many to read."""
    good = [finding for finding in findings if not finding.problem]
    if not good:
        return ""
    table = Table(box=None, pad_edge=False)
    if len(good) > _TABLE_ROWS:
        for name in ("files", "codec", "size", "shortest", "longest"):
            table.add_column(name, justify="left" if name in ("codec", "size") else "right")
        kinds = Counter((f.codec, f"{f.width}x{f.height}") for f in good)
        for (codec, size), count in kinds.most_common(_TABLE_ROWS):
            seconds = [
                f.seconds for f in good if (f.codec, f"{f.width}x{f.height}") == (codec, size)
            ]
            table.add_row(str(count), codec, size, f"{min(seconds):.2f} s", f"{max(seconds):.2f} s")
    else:
        for name in ("file", "codec", "size", "frames", "seconds"):
            table.add_column(name, justify="right" if name in ("frames", "seconds") else "left")
        for f in good:
            size = f"{f.width}x{f.height}"
            table.add_row(Path(f.path).name, f.codec, size, str(f.frames), f"{f.seconds:.2f}")
    text = StringIO()
    Console(file=text, width=110).print(table)
    return text.getvalue()
