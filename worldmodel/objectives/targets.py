"""Where the targets of predictions come from."""

from typing import Literal, get_args

from worldmodel.errors import ConfigError, nearest

Targets = Literal["live", "stopgrad", "ema"]
"""The encoder itself, with gradient or without, or an EMA teacher."""


def check_targets(targets: str) -> None:
    """Refuse targets that there are not.

    Raises:
        ConfigError: with those that there are.
    """
    if targets not in get_args(Targets):
        raise ConfigError(f"no targets '{targets}': {nearest(targets, get_args(Targets))}")
