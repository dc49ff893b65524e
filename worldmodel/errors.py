"""Errors that a user can cause, each in one line.

Each is a `WorldModelError` that names the thing, the rule and the choices. The command line prints
that line and exits with 2. Inside the library, `assert` guards only our own invariants.
"""

import difflib
from collections.abc import Iterable


class WorldModelError(Exception):
    """Base of every error that this package raises on purpose: one line, whatever it quotes."""

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


class VideoError(WorldModelError):
    """A video, a folder of videos or a manifest cannot be read."""


class EpisodeError(WorldModelError):
    """An episode file or a folder of episodes cannot be read or is inconsistent."""


class CheckpointError(WorldModelError):
    """A saved model or training state cannot be read, or does not fit what it is loaded into."""


class ConfigError(WorldModelError):
    """A setting is unknown, has a wrong type, or contradicts another one."""


class RunError(WorldModelError):
    """A run folder cannot be used: missing, of another program, or made with other settings."""


class EnvError(WorldModelError):
    """An environment is unknown, cannot be rendered, or was used against its contract."""


class ShapeError(WorldModelError, ValueError):
    """A tensor has the wrong axes, type or range."""


def printable(message: str) -> str:
    """The message in one line that any terminal shows: names of files may hold anything."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in message
    )


def nearest(name: str, choices: Iterable[str]) -> str:
    """The hint "did you mean 'x'?" with the choice closest to `name`, or the sorted choices."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from: {', '.join(choices)}"
