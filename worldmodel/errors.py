"""What can go wrong at the border, in the user's words.

Every error that a user can cause is a `WorldModelError`: one line that names the thing, the rule
and the choices. The command line prints that line and exits with 2. Inside the library, `assert`
guards only our own invariants.
"""

import difflib
from collections.abc import Iterable

_LONGEST = 1200  # characters of a message: less than a screen of 24 lines


class WorldModelError(Exception):
    """Base of every error that this package raises on purpose.

    It is one printable line, no longer than a screen, whatever it quotes.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(_cut(printable(message)))


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
    """A tensor does not have the axes, the type or the range that its place asks for."""


def printable(message: str) -> str:
    """The message in one line that any terminal shows: names of files may hold anything."""
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape", "replace").decode()
        for letter in message
    )


def _cut(message: str) -> str:
    """A message without its middle where it is too long: names stand first, remedies last."""
    if len(message) <= _LONGEST:
        return message
    half = _LONGEST // 2 - 25
    return f"{message[:half]} ... {len(message) - 2 * half} characters ... {message[-half:]}"


def nearest(name: str, choices: Iterable[str]) -> str:
    """The hint "did you mean 'x'?" with the choice closest to `name`, or the sorted choices."""
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1)
    return f"did you mean '{close[0]}'?" if close else f"choose from: {', '.join(choices)}"
