"""Held-out episodes of a policy, and what they add up to."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from worldmodel.errors import ConfigError
from worldmodel.evaluation.statistics import rate_results
from worldmodel.loading.workers import spread

from .collect import FIRST_HELD_OUT_SEED, SEEDS_PER_RUN
from .episode import EpisodeRecord, Policy, make_env, run_episode


@dataclass(frozen=True)
class Task:
    """One episode to be evaluated on."""

    seed: int  # of the reset
    name: str  # kind of start and goal, given to the reset as the option `task`


def held_out_tasks(names: Sequence[str], *, episodes: int, seed: int) -> list[Task]:
    """Tasks of the kinds `names` in turn, from resets that no collection uses."""
    if episodes < 1 or episodes > SEEDS_PER_RUN or seed < 0 or not names:
        raise ConfigError(
            f"an evaluation needs tasks, a seed >= 0 and 1 to {SEEDS_PER_RUN} episodes, "
            f"got {list(names)}, {seed} and {episodes}"
        )
    first = FIRST_HELD_OUT_SEED + SEEDS_PER_RUN * seed
    return [Task(first + i, names[i % len(names)]) for i in range(episodes)]


def evaluate(
    env: str,
    make_policy: Callable[[], Policy],
    *,
    tasks: Sequence[Task],
    max_steps: int,
    workers: int = 1,
    env_options: Mapping[str, Any] | None = None,
    keep: int | None = None,
) -> Iterator[EpisodeRecord]:
    """Run one episode for each task; records come in the order of the tasks, one by one.

    Their contents do not depend on `workers`, but for the seconds.

    Args:
        env: gymnasium id.
        make_policy: Called once in each process; picklable where `workers > 1`.
        tasks: What to do.
        max_steps: Budget of each episode.
        workers: Processes that work at the same time, on one thread each.
        env_options: Keyword arguments of the environment.
        keep: Of how many episodes, from the first, the frames are kept; all by default.
    """
    kept = len(tasks) if keep is None else keep
    jobs = [(task, i < kept) for i, task in enumerate(tasks)]
    work = partial(_open_evaluation, env, dict(env_options or {}), make_policy, max_steps)
    return spread(work, jobs, workers=workers)


@contextmanager
def _open_evaluation(
    env: str, env_options: Mapping[str, Any], make_policy: Callable[[], Policy], max_steps: int
) -> Iterator[Callable[[tuple[Task, bool]], EpisodeRecord]]:
    policy = make_policy()
    opened = make_env(env, env_options)

    def run_one(job: tuple[Task, bool]) -> EpisodeRecord:
        task, keep = job
        options = {"task": task.name}
        record = run_episode(opened, policy, seed=task.seed, options=options, max_steps=max_steps)
        return record if keep else record.without_frames()

    try:
        yield run_one
    finally:
        opened.close()


def summarise(
    records: Sequence[EpisodeRecord], tasks: Sequence[Task], *, violation: str = "hazard_contact"
) -> dict[str, float]:
    """Rates with their counts and intervals, and means, of an evaluation.

    Args:
        records: As `evaluate` gave them.
        tasks: What they were asked to do, in the same order.
        violation: Name of the info that says whether a frame violates what is guarded.

    Returns:
        `success`, `success_<task>`, `violation_rate` (episodes with any violation),
        `steps_to_success` (mean over the successful; NaN if there are none), `already_solved`,
        and, where the policy plans, `seconds_per_decision`, `model_calls` (a decision) and
        `unsafe_decisions` (share for which nothing safe was found).
    """
    n = len(records)
    results = rate_results("success", sum(r.success for r in records), n)
    for name in dict.fromkeys(task.name for task in tasks):
        chosen = [r for r, task in zip(records, tasks, strict=True) if task.name == name]
        results |= rate_results(f"success_{name}", sum(r.success for r in chosen), len(chosen))
    results |= rate_results("violation_rate", sum(r.ever(violation) for r in records), n)
    solved = [r.steps for r in records if r.success]
    results["steps_to_success"] = sum(solved) / len(solved) if solved else float("nan")
    already = sum(bool(r.infos["success"][0]) for r in records if "success" in r.infos)
    results |= rate_results("already_solved", already, n)
    decisions = sum(r.numbers.get("decisions", 0.0) for r in records)
    if decisions:
        totals = {"seconds_per_decision": "seconds", "model_calls": "model_calls"}
        totals["unsafe_decisions"] = "unsafe"
        for result, counted in totals.items():
            results[result] = sum(r.numbers[counted] for r in records) / decisions
    return results
