"""Small drawings as SVG text; colours are the page's variables, so they follow light and dark."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from worldmodel.report.thresholds import Threshold

NUM_COLOURS = 6
_MAX_POINTS = 400


@dataclass(frozen=True)
class Curve:
    """Points to join, in order of x; a gap where y is not finite."""

    x: Sequence[float]
    y: Sequence[float]
    colour: int = 1


@dataclass(frozen=True)
class Frame:
    """The drawing's size and what its edges stand for; `None` is taken from the curves."""

    width: float = 460
    height: float = 210
    x_range: tuple[float, float] | None = None
    left: float = 44
    right: float = 10
    log_y: bool = False
    holds: tuple[float, ...] = ()  # values of y that the axis includes in any case
    x_label: str = "step"


def line_chart(curves: Mapping[str, Curve], frame: Frame, *, marks: Sequence[float] = ()) -> str:
    """Curves over a common axis; `marks` are x values that get a dashed line."""
    curves = {name: _thin(curve) for name, curve in curves.items()}
    xs = [x for curve in curves.values() for x in curve.x]
    ys = [y for curve in curves.values() for y in curve.y if _usable(y, frame.log_y)]
    if not xs or not ys:
        return '<p class="soft">nothing to draw</p>'
    x_low, x_high = frame.x_range or (min(xs), max(xs))
    ys += frame.holds
    ticks = _log_ticks(min(ys), max(ys)) if frame.log_y else _ticks(min(ys), max(ys))
    low, high = min(ticks[0], min(ys)), max(ticks[-1], max(ys))
    top, bottom = 8.0, frame.height - (24 if frame.x_label else 8)

    def place_x(x: float) -> float:
        share = (x - x_low) / ((x_high - x_low) or 1)
        return frame.left + share * (frame.width - frame.left - frame.right)

    def place_y(y: float) -> float:
        a, b, c = (math.log10(v) if frame.log_y else v for v in (low, high, y))
        return bottom - (c - a) / ((b - a) or 1) * (bottom - top)

    parts = [f'<svg viewBox="0 0 {frame.width:g} {frame.height:g}" role="img">']
    for tick in ticks:
        y = place_y(tick)
        parts.append(f'<line class="axis" x1="{frame.left:g}" x2="{frame.width - frame.right:g}" '
                     f'y1="{y:.1f}" y2="{y:.1f}"/>'
                     f'<text x="{frame.left - 6:g}" y="{y + 4:.1f}" text-anchor="end">'
                     f"{tick:g}</text>")  # fmt: skip
    for mark in marks:
        x = place_x(mark)
        parts.append(f'<line class="mark" x1="{x:.1f}" x2="{x:.1f}" y1="{top}" y2="{bottom:g}"/>')
    for name, curve in curves.items():
        drawn = [_usable(y, frame.log_y) for y in curve.y]
        path = "".join(
            f"{'L' if joined else 'M'}{place_x(x):.1f} {place_y(y):.1f}"
            for x, y, here, joined in zip(curve.x, curve.y, drawn, [False, *drawn], strict=False)
            if here
        )
        parts.append(f'<path class="curve" style="stroke:var(--c{curve.colour})" d="{path}">'
                     f"<title>{escape(name)}</title></path>")  # fmt: skip
    if frame.x_label:
        base = frame.height - 6
        parts.append(f'<text x="{frame.left:g}" y="{base:g}">{x_low:g}</text>'
                     f'<text x="{frame.width - frame.right:g}" y="{base:g}" text-anchor="end">'
                     f"{escape(frame.x_label)} {x_high:g}</text>")  # fmt: skip
    return "".join([*parts, "</svg>"])


def legend(colours: Mapping[str, int]) -> str:
    """A line that names each colour."""
    items = [
        f'<span><i style="background:var(--c{colour})"></i>{escape(name)}</span>'
        for name, colour in colours.items()
    ]
    return f'<div class="legend">{"".join(items)}</div>'


def interval(
    value: float, low: float, high: float, *, baseline: float | None, threshold: Threshold | None
) -> str:
    """A rate on [0, 1] with its interval; its baseline is an open circle, its threshold a tick."""

    def at(number: float) -> str:
        return f"{4 + 152 * min(max(number, 0), 1):.1f}"

    parts = ['<svg viewBox="0 0 160 16" role="img"><line class="axis" x1="4" x2="156" y1="8" '
             'y2="8"/>']  # fmt: skip
    if threshold is not None:
        x = at(threshold.value)
        parts.append(f'<line x1="{x}" x2="{x}" y1="2" y2="14" style="stroke:var(--ink)" '
                     'stroke-width="1.4"/>')  # fmt: skip
    if baseline is not None and math.isfinite(baseline):
        parts.append(f'<circle cx="{at(baseline)}" cy="8" r="3" fill="none" '
                     'style="stroke:var(--soft)"/>')  # fmt: skip
    parts.append(f'<line x1="{at(low)}" x2="{at(high)}" y1="8" y2="8" style="stroke:var(--c1)" '
                 'stroke-width="4" stroke-linecap="round" opacity=".45"/>'
                 f'<circle cx="{at(value)}" cy="8" r="3.6" style="fill:var(--c1)"/>')  # fmt: skip
    return "".join([*parts, "</svg>"])


def shares(parts: Mapping[str, float]) -> str:
    """One bar divided in proportion, with the names of its parts below."""
    total = sum(parts.values()) or 1
    left, drawn = 0.0, []
    for index, (name, value) in enumerate(parts.items()):
        width = 1000 * value / total
        drawn.append(f'<rect x="{left:.1f}" y="0" width="{max(width - 2, 0.5):.1f}" height="16" '
                     f'rx="3" style="fill:var(--c{index % NUM_COLOURS + 1})">'
                     f"<title>{escape(name)}: {value:.0f} s</title></rect>")  # fmt: skip
        left += width
    words = {f"{n} {v:.0f} s": i % NUM_COLOURS + 1 for i, (n, v) in enumerate(parts.items())}
    return f'<svg viewBox="0 0 1000 16">{"".join(drawn)}</svg>{legend(words)}'


def _usable(y: float, log_y: bool) -> bool:
    return math.isfinite(y) and (y > 0 or not log_y)


def _thin(curve: Curve) -> Curve:
    """At most `_MAX_POINTS` points: means of runs of neighbours."""
    size = math.ceil(len(curve.x) / _MAX_POINTS)
    if size <= 1:
        return curve
    runs = [slice(i, i + size) for i in range(0, len(curve.x), size)]
    mean_of = [(list(curve.x[run]), list(curve.y[run])) for run in runs]
    return Curve([x[-1] for x, _ in mean_of], [sum(y) / len(y) for _, y in mean_of], curve.colour)


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round numbers that hold the range."""
    low, high = min(low, 0) if low < 0.4 * high else low, high
    raw = (high - low or abs(high) or 1) / 4
    power = 10 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 2.5, 5, 10) if m * power >= raw)
    first = math.floor(low / step + 1e-9)
    count = math.ceil(high / step - 1e-9) - first
    return [round((first + i) * step, 12) for i in range(max(count, 1) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    return [10.0**power for power in range(first, max(last, first + 1) + 1)]
