"""`worldmodel data convert`: from any format to a folder, shards, our episodes or LeRobot v3.

What is written is written whole, file by file, in the order of the source; `convert.json` says
what the output is of. Started again after an interruption it goes on with the first file that is
missing. Each target is a class in a file beside this one.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from worldmodel.datasets import Format, find_format
from worldmodel.datasets.catalogue import Catalogue
from worldmodel.errors import ConfigError, nearest, printable
from worldmodel.runs.lock import LOCK, locked
from worldmodel.runs.run import Run
from worldmodel.storage.files import whole_file, writing_output
from worldmodel.tools.conversion.lerobot_target import LeRobotTarget
from worldmodel.tools.conversion.target import Conversion, Target, Writing
from worldmodel.tools.conversion.videos import EpisodesTarget, FolderTarget, ShardsTarget
from worldmodel.video.decoding import Decoding

TARGETS: dict[str, type[Target]] = {
    "folder": FolderTarget,
    "shards": ShardsTarget,
    "episodes": EpisodesTarget,
    "lerobot": LeRobotTarget,
}
JOURNAL = "convert.json"
_WRITING = Writing()


def convert(
    run: Run,
    *,
    path: str,
    output: str,
    to: Literal["folder", "shards", "episodes", "lerobot"],
    format: str = "auto",
    reading: Mapping[str, Any] | None = None,
    writing: Writing = _WRITING,
    video: Decoding | None = None,
) -> dict[str, float]:
    """Write a data set in another format.

    Args:
        run: Where progress is shown.
        path: What to convert; any format that is read.
        output: The folder to write; new, or that of the same conversion, interrupted.
        to: The format to write.
        format: Of the source; `auto` looks.
        reading: Options of the source's format, for example `{camera: top}`.
        writing: Size, rate and quality of what is written.
        video: How files are decoded.

    Returns:
        `items`, how many were `written` now and how many of those `copied` byte for byte, and
        `actions_left_out`: episodes whose actions the target cannot hold.

    Raises:
        ConfigError: an unknown target or option, or an output that holds something else or cannot
            be written.
        RunError: another process writes the output.
    """
    if to not in TARGETS:
        raise ConfigError(f"to={to}: {nearest(str(to), TARGETS)}")
    found = find_format(path, format=format, **dict(reading or {}))
    catalogue = found.open(os.fspath(path))
    one = path.endswith(".safetensors")  # a single episode: there is no store of one
    holds_actions = type(found).episodes is not Format.episodes and not one
    video = video or Decoding()
    store = found.episodes(os.fspath(path), video) if holds_actions else None
    if store is not None and writing.fps is not None and to in ("episodes", "lerobot"):
        raise ConfigError(
            f"writing.fps={writing.fps:g}: episodes with actions keep their rate; leave it out, or "
            "correct it with reading={fps: ...} where the file states none"
        )
    folder = Path(output)
    if _overlaps(Path(path), folder):
        raise ConfigError(f"output={output}: lies in the source or holds it; name another folder")
    plan = Conversion(catalogue, store, folder, writing, video)
    options = {"to": to, **asdict(writing), "stream": video.stream}
    journal = Journal(folder, _facts(path, found, catalogue, options))
    with writing_output(output), locked(folder):
        journal.begin()
        run.say(printable(f"{path}: {found.name}, {len(catalogue)} videos -> {to} in {output}"))
        target = TARGETS[to](plan)
        with run.progress(len(catalogue), "convert") as bar:
            for count in target.write():
                bar.advance(count)
        target.finish()
        journal.finish()
    left = 0 if to in ("episodes", "lerobot") or store is None else len(store.labelled)
    if left:
        run.say(f"to={to} holds videos only: the actions of {left} episodes are left out")
    return {
        "items": len(catalogue), "written": target.written, "copied": target.copied,
        "actions_left_out": left,
    }  # fmt: skip


@dataclass(frozen=True)
class Journal:
    """`convert.json`: which conversion an output folder is of, and whether it is finished."""

    folder: Path
    facts: Mapping[str, Any]

    def begin(self) -> None:
        """Claim an empty folder, or find that it is of this conversion.

        Raises:
            ConfigError: it holds something else.
        """
        path = self.folder / JOURNAL
        is_begun = path.exists()
        if is_begun:
            try:
                there = json.loads(path.read_text(encoding="utf-8"))
                differs = next((k for k, v in self.facts.items() if there.get(k) != v), None)
            except (ValueError, AttributeError) as cause:
                raise ConfigError(f"{path}: cannot be read ({cause}); name a new folder") from cause
            if differs is not None:
                raise ConfigError(
                    f"output={self.folder}: is of another conversion ({differs} was "
                    f"{str(there.get(differs))[:80]}, is {str(self.facts[differs])[:80]}); name a "
                    f"new folder"
                )
        elif not self._is_empty():
            raise ConfigError(f"output={self.folder}: is not empty; name a new folder")
        for unfinished in self.folder.rglob(".*.tmp.*"):  # what a killed run was writing
            unfinished.unlink()
        if not is_begun:
            self._write(finished=False)

    def _is_empty(self) -> bool:
        """True if nothing is there but what a run wrote that was killed at once."""
        mine = (f".{Path(JOURNAL).stem}.*.tmp.json", LOCK)
        return all(any(path.match(one) for one in mine) for path in self.folder.iterdir())

    def finish(self) -> None:
        """Note that all of it is there."""
        self._write(finished=True)

    def _write(self, *, finished: bool) -> None:
        with whole_file(self.folder / JOURNAL) as temporary:
            values = {**self.facts, "finished": finished}
            temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")


def _facts(
    source: str, found: Format, catalogue: Catalogue, options: Mapping[str, Any]
) -> dict[str, Any]:
    """The facts that must be the same for a conversion to go on."""
    names = hashlib.sha256()
    for item in catalogue:
        names.update(f"{item.name}\n{item.label}\n".encode("utf-8", "surrogatepass"))
    return {
        "source": source if "://" in source else os.path.abspath(source), "format": repr(found),
        "items": len(catalogue), "names_sha256": names.hexdigest(), **options,
    }  # fmt: skip


def _overlaps(source: Path, output: Path) -> bool:
    if "://" in str(source) or not source.exists():
        return False
    a, b = source.resolve(), output.resolve()
    return a == b or a in b.parents or (source.is_dir() and b in a.parents)
