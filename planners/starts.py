"""How an episode begins: a reset, recorded actions after it, and what has to be found there."""

from collections.abc import Mapping
from typing import Any

import gymnasium
import numpy as np

from worldmodel.errors import EnvError

from .action_space import ActionSpace
from .environment import name_of, reset, step

# Images show the same view where few of 8 x 8 fields differ by more than this, of 255, in mean: a
# mover that stands elsewhere changes one or two, another camera most of those with anything in it.
FIELDS, SAME, FEW = 8, 12.0, 4


def begun(
    env: gymnasium.Env, space: ActionSpace, *, seed: int, options: Mapping[str, Any] | None,
    replay: np.ndarray | None,
) -> tuple[np.ndarray, dict[str, Any]]:  # fmt: skip
    """The image and the infos after a reset and the recorded actions `replay` (n r).

    Raises:
        EnvError: the environment ends on the way.
    """
    first, info = reset(env, seed=seed, options=options)
    replay = np.zeros((0, 0)) if replay is None else replay
    for number, action in enumerate(replay, start=1):
        given = space.again(action)
        first, _, terminated, truncated, info = step(env, given, number=number, like=first)
        if terminated or truncated:
            raise EnvError(
                f"environment '{name_of(env)}' ended at step {number} of {len(replay)} that "
                f"were recorded after its reset with seed {seed}: it does not repeat itself"
            )
    return first, info


def require_shown(first: np.ndarray, shown: np.ndarray, env: gymnasium.Env) -> None:
    """Refuse a start that looks otherwise than what was recorded of it.

    Raises:
        EnvError: so it is.
    """
    if first.shape != shown.shape:
        raise EnvError(
            f"environment '{name_of(env)}' shows {first.shape[:2]} pixels, its episodes were "
            f"recorded at {shown.shape[:2]}: say the same view.size= or env_options="
        )
    differ, fields = fields_apart(first, shown)
    if differ > FEW:
        raise EnvError(
            f"environment '{name_of(env)}' shows another start than was recorded of it ({differ} "
            f"of {fields} fields of the image differ): give it the view= and env_options= of "
            "the collection; if they are the same, it does not repeat itself: plan with goal=env"
        )


def fields_apart(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
    """How many fields of two images (h w 3 each) differ, and how many there are."""
    side = [max(1, size // FIELDS) for size in other.shape[:2]]
    rows, columns = (
        slice(0, size // part * part) for size, part in zip(other.shape[:2], side, strict=True)
    )
    apart = np.abs(one.astype(int) - other)[rows, columns]
    fields = apart.reshape(-1, side[0], apart.shape[1] // side[1], side[1], 3).mean((1, 3, 4))
    return int((fields > SAME).sum()), fields.size


def require_told(
    info: Mapping[str, Any], told: Mapping[str, np.ndarray], env: gymnasium.Env
) -> None:
    """Refuse a start that tells other numbers than were recorded of it.

    Raises:
        EnvError: so it is.
    """
    if (name := told_otherwise(info, told)) is not None:
        raise EnvError(
            f"environment '{name_of(env)}' tells another '{name}' at its start than was recorded "
            "of it: it does not repeat itself, or was made with other env_options or another view; "
            "say those of the collection, or plan with goal=env"
        )


def told_otherwise(info: Mapping[str, Any], told: Mapping[str, np.ndarray]) -> str | None:
    """The first of the infos that were `told` that is another in `info`; None if none is."""
    for name, wanted in told.items():
        found = np.asarray(info.get(name, np.full(wanted.shape, np.nan)), np.float64)
        if found.shape == wanted.shape and np.allclose(
            found, wanted, rtol=1e-3, atol=1e-3 * max(1e-3, np.nanmax(np.abs(wanted), initial=0)),
            equal_nan=True,
        ):  # fmt: skip
            continue
        return name
    return None
