"""A way from one region of a world into another."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from worldmodel.errors import ConfigError, EnvError

from .way import Infos, Way, told

Limits = Sequence[Sequence[float | None] | None]
"""Lowest and highest of the first numbers of an info; None where there is no limit."""


@dataclass(frozen=True)
class Passage(Way):
    """From a region into another, however it is done.

    Attributes:
        start: Info -> limits of its numbers: `{position: [[0.1, null]]}` is where the first number
            of `position` is 0.1 or more. Without any, anywhere.
        end: Likewise.
    """

    start: Mapping[str, Limits] = field(default_factory=dict)
    end: Mapping[str, Limits] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not self.start and not self.end:
            raise ConfigError(
                "a passage needs a region to lead to, or from: say end={position: [[null, 0.1]]}, "
                "or start= likewise"
            )
        for name, limits in [*self.start.items(), *self.end.items()]:
            _check(name, limits)

    @property
    def words(self) -> str:
        """For the protocol."""
        return f"passage from {_words(self.start)} to {_words(self.end)}"

    def leads(self, starts: Infos, goal: Infos) -> np.ndarray:
        """Which starts (n, bool) lie in the one region, if the goal lies in the other."""
        count = len(next(iter(starts.values())))
        there = all(bool(_inside(told(goal, n)[None], n, ls)[0]) for n, ls in self.end.items())
        inside = np.full(count, there)
        for name, limits in self.start.items():
            inside &= _inside(told(starts, name), name, limits)
        return inside


def _inside(values: np.ndarray, name: str, limits: Limits) -> np.ndarray:
    """Which values (n ...) keep the limits (n, bool); one that was not told (NaN) does not."""
    numbers = values.reshape(len(values), -1)
    if len(limits) > numbers.shape[1]:
        raise EnvError(
            f"a passage has limits of {len(limits)} numbers of '{name}', which has "
            f"{numbers.shape[1]}"
        )
    inside = np.ones(len(values), bool)
    for number, pair in zip(numbers.T, limits, strict=False):
        low, high = (None, None) if pair is None else pair
        inside &= number >= (-np.inf if low is None else low)
        inside &= number <= (np.inf if high is None else high)
    return inside


def _check(name: str, limits: Limits) -> None:
    """Refuse what are no limits, or limits that nothing keeps."""
    pairs = limits if isinstance(limits, Sequence) and not isinstance(limits, str) else [limits]
    for pair in pairs:
        if pair is None:
            continue
        fits = isinstance(pair, Sequence) and len(pair) == 2
        if not fits or not all(n is None or type(n) in (int, float) for n in pair):
            break
        low, high = pair
        if low is not None and high is not None and not low <= high:
            break
    else:
        if pairs:
            return
    raise ConfigError(
        f"limits of '{name}' are the lowest and highest of each of its numbers, null where there "
        f"is none, as [[0.1, null], [-1, 1]]; got {limits}"
    )


def _words(region: Mapping[str, Limits]) -> str:
    parts = []
    for name, limits in region.items():
        spans = ("any" if p is None else f"{_end(p[0])}..{_end(p[1])}" for p in limits)
        parts.append(f"{name} in {', '.join(spans)}")
    return " and ".join(parts) or "anywhere"


def _end(limit: float | None) -> str:
    return "" if limit is None else f"{limit:g}"
