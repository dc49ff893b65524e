"""Files of starts and goals, so that two models, or two toolkits, are asked the same.

The form is that of CLEAR-LeWM's manifests (its version 1): JSON whose `pairs` name episodes by
number, and steps of them. Each plan to goals of episodes writes one, and `goal=pairs.json` reads
one. Where the goal is of another episode, `goal_episode_id` says so, which CLEAR-LeWM does not
know. Under `protocol` stand the words and the seed that a plan needs to ask exactly the same.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import accumulate
from pathlib import Path
from typing import Any

from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError

from .protocol import tasks_digest
from .recorded_tasks import Moment, draws_of, how_begun, is_restored, require_beginning
from .success import Success
from .tasks import Pair, Task, Tasks

VERSION = "clear-lewm-manifest-v1"
_KIND = "tasks-sha256"  # of the fingerprint of what was asked, starts and goals and all


@dataclass(frozen=True)
class Manifest:
    """What a file asks."""

    pairs: list[Pair]
    budget: int | None  # environment steps, if it says so
    offset: int  # steps from a start to its goal, as it says or as its pairs have them at most
    seed: int | None  # of the policies' randomness
    words: str | None  # of the plan that wrote it
    solved: int  # starts that had been left out when it was written
    digest: str | None  # of the tasks, where a plan wrote it


def read_manifest(path: Path) -> Manifest:
    """The pairs of a file.

    Raises:
        ConfigError: it is missing, or is no such file.
    """
    try:
        told = json.loads(path.read_text())
        version = told["schema_version"]
        listed, protocol = told["pairs"], told.get("protocol", {})
        print_of = told.get("dataset", {}).get("fingerprint", {})
        solved = told.get("statistics", {}).get("solved_starts_removed", 0)
        if version != VERSION:
            raise ConfigError(f"goal={path}: pairs of version {version}, {VERSION} is read")
        pairs = [
            Pair(
                _count(one["episode_id"]), _count(one["start_step"]),
                _count(one.get("goal_episode_id", one["episode_id"])), _count(one["goal_step"]),
            )
            for one in listed
        ]  # fmt: skip
        own = [abs(p.goal - p.start) for p in pairs if p.episode == p.goal_episode]
        budget, seed = protocol.get("eval_budget"), told.get("policy_seed")
        offset = protocol.get("goal_offset", max(own, default=0))
        manifest = Manifest(
            pairs, None if budget is None else _count(budget, least=1), _count(offset),
            None if seed is None else _count(seed), protocol.get("words"), _count(solved),
            print_of.get("value") if print_of.get("kind") == _KIND else None,
        )  # fmt: skip
    except FileNotFoundError:
        raise ConfigError(f"goal={path}: no such file of pairs") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(
            f"goal={path}: is no file of pairs ({type(error).__name__}: {error})"
        ) from error
    if not pairs:
        raise ConfigError(f"goal={path}: has no pairs")
    return manifest


def _count(value: Any, *, least: int = 0) -> int:
    if type(value) is not int or value < least:
        raise ValueError(f"{value!r} is no whole number from {least} on")
    return value


def manifest_tasks(
    recorded: Episodes, path: Path, success: Success, *, episodes: int, seed: int
) -> Tasks:
    """The first pairs of a file, but for starts that are at their goal already.

    Args:
        recorded: The episodes that it is about.
        path: The file.
        success: When a goal counts as reached.
        episodes: How many pairs at most.
        seed: Of the policies' randomness, where the file says none.

    Raises:
        ConfigError: the file is no such file, or names an episode or a step that is not there, or
            was written of other episodes.
        EpisodeError: an episode cannot be begun again.
    """
    if episodes < 1:
        raise ConfigError(f"episodes={episodes}: an evaluation has at least one")
    asked = read_manifest(path)
    seed = seed if asked.seed is None else asked.seed
    found: list[Task] = []
    solved = seen = 0
    restored = True
    places = {number: place for place, number in enumerate(recorded.numbers)}
    for pair in asked.pairs:
        start, goal = _moments(pair, recorded, places, path)
        require_beginning(start.episode, start.step)
        if start.distance(success, goal) <= 1:
            solved += 1
            continue
        seen += pair.episode not in recorded.info.held_out
        restored &= is_restored(start.episode)
        name = "offset" if pair.episode == pair.goal_episode else "crossed"
        found.append(start.task(goal, name, draws=draws_of(seed, len(found))))
        if len(found) == episodes:
            break
    if not found:
        raise ConfigError(f"goal={path}: has no pair whose start is away from its goal")
    if asked.digest is not None and len(found) == len(asked.pairs):
        if tasks_digest(found) != asked.digest:
            raise ConfigError(
                f"goal={path}: was written of other episodes than those of {recorded.name}; "
                "name theirs with episodes_from="
            )
        return Tasks(found, asked.words or "", asked.solved)
    resets = not restored and all(task.pair is None or not task.pair.start for task in found)
    how = how_begun(restored=restored, resets=resets)
    apart = f", {seen} of them of episodes that are not held out from training" if seen else ""
    return Tasks(found, f"pairs of {path.name}{apart} (starts {how})", solved)


def _moments(
    pair: Pair, recorded: Episodes, places: Mapping[int, int], path: Path
) -> tuple[Moment, Moment]:
    """Start and goal of a pair; `places` are those of the episodes' numbers."""
    moments = []
    for number, step in ((pair.episode, pair.start), (pair.goal_episode, pair.goal)):
        if number not in places:
            raise ConfigError(f"goal={path}: {recorded.name} has no episode {number}")
        episode = recorded.read(places[number])
        if step >= len(episode):
            raise ConfigError(
                f"goal={path}: names step {step} of episode {number}, which has {len(episode)}"
            )
        moments.append(Moment(episode, step, number))
    return moments[0], moments[1]


