"""Another plan of the same tasks, to compare with pair by pair."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError

from .evaluate import compared
from .success import Outcome


def outcomes_beside(folder: str | None, asked: str) -> list[Outcome]:
    """How each episode of an earlier plan ended; nothing where none is named.

    Args:
        folder: Of the plan's run.
        asked: Hash of what is asked now, see `protocol`; that plan must have been asked the same.

    Raises:
        ConfigError: it is no finished plan, is damaged, or was asked something else.
    """
    if folder is None:
        return []
    place = Path(folder)
    then, lines = (_read(place / name) for name in ("protocol.json", "outcomes.json"))
    try:
        if then["hash"] != asked:
            raise ConfigError(
                f"evaluation.beside={folder} was asked something else (hash {then['hash']}, now "
                f"{asked}): world, view, starts and goals, success and budget must be the same"
            )
        return [
            Outcome(
                line["success"], line["success_at_end"], line["success_held"], line["steps"],
                line["first"],
            )
            for line in lines
        ]  # fmt: skip
    except (KeyError, TypeError) as cause:
        raise ConfigError(f"evaluation.beside={folder}: its files are damaged") from cause


def compare_beside(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> dict[str, float]:
    """What the other plan reached, and how likely the difference is by chance, if there is one.

    Returns:
        `beside_success`, `beside_success_at_end` and `beside_success_held`, what was told of all
        episodes, and `beside_p`, McNemar's exact test, see `compared`.
    """
    if not others:
        return {}
    results = {}
    names = {"success": "once", "success_at_end": "at_end", "success_held": "held"}
    for name, attribute in names.items():
        told = [getattr(outcome, attribute) for outcome in others]
        if told and None not in told:
            results[f"beside_{name}"] = sum(told) / len(told)
    for chance in compared(outcomes, others):
        results["beside_p"] = chance
    return results


def _read(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except (OSError, ValueError) as cause:
        raise ConfigError(
            f"evaluation.beside={path.parent} is no finished plan of this version: "
            f"{path.name} cannot be read"
        ) from cause
