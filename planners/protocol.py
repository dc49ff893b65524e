"""What an evaluation asked, in words, with a hash of it; and the words for who answered."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .evaluate import Evaluation
from .success import Success
from .tasks import Task, Tasks

PLAIN = (str, int, float, bool, type(None))


def protocol(
    env: str, view: Any, chosen: Tasks, success: Success, how: Evaluation
) -> dict[str, str]:
    """What a success rate depends on besides who acts, and its hash.

    Two rates can be compared where their hashes are the same: same world, same starts and goals,
    same success, same budget.

    Args:
        env: gymnasium id.
        view: How the world is seen.
        chosen: The tasks.
        success: When a goal counts as reached.
        how: The budget, and the options of the environment.
    """
    asked = {
        "environment": f"{env} {dict(how.env_options or {}) or ''}".strip(),
        "view": described(_chosen(view)),
        "tasks": f"{len(chosen)}: {chosen.words}; {_solved(chosen)}",
        "tasks_sha256": tasks_digest(chosen.tasks),
        "success": success.words,
        "budget": f"{how.budget} environment steps",
    }
    return asked | {"hash": _digest(asked)}


def _solved(chosen: Tasks) -> str:
    if chosen.solved is None:  # an environment tells of it only when an episode has begun
        return "starts that are solved already are in it, and counted"
    return f"{chosen.solved} solved starts removed"


def tasks_digest(tasks: Sequence[Task]) -> str:
    """A hash of starts and goals, of how they are begun, and of the policies' randomness."""
    return _digest([_facts(task) for task in tasks])


def described(part: Any) -> str:
    """An object by its class and settings, the same in every process."""
    if isinstance(part, PLAIN):
        return str(part)
    if isinstance(part, np.ndarray) or hasattr(part, "detach"):
        return f"{type(part).__name__} {tuple(part.shape)}"
    if isinstance(part, Mapping):
        return f"{{{', '.join(f'{name}: {described(value)}' for name, value in part.items())}}}"
    if isinstance(part, Sequence):
        return f"[{', '.join(map(described, part))}]"
    settings = getattr(part, "__dict__", {})
    told = (f"{k}={described(v)}" for k, v in settings.items() if not k.startswith("_"))
    return f"{type(part).__name__}({', '.join(told)})"


def _chosen(view: Any) -> Any:
    """The settings of a view that are not as they are by default: new ones change no older hash."""
    names = getattr(view, "chosen", None)
    return view if names is None else {name: getattr(view, name) for name in names}


def _facts(task: Task) -> list[Any]:
    goal = {name: np.asarray(value).tolist() for name, value in sorted(task.goal.items())}
    return [
        task.seed,
        task.name,
        dict(task.options),
        None if task.replay is None else len(task.replay),
        goal,
        task.draws,
    ]


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]
