"""The page's part on classification: which classes were taken for which, by each read-out."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from worldmodel.errors import RunError
from worldmodel.report.run_folder import RunRecord

_MOST_NAMED = 30  # classes whose names and counts are written beside and into the cells
_MOST_PAIRS = 10  # of classes that are confused, in a list
_LONGEST = 18  # letters of a name beside a row


def section(runs: Sequence[RunRecord]) -> str:
    """A matrix for each read-out of every run that classified."""
    cards = []
    for run in runs:
        path = run.folder / "confusion.json"
        if path.is_file():
            try:
                found = json.loads(path.read_text(encoding="utf-8"))
                classes, matrices = found["classes"], found["matrices"]
                cards += [_card(name, classes, counts) for name, counts in matrices.items()]
            except (ValueError, KeyError, TypeError, IndexError, AttributeError) as cause:
                raise RunError(
                    f"{path}: is not a confusion matrix; run `probe task=classify` again"
                ) from cause
    if not cards:
        return ""
    return ("<h2>Classes</h2><p>Of the test videos of each class (rows), how many each read-out "
            "took for which class (columns). What is right lies on the diagonal; a cell is as dark "
            f'as its share of the row.</p><div class="grid">{"".join(cards)}</div>')  # fmt: skip


def _card(name: str, classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    n = sum(map(sum, counts))
    right = sum(counts[i][i] for i in range(len(classes)))
    title = f"{escape(name)}: {right} of {n} right"
    drawn = _matrix(classes, counts) + _pairs(classes, counts)
    return f'<div class="card"><h3>{title}</h3>{drawn}</div>'


def _matrix(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The matrix as a drawing; names and counts only where there is room for them."""
    named = len(classes) <= _MOST_NAMED
    cell = 26 if named else max(720 // len(classes), 1)
    left = 7.0 * max(min(len(c), _LONGEST) for c in classes) + 8 if named else 0.0
    top = left if named else 0.0
    side = cell * len(classes)
    parts = [f'<svg viewBox="0 0 {left + side:g} {top + side:g}" role="img" '
             f'style="max-width:{left + side:g}px"><rect x="{left:g}" y="{top:g}" '
             f'width="{side}" height="{side}" style="fill:var(--wash)"/>']  # fmt: skip
    for i, row in enumerate(counts):
        y, total = top + i * cell, sum(row)
        if named:
            middle = left + (i + 0.5) * cell + 4
            parts.append(f'<text x="{left - 6:g}" y="{y + cell / 2 + 4:g}" text-anchor="end">'
                         f"{_short(classes[i])}</text>"
                         f'<text transform="translate({middle:g} {top - 6:g}) rotate(-90)">'
                         f"{_short(classes[i])}</text>")  # fmt: skip
        for j, count in enumerate(row):
            if count:
                told = f"{classes[i]} taken for {classes[j]}: {count}"
                square = _Square(left + j * cell, y, cell, count, count / total, i == j)
                parts.append(square.drawn(told, named))
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True)
class _Square:
    """A cell of a matrix: its place, its side, and what it says."""

    x: float
    y: float
    side: int
    count: int
    share: float  # of its row
    right: bool

    def drawn(self, title: str, named: bool) -> str:
        """The cell, with its count where there is room."""
        gap, colour = (1 if named else 0), ("--c1" if self.right else "--c2")
        x, y, side = self.x + gap, self.y + gap, self.side - 2 * gap
        square = (f'<rect x="{x:g}" y="{y:g}" width="{side}" height="{side}" '
                  f'style="fill:var({colour})" opacity="{0.15 + 0.7 * self.share:.2f}">'
                  f"<title>{escape(title)}</title></rect>")  # fmt: skip
        if not named:
            return square
        return (f'{square}<text x="{x + side / 2:g}" y="{y + side / 2 + 4:g}" text-anchor="middle" '
                f'style="fill:var(--ink)">{self.count}</text>')  # fmt: skip


def _pairs(classes: Sequence[str], counts: Sequence[Sequence[int]]) -> str:
    """The pairs of classes that are confused most, where the drawing does not name them."""
    if len(classes) <= _MOST_NAMED:
        return ""
    wrong: list[tuple[int, Any, Any]] = [
        (count, classes[i], classes[j])
        for i, row in enumerate(counts)
        for j, count in enumerate(row)
        if i != j and count
    ]
    most = sorted(wrong, key=lambda found: -found[0])[:_MOST_PAIRS]
    rows = [
        f'<tr><td>{escape(truth)}</td><td>{escape(taken)}</td><td class="number">{count}</td></tr>'
        for count, truth, taken in most
    ]
    head = "<tr><th>class</th><th>taken for</th><th class=number>videos</th></tr>"
    return f'<div class="scroll"><table>{head}{"".join(rows)}</table></div>' if rows else ""


def _short(name: str) -> str:
    return escape(name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…")
