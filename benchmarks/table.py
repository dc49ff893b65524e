"""Tables of speed: rows with their spread and bars, written in the shape of `docs/results`."""

import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from worldmodel.runs import cpu
from worldmodel.runs.provenance import git_commit, machine, package_version
from worldmodel.storage.files import whole_file


@dataclass(frozen=True)
class Row:
    """One number of a table, with the quartiles of what it is the median of."""

    key: str
    value: float
    n: int  # measurements
    low: float  # lower quartile
    high: float  # upper quartile
    bar: float | None = None  # what it has to reach
    at_least: bool | None = None  # with a bar: whether it must not be below, or not above

    @staticmethod
    def median(
        key: str, values: Sequence[float], *, bar: float | None = None, at_least: bool = True
    ) -> "Row":
        """The median of repeated measurements; it should not be below the bar, or not above."""
        several = list(values) if len(values) > 1 else [values[0]] * 2
        low, middle, high = statistics.quantiles(several, n=4, method="inclusive")
        return Row(key, middle, len(values), low, high, bar, None if bar is None else at_least)

    @staticmethod
    def exact(key: str, value: float, *, at_most: float | None = None) -> "Row":
        """A number that repeats exactly, such as a count of bytes."""
        return Row(key, value, 1, value, value, at_most, None if at_most is None else False)

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in a table's file, numbers to five digits."""
        present = {name: value for name, value in asdict(self).items() if value is not None}
        return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in present.items()}


@dataclass(frozen=True)
class Table:
    """What one part of `worldmodel bench` measured."""

    name: str  # speed-...
    command: str
    protocol: Mapping[str, Any]  # what was run and how
    rows: Sequence[Row]

    def write(self, path: Path, *, device: str) -> None:
        """Write the table as JSON, whole or not at all."""
        content = {
            "name": self.name,
            "command": self.command,
            "version": package_version(),
            "git_commit": git_commit(),
            "machine": machine(device),
            "protocol": {**self.protocol, **settings()},
            "rows": [row.to_json() for row in self.rows],
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=2, allow_nan=False) + "\n")

    def results(self) -> dict[str, float]:
        """The rows as flat results of a run: `x`, `x.n`, `x.low`, `x.high`."""
        found: dict[str, float] = {}
        for row in self.rows:
            found |= {
                row.key: row.value,
                f"{row.key}.n": row.n,
                f"{row.key}.low": row.low,
                f"{row.key}.high": row.high,
            }
        return found


@dataclass(frozen=True)
class Grid:
    """A table of words, such as which decoder reads which file."""

    name: str
    command: str
    protocol: Mapping[str, Any]  # what was run and how
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def write(self, path: Path, *, device: str) -> None:
        """Write the table as JSON, whole or not at all."""
        content = {
            "name": self.name,
            "command": self.command,
            "version": package_version(),
            "git_commit": git_commit(),
            "machine": machine(device),
            "protocol": self.protocol,
            "columns": self.columns,
            "rows": self.rows,
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n")

    def results(self) -> dict[str, float]:
        """How many rows there are."""
        return {"rows": len(self.rows)}


def settings() -> dict[str, Any]:
    """What else decides how fast this process is."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), **cpu.state()}
