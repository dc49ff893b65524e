"""Where the targets of predictions come from."""

from typing import Literal, get_args

from worldmodel.errors import ConfigError, nearest

Targets = Literal["live", "stopgrad", "ema"]
"""The encoder itself, with gradient or without, or an EMA teacher."""


def check_targets(targets: str, *more: str) -> None:
    """Refuse targets that there are not.

    Args:
        targets: what was asked for.
        more: what can be asked for besides.

    Raises:
        ConfigError: with those that there are.
    """
    choices = (*get_args(Targets), *more)
    if targets not in choices:
        raise ConfigError(f"no targets '{targets}': {nearest(targets, choices)}")
