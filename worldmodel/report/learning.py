"""The page's part on learning: loss curves, signs of collapse, and the alarm."""

from collections.abc import Sequence
from html import escape

from worldmodel.diagnostics import MIN_STD
from worldmodel.report.charts import NUM_COLOURS, Curve, Frame, legend, line_chart
from worldmodel.report.folder import Stage

_DIAGNOSTICS = {
    "feature_std": "spread of features: 1 is what SIGReg asks for, 0 is collapse",
    "effective_rank": "effective rank: how many directions are in use",
    "sigreg_over_floor": "SIGReg over its floor: 1 is Gaussian",
    "mean_cosine": "mean cosine between inputs: 1 is collapse",
}


def alarms(stages: Sequence[Stage]) -> str:
    """A box for each training whose features had collapsed when it ended."""
    boxes = []
    for stage in stages:
        last = {name: values[-1] for name, (_, values) in stage.columns().items()}
        spread = last.get("feature_std")
        if stage.results.get("collapsed", 0) > 0 or (spread is not None and not spread >= MIN_STD):
            words = "" if spread is None else f": features have a spread of {spread:.3g}, not 1"
            boxes.append(f'<div class="alarm"><b>Collapse</b> in {escape(stage.name)}{words}. '
                         "What follows it is not to be trusted.</div>")  # fmt: skip
    return "".join(boxes)


def section(stages: Sequence[Stage]) -> str:
    """Curves of every run that logged a loss."""
    cards = [_cards(stage) for stage in stages if "loss" in stage.columns()]
    if not cards:
        return ""
    return ("<h2>Learning</h2><p>Losses by their terms, and whether the features stayed alive. "
            "A healthy run has spread, rank and a SIGReg near its floor; a collapsed one predicts "
            f"well and knows nothing.</p>{''.join(cards)}")  # fmt: skip


def _cards(stage: Stage) -> str:
    columns = stage.columns()
    losses = {name: xy for name, xy in columns.items() if name.split(".")[0] == "loss"}
    curves = {
        name: Curve(*xy, colour=index % NUM_COLOURS + 1)
        for index, (name, xy) in enumerate(losses.items())
    }
    colours = {name: curve.colour for name, curve in curves.items()}
    values = [y for curve in curves.values() for y in curve.y if y > 0]
    log_y = bool(values) and max(values) > 20 * min(values)
    charts = [(f"{stage.name}: loss", line_chart(curves, Frame(log_y=log_y)) + legend(colours))]
    for name, title in _DIAGNOSTICS.items():
        if name in columns:
            charts.append((title, line_chart({name: Curve(*columns[name])}, Frame())))
    cards = [f'<div class="card"><h3>{escape(title)}</h3>{chart}</div>' for title, chart in charts]
    return f'<div class="grid" style="margin-top:1rem">{"".join(cards)}</div>'
