"""Tables of results: from several seeds' runs to JSON, from JSON to Markdown between markers.

A number in a document stands between `<!-- results:NAME -->` and `<!-- /results -->` and is
written by `docs/results/render.py` from `docs/results/NAME.json`.
"""

import json
import math
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from scipy.stats import t

from worldmodel.errors import RunError
from worldmodel.evaluation.statistics import wilson
from worldmodel.report.thresholds import INTERVAL, Threshold, baseline_of, threshold_of, whole
from worldmodel.runs.provenance import machine
from worldmodel.runs.run import read_metrics
from worldmodel.storage.files import whole_file

_HEAD = ("", "value", "95 % interval", "n", "per seed", "baseline", "threshold")
_SPEED_HEAD = ("", "median", "quartiles", "n", "threshold")
_MARKED = re.compile(
    r"(<!-- results:([\w-]+)((?: [\w.]+)*) -->\n).*?(<!-- /results -->)", re.DOTALL
)


def collect(
    folders: Sequence[str | Path], *, name: str, command: str, untimed: Sequence[int] = ()
) -> dict[str, Any]:
    """One table from finished runs that differ in their seeds.

    A rate's trials are counted together and get a new Wilson interval. Of other numbers it is the
    mean over seeds, with Student's interval; `n` is then the number of seeds. A single run keeps
    the intervals that it has. A result that only some runs have is no row, but named in `left_out`.

    Args:
        folders: The runs.
        name: Of the table.
        command: That anybody can run to get these numbers.
        untimed: Seeds of runs that other programs slowed down: their `seconds.*` are left out.

    Raises:
        RunError: the runs are of different verbs, or two have the same seed.
    """
    runs = [read_metrics(folder) for folder in folders]
    seeds = [run["seed"] for run in runs]
    if len({run["verb"] for run in runs}) != 1 or len(set(seeds)) != len(seeds):
        raise RunError(f"{name}: a table needs runs of one verb with different seeds, got seeds "
                       f"{seeds} of {sorted({run['verb'] for run in runs})}")  # fmt: skip
    common = [key for key in runs[0]["results"] if all(key in run["results"] for run in runs)]
    some = dict.fromkeys(key for run in runs for key in run["results"] if key not in common)
    every = {key: [run["results"][key] for run in runs] for key in common}
    quiet = [run["results"] for run in runs if run["seed"] not in untimed]
    for key in common:
        if key.startswith("seconds."):
            every[key] = [results[key] for results in quiet]
    mean = {key: statistics.fmean(values) for key, values in every.items() if values}
    table = {
        "name": name,
        "command": command,
        "version": _each(run["version"] for run in runs),
        "git_commit": _each(run["git_commit"] for run in runs),
        "machine": machine(runs[0]["device"]),
        "protocol": {"seeds": seeds},
        "rows": [
            _row(
                key,
                every,
                mean,
                [s for s in seeds if not (key.startswith("seconds.") and s in untimed)],
                runs[0]["verb"],
            )
            for key in whole(common)
            if key in mean
        ],
    }
    return table | ({"left_out": whole(some)} if some else {})


def write(table: Mapping[str, Any], path: Path) -> None:
    """Write a table as JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(table, indent=1, allow_nan=False) + "\n")


def markdown(table: Mapping[str, Any], names: Sequence[str] = ()) -> str:
    """A table's rows and its source: all, or those called `x` or `x.y` for an `x` of `names`."""
    if "columns" in table:  # of words
        return _table(table["columns"], table["rows"], _source(table))
    inside = tuple(f"{name}." for name in names)
    rows = [
        row for row in table["rows"]
        if not names or row["key"] in names or row["key"].startswith(inside)
    ]  # fmt: skip
    is_speed = "seeds" not in table.get("protocol", {})  # of measurements, not of runs
    source = _source(table)
    if is_speed:
        return _table(_SPEED_HEAD, map(_speed_cells, rows), source)
    if len(table["protocol"]["seeds"]) > 1:
        source += (
            " Rates: trials of all seeds together, Wilson's interval (that models differ is not in "
            "it: see each seed); other numbers: mean over seeds, Student's t."
        )
    else:
        source += " One seed; its own intervals."
    if "left_out" in table:
        source += f" Not of every seed, so left out: {', '.join(table['left_out'])}."
    return _table(_HEAD, map(_cells, rows), source)


def _source(table: Mapping[str, Any]) -> str:
    return f"`{table['command']}` on {table['machine']}."


def _table(head: Sequence[str], rows: Iterable[Sequence[str]], source: str) -> str:
    head_line, *lines = [f"| {' | '.join(cells)} |" for cells in (head, *rows)]
    return "\n".join([head_line, "|---" * len(head) + "|", *lines, "", source, ""])


