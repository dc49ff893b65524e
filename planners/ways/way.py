"""The interface of ways from a start to a goal, by what an environment tells at both.

The same way is left out of a collection (`without=`) and asked of a plan (`pairs=`).
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping

import numpy as np

from worldmodel.errors import EnvError, nearest

Infos = Mapping[str, np.ndarray]


class Way(ABC):
    """A kind of way from a start to a goal, such as a passage from one room to another."""

    @property
    @abstractmethod
    def words(self) -> str:
        """What it is, for the protocol."""

    @abstractmethod
    def leads(self, starts: Infos, goal: Infos) -> np.ndarray:
        """Which starts (n, bool) such a way leads from to a goal.

        Args:
            starts: Name -> n ...
            goal: Name -> ...

        Raises:
            EnvError: an info that it goes by is not told.
        """

    def frames_before(self, infos: Infos) -> int:
        """How many frames of an episode come before the first to which such a way has led.

        Args:
            infos: Name -> t ..., one entry for each frame.

        Returns:
            From 0 to t. No frame before has such a way to it, from itself or an earlier one.
        """
        length = len(next(iter(infos.values())))
        for t in range(length):
            seen = {name: values[: t + 1] for name, values in infos.items()}
            if self.leads(seen, {name: values[t] for name, values in infos.items()}).any():
                return t
        return length


def told(infos: Infos, name: str) -> np.ndarray:
    """An info, in double precision.

    Raises:
        EnvError: it is not told.
    """
    if name not in infos:
        raise EnvError(
            f"a way goes by the info '{name}', which is not told: {nearest(name, infos)}"
        )
    return np.asarray(infos[name], np.float64)
