"""The rows of the table of recipes: means over seeds with their intervals, beside floors."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.records import Record
from worldmodel.errors import ConfigError

SIGNS = ("feature_std", "mean_cosine", "effective_rank")
COSTS = ("cpu_seconds", "steps")
MATCHED = ("cpu_seconds", "batch", "frames", "videos", "fit", "validation", "test")
"""What has to be the same of all rows of a table."""


def rows(
    records: Sequence[Record], before: Sequence[Mapping[str, Any]] = ()
) -> list[dict[str, Any]]:
    """A row for each number of each recipe and world: the mean over the seeds.

    Args:
        records: What was measured.
        before: Rows of a recorded table, for floors that were not measured again.
    """
    written = []
    for world, recipe in dict.fromkeys((r["world"], r["recipe"]) for r in records):
        chosen = [r for r in records if (r["world"], r["recipe"]) == (world, recipe)]
        numbers = {
            **{k: [r["read"][k] for r in chosen] for k in chosen[0]["read"]},
            **{k: [r[k] for r in chosen] for k in (*SIGNS, *COSTS) if k in chosen[0]},
        }  # fmt: skip
        for key, values in numbers.items():
            written.append({
                "key": f"{world}.{recipe}.{key}", "value": float(np.mean(values)), "n": len(values),
                **interval(values), **floor(records, before, world, key),
                "seeds": [r["seed"] for r in chosen], "per_seed": values,
                **({"epochs": chosen[0]["epochs"]} if key.startswith("attentive.") else {}),
            })  # fmt: skip
    return written


def floor(
    records: Sequence[Record], before: Sequence[Mapping[str, Any]], world: str, key: str
) -> dict[str, float]:
    """The mean of the same number for the untrained encoder; nothing where it has none."""
    found = [
        r["read"][key] for r in records
        if (r["world"], r["recipe"]) == (world, "untrained") and key in r["read"]
    ]  # fmt: skip
    found += [row["value"] for row in before if row["key"] == f"{world}.untrained.{key}"]
    return {"floor": float(np.mean(found))} if found else {}


def overview(table: Sequence[dict[str, Any]], recipes: Sequence[str]) -> list[list[str]]:
    """A line for each number of each world, a cell for each recipe: mean and half its interval.

    The highest of a line is bold, and every other one whose interval reaches it is too. A line of
    an attentive probe says how many epochs it learned for.
    """
    found = {row["key"]: row for row in table}
    names = {key.split(".", 1)[0]: None for key in found}
    lines = []
    for world in names:
        numbers = {
            key.split(".", 2)[2]: None for key in found
            if key.startswith(f"{world}.") and "_" in key.rsplit(".", 1)[1]
            and key.split(".", 2)[2] not in (*SIGNS, *COSTS)
        }  # fmt: skip
        for number in numbers:
            row = [found.get(f"{world}.{recipe}.{number}") for recipe in recipes]
            best = max(cell["value"] for cell in row if cell)
            epochs = sorted({cell["epochs"] for cell in row if cell and "epochs" in cell})
            learned = f" ({' or '.join(map(str, epochs))} epochs)" if epochs else ""
            lines.append([f"{world} {number}{learned}", *(_cell(cell, best) for cell in row)])
    return lines


def _cell(row: dict[str, Any] | None, best: float) -> str:
    if row is None:
        return ""
    half = (row["high"] - row["low"]) / 2 if "high" in row else 0.0
    text = f"{row['value']:.3f}" + (f" ± {half:.3f}" if half else "")
    return f"**{text}**" if row["value"] + half >= best else text


def interval(values: Sequence[float]) -> dict[str, float]:
    """Student's 95 % interval of the mean over seeds; nothing for one seed."""
    if len(values) < 2:
        return {}
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / len(values) ** 0.5
    return {"low": float(np.mean(values) - half), "high": float(np.mean(values) + half)}


def kept_rows(
    before: Mapping[str, Any], protocol: Mapping[str, Any], measured: Collection[tuple[str, str]]
) -> list[dict[str, Any]]:
    """The rows of a recorded table that say what was not measured this time.

    Its records may be on no machine any more.

    Args:
        before: The recorded table; empty if there is none.
        protocol: Of what is measured now.
        measured: World and recipe of each new row.

    Raises:
        ConfigError: the table was measured otherwise, so that rows of both cannot stand together.
    """
    if not before:
        return []
    differs = [k for k in MATCHED if before["protocol"][k] != protocol[k]]
    if differs:
        raise ConfigError(
            f"{before['name']}.json was measured with another {', '.join(differs)}; move it away"
        )
    return [row for row in before["rows"] if tuple(row["key"].split(".")[:2]) not in measured]
