"""The page's part on learning: loss curves, signs of collapse, and the alarm."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape

from worldmodel.report.charts import NUM_COLOURS, Curve, Frame, legend, line_chart
from worldmodel.report.run_folder import RunRecord
from worldmodel.training.collapse import MIN_STD

# The title of each diagnostic, and the values that its axis includes.
_DIAGNOSTICS = {
    "feature_std": ("spread of features (1: healthy)", (0.0, 1.0)),
    "effective_rank": ("effective rank", (0.0,)),
    "sigreg_over_floor": ("SIGReg / floor (1: Gaussian)", (0.0, 1.0)),
    "mean_cosine": ("mean cosine (1: collapse)", (0.0, 1.0)),
}


def alarms(runs: Sequence[RunRecord]) -> str:
    """A box for each training that ended collapsed, or had learned only what stands still."""
    boxes = []
    for run in runs:
        last = {name: values[-1] for name, (_, values) in run.columns().items()} | run.results
        spread = last.get("feature_std")
        collapsed = last.get("collapsed", 0) > 0 or (spread is not None and not spread >= MIN_STD)
        if collapsed and run.verb in ("pretrain", "train"):
            words = ", ".join(f"{name} {last[name]:.3g}" for name in _DIAGNOSTICS if name in last)
            boxes.append(f'<div class="alarm"><b>Collapse</b> in {escape(run.name)}: {words}. '
                         "Do not trust what was made from it.</div>")  # fmt: skip
        if last.get("static_shortcut", 0) > 0:
            boxes.append(f'<div class="alarm"><b>Nothing that moves</b> in {escape(run.name)}: '
                         f"{100 * last['between_clips']:.1f}% of the variance lies between clips, "
                         "and prediction is hardly better than copying. It has learned what stands "
                         "still; say objective.centre=episode.</div>")  # fmt: skip
    return "".join(boxes)


def section(runs: Sequence[RunRecord]) -> str:
    """Curves of every run that logged a loss."""
    cards = [_cards(run) for run in runs if "loss" in run.columns()]
    if not cards:
        return ""
    return ("<h2>Learning</h2><p>Losses by their terms, and signs of collapse. The features of a "
            "healthy run have spread and rank; those of a collapsed one are easy to predict and "
            f"hold nothing.</p>{''.join(cards)}")  # fmt: skip


def _cards(run: RunRecord) -> str:
    columns = run.columns()
    losses = {name: xy for name, xy in columns.items() if name.split(".")[0] == "loss"}
    curves = {
        name: Curve(*xy, colour=index % NUM_COLOURS + 1)
        for index, (name, xy) in enumerate(losses.items())
    }
    colours = {name: curve.colour for name, curve in curves.items()}
    values = [y for curve in curves.values() for y in curve.y if y > 0]
    log_y = bool(values) and max(values) > 20 * min(values)
    wide = Frame(width=760, log_y=log_y)
    title = f"{escape(run.name)}: loss"
    cards = [f'<div class="card wide"><h3>{title}</h3>{line_chart(curves, wide)}'
             f"{legend(colours)}</div>"]  # fmt: skip
    for name, (title, holds) in _DIAGNOSTICS.items():
        if name in columns:
            chart = line_chart(
                {name: Curve(*columns[name])}, Frame(width=340, height=200, holds=holds)
            )
            cards.append(f'<div class="card"><h3>{title}</h3>{chart}</div>')
    probe = {name: Curve(*xy) for name, xy in run.columns("probe.").items()}
    if probe:
        cards.append(_probe(probe))
    return f'<div class="grid" style="margin-top:1rem">{"".join(cards)}</div>'


def _probe(curves: dict[str, Curve]) -> str:
    """The card of what was read out of the latents beside the training."""
    curves = {
        name.removeprefix("probe."): replace(curve, colour=index % NUM_COLOURS + 1)
        for index, (name, curve) in enumerate(curves.items())
    }
    chart = line_chart(curves, Frame(width=340, height=200, holds=(0.0, 1.0)))
    colours = {name: curve.colour for name, curve in curves.items()}
    return (f'<div class="card"><h3>online probe (1: everything read out)</h3>{chart}'
            f"{legend(colours)}</div>")  # fmt: skip
