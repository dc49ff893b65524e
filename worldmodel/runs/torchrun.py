"""Which of how many processes this is, as `torchrun` says it in the environment.

Imports no torch: what cannot be done by several processes is refused before.
"""

import os
from dataclasses import dataclass

from worldmodel.errors import RunError

_NAMES = {"rank": "RANK", "world": "WORLD_SIZE", "local_rank": "LOCAL_RANK"}


@dataclass(frozen=True)
class Place:
    """A process among those that make a run together; by default it is alone."""

    rank: int = 0  # the first one, 0, writes
    world: int = 1  # how many there are
    local_rank: int = 0  # its number on its own machine

    @property
    def is_first(self) -> bool:
        """True for the process that writes."""
        return self.rank == 0


def place() -> Place:
    """The place of this process.

    Raises:
        RunError: the environment is not one that torchrun makes.
    """
    given = {key: os.environ[name] for key, name in _NAMES.items() if name in os.environ}
    if given.get("world", "1") == "1":
        return Place()
    numbers = {key: int(value) for key, value in given.items() if value.isdigit()}
    if numbers.keys() != _NAMES.keys() or not numbers["rank"] < numbers["world"]:
        shown = ", ".join(f"{_NAMES[key]}={value}" for key, value in given.items())
        raise RunError(
            f"{shown}: is not what torchrun says to its processes; start them with torchrun, or "
            "unset these variables"
        )
    return Place(**numbers)


def is_heard() -> bool:
    """True for the process that speaks to a person: the first. Asks no more of the environment."""
    return os.environ.get("WORLD_SIZE", "1") == "1" or os.environ.get("RANK", "0") == "0"


def refuse(what: str) -> None:
    """Refuse several processes where each would do the same as the others.

    Raises:
        RunError: in the first process, with one line; `SystemExit` in the others, which are silent.
    """
    here = place()
    if here.world == 1:
        return
    if not here.is_first:
        raise SystemExit(2)
    raise RunError(
        f"WORLD_SIZE={here.world}: {what} is done by one process; start `worldmodel` without "
        "torchrun"
    )
