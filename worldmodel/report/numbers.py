"""The page's part on numbers: tiles for those with a threshold, and the table of all."""

import math
from collections.abc import Mapping
from html import escape

from worldmodel.report.charts import interval, shares
from worldmodel.report.run_folder import RunRecord
from worldmodel.report.thresholds import INTERVAL, baseline_of, threshold_of, whole

_MOST_TILES = 12


def tiles(run: RunRecord) -> str:
    """The numbers that have a threshold, large."""
    drawn: list[str] = []
    for name, value in run.results.items():
        threshold = threshold_of(name, verb=run.verb)
        if threshold is None or len(drawn) == _MOST_TILES:
            continue
        state = "met" if threshold.met_by(value) else "missed"
        drawn.append(f'<div class="tile {state}"><b>{number(value)}</b>'
                     f"<span>{_breakable(name)}</span>"
                     f'<span class="{state}">{threshold}: {state}</span></div>')  # fmt: skip
    return f'<div class="tiles">{"".join(drawn)}</div>' if drawn else ""


def section(run: RunRecord) -> str:
    """All results of a run in one table, grouped by the first word of their names."""
    results = run.results
    if not results:
        return ""
    rows, group = [], ""
    names = whole(results)
    grouped = len({name.split(".")[0] for name in names if "." in name}) > 1
    for name in names:
        if grouped and name.split(".")[0] != group:
            group = name.split(".")[0]
            rows.append(f'<tr class="group"><td colspan="8">{escape(group)}</td></tr>')
        rows.append(_row(name, results, run.verb))
    head = ("<tr><th>name</th><th class=number>value</th><th>95 % interval</th><th>on 0 to 1</th>"
            "<th class=number>n</th><th class=number>baseline</th>"
            "<th class=number>threshold</th><th></th></tr>")  # fmt: skip
    return ("<h2>Numbers</h2><p>Rates with their count and 95 % interval. In the drawing the dot "
            "is the value, the band its interval, the ring the baseline (what knowing little "
            "gives) and the tick the threshold to reach.</p>"
            f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>')  # fmt: skip


def seconds(run: RunRecord, inside: list[RunRecord]) -> str:
    """How the time was spent, drawn as shares."""
    own = {
        name.removeprefix("seconds."): value
        for name, value in run.results.items()
        if name.startswith("seconds.") and name != "seconds.total" and value > 0
    }
    parts = own or {s.name: float(s.metrics["seconds"]) for s in inside if s.metrics}
    return f"<h2>Time</h2>{shares(parts)}" if len(parts) > 1 else ""


def number(value: float) -> str:
    """A number for people: four figures at most, no exponent where it can be helped."""
    if not math.isfinite(value):
        return "–"
    if value == int(value) and abs(value) < 1e6:
        return f"{value:.0f}"
    return f"{value:.3f}" if 0.01 <= abs(value) < 100 else f"{value:.3g}"


def _breakable(name: str) -> str:
    """A dotted name that a narrow tile breaks where its words end."""
    return escape(name).replace(".", ".<wbr>").replace("_", "_<wbr>")


def _row(name: str, results: Mapping[str, float], verb: str) -> str:
    value = results[name]
    threshold = threshold_of(name, verb=verb)
    baseline = baseline_of(name, results, verb=verb)
    count, low, high = (results.get(f"{name}.{part}") for part in INTERVAL)
    words, drawing, state = "", "", ""
    if low is not None and high is not None:
        words = f"{low:.3f} to {high:.3f}"
        drawing = interval(value, low, high, baseline=baseline, threshold=threshold)
    if threshold is not None:
        state = "met" if threshold.met_by(value) else "missed"
    cells = [
        f"<td><code>{escape(name)}</code></td>",
        f'<td class="number"><b>{number(value)}</b></td>',
        f"<td>{words}</td>",
        f'<td class="span">{drawing}</td>',
        f'<td class="number">{"" if count is None else f"{count:.0f}"}</td>',
        f'<td class="number">{"" if baseline is None else number(baseline)}</td>',
        f'<td class="number">{threshold or ""}</td>',
        f'<td class="{state}">{state}</td>',
    ]
    return f"<tr>{''.join(cells)}</tr>"
