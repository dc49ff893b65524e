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
    if targets == "frozen" and "frozen" not in more:
        raise ConfigError(
            "objective.targets=frozen: this objective predicts changes of the model's own latents, "
            "which say nothing of a finished model's; say objective=masked_tokens, or "
            f"objective.targets={', '.join(choices)}"
        )
    if targets not in choices:
        raise ConfigError(f"no targets '{targets}': {nearest(targets, choices)}")