def manifest_of(
    tasks: Tasks, recorded: Episodes, facts: Mapping[str, str], *, budget: int, offset: int,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """What a file says of tasks that were recorded.

    Args:
        tasks: All of one folder.
        recorded: That folder.
        facts: The protocol, in words.
        budget: Environment steps.
        offset: Steps from a start to its goal, or as far away.
        seed: Of the policies' randomness.
    """
    first = dict(zip(recorded.numbers, accumulate(recorded.lengths, initial=0), strict=False))
    asked = [task.pair for task in tasks.tasks if task.pair is not None]
    pairs = []
    for number, pair in enumerate(asked):
        pairs.append({
            "pair_id": number, "episode_id": pair.episode, "start_step": pair.start,
            "goal_step": pair.goal, "start_row": first[pair.episode] + pair.start,
            "goal_row": first[pair.goal_episode] + pair.goal, "initial_success": False,
        })  # fmt: skip
        if pair.goal_episode != pair.episode:
            pairs[-1]["goal_episode_id"] = pair.goal_episode
    apart = all(pair.episode in recorded.info.held_out for pair in asked)
    return {
        "schema_version": VERSION,
        "created_utc": datetime.now(UTC).isoformat(),
        "task": recorded.info.env_id,
        "protocol": {
            **facts, "words": tasks.words, "eval_budget": budget, "goal_offset": offset,
            "exclude_initial_success": True,
        },
        "seed": seed, "policy_seed": seed, "split": "heldout" if apart else "all",
        "dataset": {
            "name": " ".join(folder.name for folder in recorded.folders),
            "episode_column": "number",
            "fingerprint": {"kind": _KIND, "value": tasks_digest(tasks.tasks)},
        },
        "statistics": {
            "num_eval": len(pairs), "unique_episodes": len({one["episode_id"] for one in pairs}),
            "solved_starts_removed": tasks.solved,
        },
        "pairs": pairs,
    }  # fmt: skip
