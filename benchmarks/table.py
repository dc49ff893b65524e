"""Tables of speed, in the shape of `docs/results`: rows with their spread and thresholds."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import torch

from worldmodel.runs import cpu
from worldmodel.runs.provenance import git_commit, machine, package_version


@dataclass(frozen=True)
class Row:
    """One number of a table, with the quartiles of what it is the median of."""

    key: str
    value: float | None  # None: not measured
    n: int  # measurements
    low: float | None = None  # lower quartile
    high: float | None = None  # upper quartile
    bar: float | None = None  # the threshold
    at_least: bool | None = None  # with a threshold: must it not be below, or not above
    why: str | None = None  # it was not measured

    @staticmethod
    def median(
        key: str, values: Sequence[float], *, bar: float | None = None, at_least: bool = True
    ) -> "Row":
        """The median of repeated measurements, which should not miss the threshold `bar`."""
        several = list(values) if len(values) > 1 else [values[0]] * 2
        low, middle, high = statistics.quantiles(several, n=4, method="inclusive")
        return Row(key, middle, len(values), low, high, bar, None if bar is None else at_least)

    @staticmethod
    def exact(key: str, value: float, *, at_most: float | None = None) -> "Row":
        """A number that repeats exactly, such as a count of bytes."""
        return Row(key, value, 1, value, value, at_most, None if at_most is None else False)

    @staticmethod
    def unmeasured(key: str, why: str) -> "Row":
        """Says in the table that something does not work on this machine."""
        return Row(key, None, 0, why=why)

    def to_json(self) -> dict[str, Any]:
        """The row as it stands in a table's file, numbers to five digits."""
        present = {k: v for k, v in asdict(self).items() if v is not None or k == "value"}
        return {k: float(f"{v:.5g}") if isinstance(v, float) else v for k, v in present.items()}


@dataclass(frozen=True)
class Table:
    """The measurements of one part."""

    name: str  # speed-...
    command: str
    protocol: Mapping[str, Any]  # what was run and how
    rows: Sequence[Row]

    def to_json(self, *, device: str) -> dict[str, Any]:
        """The content of the table's file."""
        return {
            **origin(self.name, self.command, device),
            "protocol": {**self.protocol, **settings()},
            "rows": [row.to_json() for row in self.rows],
        }


@dataclass(frozen=True)
class Grid:
    """A table of words, such as which decoder reads which file."""

    name: str
    command: str
    protocol: Mapping[str, Any]  # what was run and how
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]

    def to_json(self, *, device: str) -> dict[str, Any]:
        """The content of the table's file."""
        return {
            **origin(self.name, self.command, device),
            "protocol": self.protocol,
            "columns": self.columns,
            "rows": self.rows,
        }


def origin(name: str, command: str, device: str = "cpu") -> dict[str, Any]:
    """A table's name and command, and where its numbers come from."""
    return {
        "name": name,
        "command": command,
        "version": package_version(),
        "git_commit": git_commit(),
        "machine": machine(device),
    }


def settings() -> dict[str, Any]:
    """Settings that decide how fast this process is."""
    return {"torch": torch.__version__, "threads": torch.get_num_threads(), **cpu.state()}
