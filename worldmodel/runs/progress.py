"""Progress of a run: bars in a terminal, a line now and then elsewhere.

Bars of nested runs share one display. Of several processes that make a run, only the first is
heard. Knows nothing of what is counted.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from worldmodel.runs.torchrun import is_heard

if TYPE_CHECKING:
    from rich.progress import Progress

LINE_EVERY_SECONDS = 10.0


class ProgressBar:
    """Counts up to `total`: a row of a terminal's display, or a line of a log file now and then."""

    def __init__(self, total: float, description: str, display: "Progress | None" = None) -> None:
        self.total = total
        self.description = description
        self.done = 0.0
        self.numbers = ""
        self._start = self._last = time.monotonic()
        self._first: tuple[float, float] | None = None  # done and when, at the first update
        self._display = display
        if display:
            self._task = display.add_task(description, total=total, numbers="")

    def advance(self, amount: float = 1, **numbers: float) -> None:
        """Count `amount` more and show `numbers` beside the bar."""
        self.update(self.done + amount, **numbers)

    def update(self, done: float, **numbers: float) -> None:
        """Say how much is done in all; a resumed run calls this first with where it goes on."""
        now = time.monotonic()
        self._first = self._first or (done, now)
        self.done = done
        if numbers:
            self.numbers = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        if self._display:
            self._display.update(self._task, completed=done, numbers=self.numbers)
        elif now - self._last >= LINE_EVERY_SECONDS:
            self._last = now
            say(self.line())

    def close(self) -> None:
        """Take the bar away and leave its last line."""
        if self._display:
            self._display.remove_task(self._task)
            if len(self._display.tasks) == 0:
                self._display.stop()
                _displays.clear()
        say(self.line())

    def line(self) -> str:
        """The bar as one line of text."""
        now = time.monotonic()
        share = self.done / self.total if self.total else 1.0
        counts = f"{self.done:.0f}/{self.total:.0f}  " if self.total > 1 else ""
        words = [f"{self.description}  {counts}{share:.0%}"]
        words.append(f"{_clock(now - self._start)} elapsed")
        # The speed is taken after the first update, which may be where a resumed run begins.
        first, since = self._first or (0.0, now)
        if first < self.done < self.total:
            left = (now - since) / (self.done - first) * (self.total - self.done)
            words.append(f"{_clock(left)} left")
        return "  ".join([*words, self.numbers] if self.numbers else words)


_displays: "list[Progress]" = []  # at most one: a terminal has one bottom


def say(message: str) -> None:
    """Print one line to stderr, above the bars if there are any."""
    if not is_heard():
        return
    if _displays:
        _displays[0].console.print(message, markup=False, highlight=False, soft_wrap=True)
    else:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def bar(total: float, description: str) -> Iterator[ProgressBar]:
    """A bar that is there while the block runs; blocks nest."""
    # Imported late: help and wrong words need no bars.
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    if console.is_terminal and not _displays and is_heard():
        columns = (
            rich.TextColumn("{task.description}"),
            rich.BarColumn(),
            rich.MofNCompleteColumn(),
            rich.TimeElapsedColumn(),
            rich.TextColumn("left"),
            rich.TimeRemainingColumn(),
            rich.TextColumn("{task.fields[numbers]}"),
        )
        display = rich.Progress(*columns, console=console, transient=True, refresh_per_second=4)
        display.start()
        _displays.append(display)
    shown = ProgressBar(total, description, _displays[0] if _displays else None)
    try:
        yield shown
    finally:
        shown.close()


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