def fill(text: str, folder: Path) -> str:
    """The text with every marked table written anew from the JSON files in `folder`.

    Raises:
        RunError: a table is asked for that has no file.
    """

    def table(match: re.Match[str]) -> str:
        path = folder / f"{match[2]}.json"
        if not path.is_file():
            raise RunError(f"{path}: a document asks for this table; make it or take the mark out")
        written = markdown(json.loads(path.read_text()), match[3].split())
        return f"{match[1]}{written}{match[4]}"

    return _MARKED.sub(table, text)


def _each(values: Iterable[str | None]) -> str:
    """One word if they agree, otherwise all of them."""
    return ", ".join(dict.fromkeys(value or "unknown" for value in values))


def _row(
    key: str,
    every: Mapping[str, list[float]],
    mean: Mapping[str, float],
    seeds: Sequence[int],
    verb: str,
) -> dict[str, Any]:
    values = every[key]
    row: dict[str, Any] = {"key": key, "value": _digits(mean[key])}
    pooled = _pooled_rate(key, every) or _over_seeds(values) or _of_one_run(key, every)
    row |= {part: round(n) if part == "n" else _digits(n) for part, n in pooled.items()}
    row |= {"seeds": list(seeds), "per_seed": [_digits(value) for value in values]}
    # The files say `floor` and `bar`, as docs/results has them since the first.
    baseline, threshold = baseline_of(key, mean, verb=verb), threshold_of(key, verb=verb)
    if baseline is not None:
        row["floor"] = _digits(baseline)
    if threshold is not None:
        row |= {"bar": threshold.value, "at_least": threshold.at_least}
    return row


def _pooled_rate(key: str, every: Mapping[str, list[float]]) -> dict[str, float]:
    """The rate of all runs' trials together; empty where the number is not a rate.

    A rate is known by its interval, which is Wilson's; that of an R² is not, and that of an AUROC
    only where it is exactly 0 or 1.
    """
    if key.endswith("auroc") or not all(f"{key}.{part}" in every for part in INTERVAL):
        return {}
    counts = every[f"{key}.n"]
    for value, n, low in zip(every[key], counts, every[f"{key}.low"], strict=True):
        if not (0 <= value <= 1 and abs(wilson(value * n, round(n)).low - low) < 1e-6):
            return {}
    hits = sum(value * n for value, n in zip(every[key], counts, strict=True))
    rate = wilson(hits, round(sum(counts)))
    return {"value": rate.value, "n": round(sum(counts)), "low": rate.low, "high": rate.high}


def _over_seeds(values: Sequence[float]) -> dict[str, float]:
    """The interval of a mean over seeds (Student's t); empty where they do not differ."""
    n = len(values)
    if n < 2 or not statistics.stdev(values) > 0:
        return {}
    half = t.ppf(0.975, n - 1) * statistics.stdev(values) / math.sqrt(n)
    mean = statistics.fmean(values)
    # Where no seed was below zero or above one, neither is what the interval says.
    low, high = mean - half, mean + half
    return {
        "n": n,
        "low": max(low, 0.0) if min(values) >= 0 else low,
        "high": min(high, 1.0) if 0 <= min(values) <= max(values) <= 1 else high,
    }


def _of_one_run(key: str, every: Mapping[str, list[float]]) -> dict[str, float]:
    """The interval that the only run gave a number, if it gave one."""
    if len(every[key]) > 1 or not all(f"{key}.{part}" in every for part in INTERVAL):
        return {}
    return {part: every[f"{key}.{part}"][0] for part in INTERVAL}


def _cells(row: Mapping[str, Any]) -> list[str]:
    between = f"{_shown(row['low'])} to {_shown(row['high'])}" if "low" in row else ""
    per_seed = ", ".join(map(_shown, row.get("per_seed", ())))
    baseline = _shown(row["floor"]) if "floor" in row else ""
    return [f"`{row['key']}`", f"**{_shown(row['value'])}**", between, str(row.get("n", "")),
            per_seed, baseline, _verdict(row)]  # fmt: skip


def _speed_cells(row: Mapping[str, Any]) -> list[str]:
    between = f"{_shown(row['low'])} to {_shown(row['high'])}" if row["n"] > 1 else ""
    return [f"`{row['key']}`", f"**{_shown(row['value'])}**", between, str(row["n"]),
            row.get("why") or _verdict(row)]  # fmt: skip


def _verdict(row: Mapping[str, Any]) -> str:
    """The threshold, and in words if it is missed: by the value, or by one seed of several."""
    if "bar" not in row:
        return ""
    threshold = Threshold(row["bar"], row.get("at_least", True))
    values = [row["value"], *row.get("per_seed", ())]
    missed = [value for value in values if value is None or not threshold.met_by(value)]
    return f"{threshold}{', missed' if missed else ''}"


def _digits(value: float) -> float | None:
    return None if value != value else float(f"{value:.5g}")


def _shown(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.0f}" if value == int(value) and abs(value) >= 10 else f"{value:.3g}"
