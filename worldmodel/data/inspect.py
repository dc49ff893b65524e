"""The verb `data`: what is in videos or episodes (`inspect`), and is all of it well (`check`).

`check` decodes every frame; `inspect` reads headers and a few pictures. Both look at everything
they are given, list what is wrong, and stop at nothing but an empty place.
"""

from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from worldmodel.data.episodes import Episode, read_episode, read_folder_info
from worldmodel.data.files import write_table
from worldmodel.data.sheet import Strip, write_sheet
from worldmodel.data.video import decode, to_rgb, video_info
from worldmodel.errors import ConfigError, EpisodeError, VideoError, nearest

if TYPE_CHECKING:
    from worldmodel.run import Run

ACTIONS = ("check", "inspect")
_TABLE_ROWS = 40


@dataclass(frozen=True)
class Finding:
    """What was found about one file."""

    path: str
    codec: str = ""  # of episodes: "episode", and "with actions" where it has them
    width: int = 0  # pixels
    height: int = 0
    frames: int = 0
    seconds: float = 0.0
    problem: str = ""  # one line; empty where all is well


def examine(
    run: "Run", *, action: str = "inspect", path: str, rows: int = 16, columns: int = 8
) -> dict[str, float]:
    """Look at a video, a folder or manifest of videos, an episode or a folder of episodes.

    Writes `files.csv` with a line per file, `problems.csv` with those that are not well, and,
    for `inspect`, the pictures as `sheet.png`.

    Args:
        run: Where the files go and progress is shown.
        action: `inspect` or `check`.
        path: What to look at.
        rows: At most so many files on the sheet, evenly chosen.
        columns: Pictures of each.

    Returns:
        Counts; `problems` is the number of files that cannot be used.

    Raises:
        WorldModelError: there is nothing to look at, or nothing that `inspect` can read.
    """
    if action not in ACTIONS:
        raise ConfigError(f"no action '{action}' for data: {nearest(action, ACTIONS)}")
    if rows < 1 or columns < 1:
        raise ConfigError(f"rows and columns must be at least 1, got {rows} and {columns}")
    files, findings = find_files(Path(path))
    with run.progress(len(files), action) as bar:
        for file in files:
            findings.append(look_at(file, whole=action == "check"))
            bar.advance(1)
    bad = [finding for finding in findings if finding.problem]
    write_table(run.folder / "files.csv", Finding, findings)
    write_table(run.folder / "problems.csv", Finding, bad)
    for line in [*_table(findings).splitlines(), *(f"bad  {finding.problem}" for finding in bad)]:
        run.say(line)
    if action == "inspect":
        good = [Path(finding.path) for finding in findings if not finding.problem]
        if not good:
            kind = VideoError if any(f.suffix != ".safetensors" for f in files) else EpisodeError
            raise kind(f"{path}: nothing in it can be read; the first: {bad[0].problem}")
        chosen = np.linspace(0, len(good) - 1, min(rows, len(good))).round().astype(int)
        strips = [strip_of(good[i], columns) for i in chosen]
        run.say(f"sheet: {write_sheet(strips, run.folder / 'sheet.png')}")
    return _count(findings)


def find_files(path: Path) -> tuple[list[Path], list[Finding]]:
    """The files that a path stands for, and what is wrong with the folder itself."""
    if path.suffix == ".safetensors" and not path.is_dir():
        return [path], []
    if not path.is_dir() or not (
        (path / "episodes.json").exists() or any(path.glob("*.safetensors"))
    ):
        return find_videos(path), []
    problems = []
    try:
        read_folder_info(path)
    except EpisodeError as error:
        problems.append(Finding(str(path), problem=str(error)))
    return sorted(path.glob("*.safetensors")), problems


def look_at(path: Path, *, whole: bool) -> Finding:
    """What is in a file and whether it is well; `whole` reads all of a video."""
    try:
        if path.suffix == ".safetensors":
            return _look_at_episode(read_episode(path))
        info = video_info(path)
        frames, seconds = info.frames, info.duration
        if whole:
            frames = sum(1 for _ in decode(path))
        return Finding(str(path), info.codec, info.width, info.height, frames, seconds)
    except (VideoError, EpisodeError) as error:
        return Finding(str(path), problem=str(error))


def strip_of(path: Path, columns: int) -> Strip:
    """Pictures from all over a file; fewer where it cannot be read to its end."""
    if path.suffix == ".safetensors":
        episode = read_episode(path)
        chosen = _spread(len(episode), columns)
        kind = "video only" if episode.actions is None else f"{len(episode.actions)} actions"
        return Strip(
            f"{path.name}   {len(episode)} frames, {kind}",
            [episode.frames[i].numpy() for i in chosen],
            episode.times[chosen].tolist(),
        )
    info = video_info(path)
    chosen = _spread(info.frames, columns)
    strip = Strip(
        f"{path.name}   {info.codec} {info.width}x{info.height}, {info.frames} frames, "
        f"{info.duration:.1f} s",
        [],
        [],
    )
    # What is wrong with the rest of the file is for `check` to say.
    with suppress(VideoError):
        for number, (time, frame) in enumerate(decode(path)):
            if number in chosen:
                strip.pictures.append(to_rgb(frame, min(96, info.height, info.width)))
                strip.times.append(time)
    return strip


def _spread(count: int, columns: int) -> list[int]:
    return np.unique(np.linspace(0, max(count - 1, 0), columns).round().astype(int)).tolist()


def _look_at_episode(episode: Episode) -> Finding:
    height, width = episode.frames.shape[1:3]
    seconds = float(episode.times[-1] - episode.times[0])
    kind = "episode" if episode.actions is None else "episode with actions"
    return Finding(episode.source, kind, width, height, len(episode), seconds)


def _count(findings: Sequence[Finding]) -> dict[str, float]:
    good = [finding for finding in findings if not finding.problem]
    return {
        "files": len(findings),
        "problems": len(findings) - len(good),
        "frames": sum(finding.frames for finding in good),
        "seconds_of_video": sum(finding.seconds for finding in good),
        "with_actions": sum(finding.codec == "episode with actions" for finding in good),
    }


def _table(findings: Sequence[Finding]) -> str:
    """The files as a table, or their kinds where there are too many to read."""
    good = [finding for finding in findings if not finding.problem]
    if not good:
        return ""
    table = Table(box=None, pad_edge=False)
    if len(good) > _TABLE_ROWS:
        for name in ("files", "codec", "size"):
            table.add_column(name)
        for (codec, size), count in Counter(
            (f.codec, f"{f.width}x{f.height}") for f in good
        ).items():
            table.add_row(str(count), codec, size)
    else:
        for name in ("file", "codec", "size", "frames", "seconds"):
            table.add_column(name, justify="right" if name in ("frames", "seconds") else "left")
        for f in good:
            size = f"{f.width}x{f.height}"
            table.add_row(Path(f.path).name, f.codec, size, str(f.frames), f"{f.seconds:.2f}")
    text = StringIO()
    Console(file=text, width=110).print(table)
    return text.getvalue()
