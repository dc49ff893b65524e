"""The page's part on learning: loss curves, signs of collapse, and the alarm."""

from collections.abc import Sequence
from html import escape

from worldmodel.report.charts import NUM_COLOURS, Curve, Frame, legend, line_chart
from worldmodel.report.folder import RunRecord
from worldmodel.training.collapse import MIN_STD

# What each number says, and the values that its axis includes.
_DIAGNOSTICS = {
    "feature_std": ("spread of features (1: healthy)", (0.0, 1.0)),
    "effective_rank": ("effective rank", (0.0,)),
    "sigreg_over_floor": ("SIGReg / floor (1: Gaussian)", (0.0, 1.0)),
    "mean_cosine": ("mean cosine (1: collapse)", (0.0, 1.0)),
}


def alarms(stages: Sequence[RunRecord]) -> str:
    """A box for each training whose features had collapsed when it ended."""
    boxes = []
    for stage in stages:
        last = {name: values[-1] for name, (_, values) in stage.columns().items()} | stage.results
        spread = last.get("feature_std")
        collapsed = last.get("collapsed", 0) > 0 or (spread is not None and not spread >= MIN_STD)
        if collapsed and stage.verb in ("pretrain", "train"):
            words = ", ".join(f"{name} {last[name]:.3g}" for name in _DIAGNOSTICS if name in last)
            boxes.append(f'<div class="alarm"><b>Collapse</b> in {escape(stage.name)}: {words}. '
                         "What was made from it is not to be trusted.</div>")  # fmt: skip
    return "".join(boxes)


def section(stages: Sequence[RunRecord]) -> str:
    """Curves of every run that logged a loss."""
    cards = [_cards(stage) for stage in stages if "loss" in stage.columns()]
    if not cards:
        return ""
    return ("<h2>Learning</h2><p>Losses by their terms, and whether the features stayed alive. "
            "A healthy run has spread, rank and a SIGReg near its floor; a collapsed one predicts "
            f"well and knows nothing.</p>{''.join(cards)}")  # fmt: skip


def _cards(stage: RunRecord) -> str:
    columns = stage.columns()
    losses = {name: xy for name, xy in columns.items() if name.split(".")[0] == "loss"}
    curves = {
        name: Curve(*xy, colour=index % NUM_COLOURS + 1)
        for index, (name, xy) in enumerate(losses.items())
    }
    colours = {name: curve.colour for name, curve in curves.items()}
    values = [y for curve in curves.values() for y in curve.y if y > 0]
    log_y = bool(values) and max(values) > 20 * min(values)
    wide = Frame(width=760, log_y=log_y)
    title = f"{escape(stage.name)}: loss"
    cards = [f'<div class="card wide"><h3>{title}</h3>{line_chart(curves, wide)}'
             f"{legend(colours)}</div>"]  # fmt: skip
    for name, (says, holds) in _DIAGNOSTICS.items():
        if name in columns:
            chart = line_chart(
                {name: Curve(*columns[name])}, Frame(width=340, height=200, holds=holds)
            )
            cards.append(f'<div class="card"><h3>{says}</h3>{chart}</div>')
    return f'<div class="grid" style="margin-top:1rem">{"".join(cards)}</div>'
