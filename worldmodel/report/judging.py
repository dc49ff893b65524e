"""The page's part on judging: frames of clips over the curve of their surprise."""

from collections.abc import Sequence
from html import escape

import numpy as np

from worldmodel.report.charts import Curve, Frame, legend, line_chart
from worldmodel.report.images import data_uri, strip
from worldmodel.report.run_folder import Examples, RunRecord, read_examples

_POSSIBLE, _IMPOSSIBLE = 1, 2  # colours
_MOST_FRAMES = 16  # of a strip
_GAP = 2


def section(runs: Sequence[RunRecord]) -> str:
    """Strips and curves of every surprise run that kept examples."""
    parts = []
    for run in runs:
        examples = read_examples(run) if run.verb == "surprise" else None
        if examples is not None:
            parts.append(_pairs(examples) if examples.kinds else _clips(examples))
    if not parts:
        return ""
    return ("<h2>Judging</h2><p>Surprise, the error of the prediction at each step, under the "
            "frames that were seen. Errors are in units of the latents' variance.</p>"
            f"{''.join(parts)}")  # fmt: skip


def _pairs(examples: Examples) -> str:
    figures = []
    for kind in dict.fromkeys(examples.kinds):
        figures.append(_pair(examples, kind, median_pair(examples, kind)))
    colours = {"possible": _POSSIBLE, "impossible": _IMPOSSIBLE}
    return f"{''.join(figures)}{legend(colours)}"


def median_pair(examples: Examples, kind: str) -> int:
    """The pair of a kind with the median separation: neither the best nor the worst."""
    rows = [i for i, name in enumerate(examples.kinds) if name == kind]
    rows.sort(key=lambda i: examples.scores[2 * i + 1].max() - examples.scores[2 * i].max())
    return rows[len(rows) // 2]


def _pair(examples: Examples, kind: str, pair: int) -> str:
    possible, impossible = examples.frames[2 * pair], examples.frames[2 * pair + 1]
    x = examples.score_frames.tolist()
    curves = {
        "possible": Curve(x, examples.scores[2 * pair].tolist(), _POSSIBLE),
        "impossible": Curve(x, examples.scores[2 * pair + 1].tolist(), _IMPOSSIBLE),
    }
    rows = _row("possible", possible) + _row("impossible", impossible)
    # The dashed line stands between the last frame that is the same and the first that differs.
    chart = _aligned(curves, possible.shape, marks=[float(examples.step[pair]) - 0.5])
    return f'<figure class="card strip"><h3>{escape(kind)}</h3>{rows}{chart}</figure>'


def _clips(examples: Examples) -> str:
    figures = []
    for index, frames in enumerate(examples.frames):
        chosen = np.linspace(0, len(frames) - 1, min(len(frames), _MOST_FRAMES)).round().astype(int)
        x, label = examples.score_frames.astype(float), "frame"
        span = (0.0, float(len(frames) - 1))
        if examples.times is not None:
            times = examples.times[index]
            x, label, span = times[examples.score_frames], "seconds", (times[0], times[-1])
        curve = {"surprise": Curve(x.tolist(), examples.scores[index].tolist(), _IMPOSSIBLE)}
        shown = Frame(width=1000, height=170, x_range=span, left=0, right=0, x_label=label)
        chart = _beside(line_chart(curve, shown))
        rows = _row("frames", frames[chosen])
        figures.append(f'<figure class="card strip">{rows}{chart}</figure>')
    return "".join(figures)


def _row(label: str, frames: np.ndarray) -> str:
    image = data_uri(strip(frames, gap=_GAP))
    return f'<div class="row"><span>{label}</span><img alt="{label} frames" src="{image}"></div>'


def _aligned(curves: dict[str, Curve], shape: tuple[int, ...], *, marks: Sequence[float]) -> str:
    """A chart as wide as the strip of `t` frames above it: x of a frame is its middle."""
    t, _, w, _ = shape
    width = t * (w + _GAP) - _GAP
    edge = (w / 2) / (w + _GAP)  # half a frame, in frames
    frame = Frame(width=width, height=width * 0.14, x_range=(-edge, t - 1 + edge), left=0, right=0,
                  x_label="")  # fmt: skip
    return _beside(line_chart(curves, frame, marks=marks))


def _beside(chart: str) -> str:
    return f'<div class="row"><span class="beside">surprise</span>{chart}</div>'
