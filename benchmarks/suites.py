"""Drawing scenes of the suites of matched clips."""

import time
from collections.abc import Callable
from functools import partial

from benchmarks.table import Row, Table
from worldmodel.envs.suites.flat import CONDITIONS, PROPERTIES, FlatSuite

SIZE, FRAMES = 64, 24
SCENES = 5  # of each condition and property, in a measurement
ROUNDS = 5
LEAST = 2000.0  # frames per second of one core
SUITES: dict[str, Callable[..., FlatSuite]] = {
    "flat": FlatSuite,
    "flat_rich": partial(FlatSuite, rich=True),
}


def bench(*, repeats: int = ROUNDS) -> Table:
    """Frames of possible clips in a second: the spliced ones come for nothing."""
    frames = 2 * FRAMES * SCENES * len(CONDITIONS) * len(PROPERTIES)
    rows = [
        Row.median(f"{name}.frames_per_second", [frames / s for s in _seconds(suite, repeats)],
                   bar=LEAST)
        for name, suite in SUITES.items()
    ]  # fmt: skip
    protocol = {
        "size": SIZE,
        "num_frames": FRAMES,
        "scenes": SCENES * len(CONDITIONS) * len(PROPERTIES),
        "measured": "frames of the two possible clips of each scene in a second of processor time "
        "of one core; scenes that are drawn and not taken count in time; nothing is written",
    }
    return Table("speed-suites", "python -m benchmarks suites", protocol, rows)


def _seconds(suite: Callable[..., FlatSuite], repeats: int) -> list[float]:
    """Processor time of so many drawings, after one that warms up: nothing here has threads."""
    drawn, times = suite(size=SIZE, num_frames=FRAMES), []
    for _ in range(repeats + 1):
        start = time.process_time()
        _draw(drawn)
        times.append(time.process_time() - start)
    return times[1:]


def _draw(suite: FlatSuite) -> None:
    for condition in CONDITIONS:
        for what in PROPERTIES:
            for number in range(SCENES):
                suite.quadruplet("test", condition, what, number)
