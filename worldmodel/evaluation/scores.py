"""The scores of a clip's steps, checked where they come in from outside."""

import numpy as np

from worldmodel.errors import ConfigError


def checked_scores(whose: str, scores: np.ndarray) -> np.ndarray:
    """The scores as float64.

    Args:
        whose: they are, for the message.
        scores: t, of each step.

    Raises:
        ConfigError: they are none, have more axes, or are not finite.
    """
    checked = np.asarray(scores, dtype=np.float64)
    if checked.ndim != 1 or not len(checked):
        raise ConfigError(f"{whose}: scores are one number a step, got shape {checked.shape}")
    if not np.isfinite(checked).all():
        raise ConfigError(
            f"{whose}: scores must be finite, got {checked[~np.isfinite(checked)][0]:g} at step "
            f"{int(np.flatnonzero(~np.isfinite(checked))[0])}"
        )
    return checked
