"""Errors that a user can cause, each in one line.

Each is a `WorldModelError` that names the thing, the rule and the choices. The command line prints
that line and exits with 2. Inside the library, `assert` guards only our own invariants.
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
    """A run folder cannot be used: missing, of another program, in use, or of other settings."""


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


def _cut(message: str) -> str:
    """A message without its middle where it is too long: names stand first, remedies last."""
    if len(message) <= _LONGEST:
        return message
    half = _LONGEST // 2 - 25
    return f"{message[:half]} ... {len(message) - 2 * half} characters ... {message[-half:]}"


def nearest(name: str, choices: Iterable[str], *, listed_by: str = "") -> str:
    """A hint at what was probably meant by a wrong name.

    The last part of a dotted choice counts too: `steps` is close to `optimisation.steps`.

    Args:
        name: What was said.
        choices: What can be said.
        listed_by: The command that lists all choices, where they are too many for a message.

    Returns:
        "did you mean 'x'?" with at most five choices, else the choices or where they are listed.
    """
    choices = sorted(choices)
    own = name.rpartition(".")[2]
    alike: dict[str, list[str]] = {}  # choices by their last part
    for choice in choices:
        alike.setdefault(choice.rpartition(".")[2], []).append(choice)
    spelled = difflib.get_close_matches(name, choices, n=1)
    same = alike.get(own, [])
    close = spelled or same if "." in name else same or spelled
    close = close or sum((alike[end] for end in difflib.get_close_matches(own, alike, n=5)), [])
    if close:
        *others, final = [f"'{choice}'" for choice in close[:5]]
        hint = f"did you mean {', '.join(others)}{' or ' if others else ''}{final}?"
        return f"{hint} {listed_by} lists all {len(choices)}" if listed_by else hint
    if listed_by and len(choices) > 5:
        return f"{listed_by} lists all {len(choices)}"
    return f"choose from: {', '.join(choices)}"
