"""Progress of a run: bars in a terminal, a line now and then elsewhere.

Bars of nested runs share one display. Knows nothing of what is counted.
"""

import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINE_EVERY_SECONDS = 10.0


class ProgressBar(ABC):
    """Counts up to `total` and tells a person how far it is."""

    def __init__(self, total: float, description: str) -> None:
        self.total = total
        self.description = description
        self.done = 0.0
        self.numbers = ""
        self._start = time.monotonic()
        self._first: tuple[float, float] | None = None  # done and when, at the first update

    def advance(self, amount: float = 1, **numbers: float) -> None:
        """Count `amount` more and show `numbers` beside the bar."""
        self.update(self.done + amount, **numbers)

    def update(self, done: float, **numbers: float) -> None:
        """Say how much is done in all; a resumed run calls this first with where it goes on."""
        if self._first is None:
            self._first = (done, time.monotonic())
        self.done = done
        if numbers:
            self.numbers = "  ".join(f"{name} {value:.4g}" for name, value in numbers.items())
        self._show()

    @abstractmethod
    def close(self) -> None:
        """Take the bar away and leave its last line."""

    @abstractmethod
    def _show(self) -> None:
        """Let a person see the new count."""

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


class _LineBar(ProgressBar):
    """For a log file: a line every `LINE_EVERY_SECONDS`."""

    def __init__(self, total: float, description: str) -> None:
        super().__init__(total, description)
        self._last = time.monotonic()

    def _show(self) -> None:
        if time.monotonic() - self._last >= LINE_EVERY_SECONDS:
            self._last = time.monotonic()
            say(self.line())

    def close(self) -> None:
        say(self.line())


class _TerminalBar(ProgressBar):
    """A row of the terminal's shared display."""

    def __init__(self, total: float, description: str, display: "Progress") -> None:
        super().__init__(total, description)
        self._display = display
        self._task: TaskID = display.add_task(description, total=total, numbers="")

    def _show(self) -> None:
        self._display.update(self._task, completed=self.done, numbers=self.numbers)

    def close(self) -> None:
        self._display.remove_task(self._task)
        if len(self._display.tasks) == 0:
            self._display.stop()
            _displays.clear()
        say(self.line())


_displays: "list[Progress]" = []  # at most one: a terminal has one bottom


def say(message: str) -> None:
    """Print one line to stderr, above the bars if there are any."""
    if _displays:
        _displays[0].console.print(message, markup=False, highlight=False, soft_wrap=True)
    else:
        print(message, file=sys.stderr, flush=True)


@contextmanager
def bar(total: float, description: str) -> Iterator[ProgressBar]:
    """A bar that is there while the block runs; blocks nest."""
    shown = _open(total, description)
    try:
        yield shown
    finally:
        shown.close()


def _open(total: float, description: str) -> ProgressBar:
    # Imported late: help and wrong words need no bars.
    from rich import progress as rich
    from rich.console import Console

    console = Console(stderr=True)
    if not console.is_terminal:
        return _LineBar(total, description)
    if not _displays:
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
    return _TerminalBar(total, description, _displays[0])


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(round(seconds), 60)
    return f"{minutes}:{seconds:02d}"
