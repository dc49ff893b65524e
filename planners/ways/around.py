"""A way round a thing that stands in between and is not moved."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from worldmodel.errors import ConfigError, EnvError

from .way import Infos, Way, told


@dataclass(frozen=True)
class Around(Way):
    """From one side of a thing to the other, the thing being where it was.

    Where `within` is less than the mover's own radius, and the point that tells the thing's place
    is a part of it, the straight way would touch it: it has to be gone round.

    Attributes:
        mover: Info that tells where what acts is (2 or 3 numbers, as of the thing).
        thing: Info that tells where the thing is.
        within: How near the straight way from start to goal comes to the thing, between the two.
        still: Info -> how far its goal's value may be from its start's: what has not been moved.
    """

    mover: str
    thing: str
    within: float
    still: Mapping[str, float]

    def __post_init__(self) -> None:
        radii = [self.within, *self.still.values()]
        if not self.still or not all(type(r) in (int, float) and r > 0 for r in radii):
            raise ConfigError(
                "a way around needs within > 0, and still={INFO: RADIUS} with radii > 0 of what is "
                f"not moved; got within={self.within} and still={dict(self.still)}"
            )

    @property
    def words(self) -> str:
        """For the protocol."""
        still = ", ".join(f"{name} within {radius:g}" for name, radius in self.still.items())
        return (
            f"way of {self.mover} around {self.thing}, {self.within:g} or less from the straight "
            f"one, unmoved ({still})"
        )

    def leads(self, starts: Infos, goal: Infos) -> np.ndarray:
        """Which starts (n, bool) lie on the other side of the thing than the goal."""
        here, thing = told(starts, self.mover), told(starts, self.thing)
        there = told(goal, self.mover)
        if here.ndim != 2 or here.shape != thing.shape:
            raise EnvError(
                f"a way around compares places: '{self.mover}' and '{self.thing}' have shapes "
                f"{here.shape[1:]} and {thing.shape[1:]}"
            )
        along = there - here
        length = (along**2).sum(1)
        share = ((thing - here) * along).sum(1) / np.where(length > 0, length, 1)
        nearest = here + share[:, None] * along
        between = (length > 0) & (share > 0) & (share < 1)
        between &= np.linalg.norm(nearest - thing, axis=1) <= self.within
        for name, radius in self.still.items():
            moved = told(starts, name).reshape(len(here), -1) - told(goal, name).reshape(1, -1)
            between &= np.linalg.norm(moved, axis=1) <= radius
        return between
