"""What a plan's run leaves behind: episodes to look at, outcomes, and words on what is missing."""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import gymnasium

from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.storage.files import whole_file

from .collect import folder_info, say_left_out, to_episode
from .episode_loop import EpisodeRecord
from .evaluate import Evaluation, to_show
from .success import Outcome
from .tasks import Task

if TYPE_CHECKING:
    from worldmodel.runs.run import Run


def write_what_came(
    run: "Run", env: str, make: Callable[[], gymnasium.Env], tasks: Sequence[Task],
    records: Sequence[EpisodeRecord], outcomes: Sequence[Outcome], how: Evaluation,
) -> None:  # fmt: skip
    """Write some episodes with their frames and the outcomes of all; say what they did not tell."""
    shown = {i: records[i] for i in to_show(outcomes, how.keep)}
    write_episodes(run.folder / "episodes", shown, make, env)
    write_outcomes(run.folder / "outcomes.json", records, tasks, outcomes, how.violation)
    say_what_is_missing(run, records, outcomes, how.violation)


def say_what_is_missing(
    run: "Run", records: Sequence[EpisodeRecord], outcomes: Sequence[Outcome], violation: str
) -> None:
    """Name the infos that are not recorded, and what the episodes did not tell."""
    said: set[str] = set()
    for record in records:
        say_left_out(run, record.left_out, said)
    told = {
        "success": [o.once is not None for o in outcomes],
        violation: [r.ever(violation) is not None for r in records],
    }
    for name, episodes in told.items():
        if not any(episodes):
            run.say(f"no info '{name}' in any step, so no rate of it is reported")
        elif not all(episodes):
            run.say(
                f"info '{name}' in {sum(episodes)} of {len(episodes)} episodes; the others "
                "count as without"
            )


def write_episodes(
    folder: Path, records: Mapping[int, EpisodeRecord], make: Callable[[], gymnasium.Env], env: str
) -> None:
    """Write episodes by the numbers of their tasks, with their frames."""
    if not records:
        return
    with make() as opened:
        info = folder_info(opened, env, labelled=True)
    with EpisodeWriter(folder, info) as writer:
        for index, record in records.items():
            writer.write(to_episode(record, info), index)


def write_outcomes(
    path: Path, records: Sequence[EpisodeRecord], tasks: Sequence[Task],
    outcomes: Sequence[Outcome], violation: str,
) -> None:  # fmt: skip
    """One line for each episode, for comparing two runs pair by pair; null is what was not told."""
    lines = [
        {
            "seed": task.seed, "task": task.name, "success": outcome.once,
            "success_at_end": outcome.at_end, "success_held": outcome.held, "first": outcome.first,
            "violation": record.ever(violation), "steps": record.steps,
        }
        for record, task, outcome in zip(records, tasks, outcomes, strict=True)
    ]  # fmt: skip
    with whole_file(path) as temporary:
        temporary.write_text("[\n" + ",\n".join(json.dumps(line) for line in lines) + "\n]\n")


def write_json(path: Path, value: object) -> None:
    """Write a file of JSON, whole or not at all."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(value, indent=1) + "\n")
