"""Run a policy on held-out episodes, and sum up how it did."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from worldmodel.errors import ConfigError
from worldmodel.evaluation.statistics import rate_results
from worldmodel.loading.workers import spread

from .collect import FIRST_HELD_OUT_SEED, SEEDS_PER_RUN
from .episode_loop import SUCCESS, EpisodeRecord, Policy, make_env, run_episode

# Results of a policy that plans, and what it counts of them; each a mean over decisions.
MEANS = {
    "seconds_per_decision": "seconds",
    "model_calls": "model_calls",
    "unsafe_decisions": "unsafe",
}


@dataclass(frozen=True)
class Evaluation:
    """How episodes are run and what is kept of them."""

    tasks: Sequence[str]  # kinds of start and goal, in turn; given to the reset as option `task`
    max_steps: int = 60  # budget of an episode, in environment steps
    violation: str = "hazard_contact"  # name of the info that is true where a frame violates
    baselines: bool = True  # evaluate random actions and doing nothing on the same tasks too
    keep: int = 6  # how many episodes, from the first, are written with their frames
    workers: int = 2  # processes that evaluate at the same time
    env_options: Mapping[str, Any] | None = None  # keyword arguments of the environment


@dataclass(frozen=True)
class Task:
    """One episode of an evaluation."""

    seed: int  # of the reset
    name: str  # kind of start and goal, given to the reset as the option `task`


def held_out_tasks(names: Sequence[str], *, episodes: int, seed: int) -> list[Task]:
    """Tasks of the kinds `names` in turn, with reset seeds that no collection uses."""
    if not 1 <= episodes <= SEEDS_PER_RUN or seed < 0 or not names:
        raise ConfigError(
            f"an evaluation needs tasks, a seed >= 0 and 1 to {SEEDS_PER_RUN} episodes, "
            f"got {list(names)}, {seed} and {episodes}"
        )
    first = FIRST_HELD_OUT_SEED + SEEDS_PER_RUN * seed
    return [Task(first + i, names[i % len(names)]) for i in range(episodes)]


def evaluate(
    env: str, make_policy: Callable[[], Policy], tasks: Sequence[Task], how: Evaluation
) -> Iterator[EpisodeRecord]:
    """Run one episode for each task; records come one by one, in the order of the tasks.

    Except for the seconds, they do not depend on the number of workers.

    Args:
        env: gymnasium id.
        make_policy: Called once in each process; picklable where there are several.
        tasks: The episodes.
        how: Budget, workers, and how many episodes, from the first, keep their frames.
    """
    work = partial(_open_evaluation, env, make_policy, how)
    return spread(work, list(enumerate(tasks)), workers=how.workers)


@contextmanager
def _open_evaluation(
    env: str, make_policy: Callable[[], Policy], how: Evaluation
) -> Iterator[Callable[[tuple[int, Task]], EpisodeRecord]]:
    policy = make_policy()
    with make_env(env, how.env_options) as opened:

        def run_one(job: tuple[int, Task]) -> EpisodeRecord:
            index, task = job
            options = {"task": task.name}
            record = run_episode(
                opened, policy, seed=task.seed, options=options, max_steps=how.max_steps
            )
            return record if index < how.keep else record.without_frames()

        yield run_one


def summarise(
    records: Sequence[EpisodeRecord], tasks: Sequence[Task], *, violation: str = "hazard_contact"
) -> dict[str, float]:
    """Rates with their counts and intervals, and means, of an evaluation.

    Args:
        records: As `evaluate` gave them.
        tasks: Those of the records, in the same order.
        violation: Name of the info that is true where a frame violates what is guarded.

    Returns:
        `success`, `success_<task>`, `violation_rate` (episodes with any violation),
        `steps_to_success` (mean over the successful; NaN if there are none), `already_solved`,
        and, where the policy plans, `seconds_per_decision`, `model_calls` (a decision) and
        `unsafe_decisions` (share for which no safe plan was found). What no episode told of is
        missing; where some told, the others count as without success, or without a violation.
    """
    results: dict[str, float] = {}
    if any(r.success is not None for r in records):
        results |= _rate("success", [r.success for r in records])
        for name in dict.fromkeys(task.name for task in tasks):
            chosen = [r for r, task in zip(records, tasks, strict=True) if task.name == name]
            results |= _rate(f"success_{name}", [r.success for r in chosen])
    violated = [r.ever(violation) for r in records]
    if any(value is not None for value in violated):
        results |= _rate("violation_rate", violated)
    if "success" in results:
        solved = [r.steps for r in records if r.success]
        results["steps_to_success"] = sum(solved) / len(solved) if solved else float("nan")
    already = [r.ever(*SUCCESS, frames=slice(1)) for r in records]
    if told := [value for value in already if value is not None]:
        results |= _rate("already_solved", told)
    if decisions := sum(r.numbers.get("decisions", 0.0) for r in records):
        for result, counted in MEANS.items():
            results[result] = sum(r.numbers[counted] for r in records) / decisions
    return results


def _rate(name: str, outcomes: Sequence[bool | None]) -> dict[str, float]:
    """The share of outcomes that are true; one that was not told is not."""
    return rate_results(name, sum(outcome is True for outcome in outcomes), len(outcomes))
