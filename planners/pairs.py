"""Files of starts and goals, so that two models, or two toolkits, are asked the same.

The form is that of CLEAR-LeWM's manifests (its version 1): JSON whose `pairs` name episodes by
number, and steps of them. Each plan to goals of episodes writes one, and `goal=pairs.json` reads
one. Where the goal is of another episode, `goal_episode_id` says so, which CLEAR-LeWM does not
know.
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

from .success import Success
from .tasks import Moment, Pair, Task, Tasks, draws_of, is_restored, require_beginning

VERSION = "clear-lewm-manifest-v1"


@dataclass(frozen=True)
class Manifest:
    """What a file asks."""

    pairs: list[Pair]
    budget: int | None  # environment steps, if it says so

    @property
    def offset(self) -> int:
        """The most steps from a start to its goal, where both are of one episode."""
        own = [pair.goal - pair.start for pair in self.pairs if pair.episode == pair.goal_episode]
        return max(own, default=0)


def read_manifest(path: Path) -> Manifest:
    """The pairs of a file.

    Raises:
        ConfigError: it is missing, or is no such file.
    """
    try:
        told = json.loads(path.read_text())
        version = told["schema_version"]
        if version != VERSION:
            raise ConfigError(f"goal={path}: pairs of version {version}, {VERSION} is read")
        pairs = [
            Pair(
                int(one["episode_id"]), int(one["start_step"]),
                int(one.get("goal_episode_id", one["episode_id"])), int(one["goal_step"]),
            )
            for one in told["pairs"]
        ]  # fmt: skip
        budget = told.get("protocol", {}).get("eval_budget")
        return Manifest(pairs, None if budget is None else int(budget))
    except FileNotFoundError:
        raise ConfigError(f"goal={path}: no such file of pairs") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigError(
            f"goal={path}: is no file of pairs ({type(error).__name__}: {error})"
        ) from error


def manifest_tasks(
    recorded: Episodes, path: Path, success: Success, *, episodes: int, seed: int
) -> Tasks:
    """The first pairs of a file, but for starts that are at their goal already.

    Raises:
        ConfigError: the file is no such file, or names an episode or a step that is not there.
        EpisodeError: an episode cannot be begun again.
    """
    places = {number: place for place, number in enumerate(recorded.numbers)}
    found: list[Task] = []
    solved = seen = 0
    restored = True
    for pair in read_manifest(path).pairs:
        moments = []
        for number, step in ((pair.episode, pair.start), (pair.goal_episode, pair.goal)):
            if number not in places:
                raise ConfigError(f"goal={path}: {recorded.folder} has no episode {number}")
            episode = recorded.read(places[number])
            if not 0 <= step < len(episode):
                raise ConfigError(
                    f"goal={path}: names step {step} of episode {number}, which has {len(episode)}"
                )
            moments.append(Moment(episode, step, number))
        start, goal = moments
        require_beginning(start.episode)
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
    how = "set in the simulator" if restored else "reached again by the recorded actions"
    apart = f", {seen} of them of episodes that are not held out from training" if seen else ""
    return Tasks(found, f"pairs of {path.name}{apart} (starts {how})", solved)


def manifest_of(
    tasks: Tasks, recorded: Episodes, facts: Mapping[str, str], *, budget: int, seed: int
) -> dict[str, Any]:
    """What a file says of tasks; without those that were not recorded.

    Args:
        tasks: All of one folder.
        recorded: That folder.
        facts: The protocol, in words.
        budget: Environment steps.
        seed: Of the run that chose them.
    """
    lengths = recorded.lengths
    first = dict(zip(recorded.numbers, accumulate(lengths, initial=0), strict=False))
    pairs = []
    for number, pair in enumerate(task.pair for task in tasks.tasks if task.pair is not None):
        pairs.append({
            "pair_id": number, "episode_id": pair.episode, "start_step": pair.start,
            "goal_step": pair.goal, "start_row": first[pair.episode] + pair.start,
            "goal_row": first[pair.goal_episode] + pair.goal, "initial_success": False,
        })  # fmt: skip
        if pair.goal_episode != pair.episode:
            pairs[-1]["goal_episode_id"] = pair.goal_episode
    return {
        "schema_version": VERSION,
        "created_utc": datetime.now(UTC).isoformat(),
        "task": recorded.info.env_id,
        "protocol": {**facts, "eval_budget": budget, "exclude_initial_success": True},
        "seed": seed, "policy_seed": seed, "split": "heldout",
        "dataset": {
            "name": recorded.folder.name, "episode_column": "number",
            "fingerprint": {"kind": "tasks-sha256", "value": facts["tasks_sha256"]},
        },
        "statistics": {
            "num_eval": len(pairs), "unique_episodes": len({one["episode_id"] for one in pairs}),
            "solved_starts_removed": tasks.solved,
        },
        "pairs": pairs,
    }  # fmt: skip
