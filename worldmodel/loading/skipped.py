"""The list of videos that a run leaves out, kept up to date on disk while it grows."""

import csv
import time
from collections.abc import Callable
from pathlib import Path

from worldmodel.datasets.catalogue import LeftOut
from worldmodel.storage.files import write_table

_WRITE_SECONDS = 5.0


class SkippedTable:
    """`skipped.csv` of a run; goes on with what an earlier, interrupted go had listed.

    Args:
        path: The file; it is there once something was skipped.
        say: Tells a person one line.
    """

    def __init__(self, path: Path, say: Callable[[str], None]) -> None:
        self._path, self._say = path, say
        self._rows = {row.name: row for row in _read(path)}
        self._written, self._when = len(self._rows), 0.0

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, bad: LeftOut) -> None:
        """List a video and say so, unless it is listed already."""
        if bad.name not in self._rows:
            self._rows[bad.name] = bad
            self._say(f"skipped {bad.name}: {bad.reason}")
        if time.monotonic() - self._when > _WRITE_SECONDS:
            self.write()

    def write(self) -> None:
        """Bring the file up to date."""
        if len(self._rows) > self._written:
            write_table(self._path, LeftOut, list(self._rows.values()))
            self._written, self._when = len(self._rows), time.monotonic()


def _read(path: Path) -> list[LeftOut]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8", errors="surrogateescape") as file:
        return [LeftOut(row["name"], row["reason"]) for row in csv.DictReader(file)]
