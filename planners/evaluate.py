"""Run a policy on held-out episodes, and sum up how it did."""

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import gymnasium

from worldmodel.evaluation.statistics import mcnemar, rate_results
from worldmodel.loading.workers import spread

from .episode_loop import SUCCESS, EpisodeRecord, Policy, run_episode
from .success import AS_TOLD, Outcome, Success
from .tasks import Task

DEFAULT_BUDGET = 60

# Results of a policy that plans, and what it counts of them; each a mean over decisions.
MEANS = {
    "seconds_per_decision": "seconds",
    "model_calls": "model_calls",
    "unsafe_decisions": "unsafe",
}


@dataclass(frozen=True)
class Evaluation:
    """How episodes are run and what is kept of them."""

    tasks: Sequence[str] = ()  # kinds of the environment's own tasks, in turn; its option `task`
    max_steps: int | None = None  # budget of an episode; None: 60, or twice the offset
    violation: str = "hazard_contact"  # name of the info that is true where a frame violates
    baselines: bool = True  # evaluate random actions and doing nothing on the same tasks too
    beside: str | None = None  # folder of another plan of the same tasks; see `other_plan.py`
    ceiling: bool = False  # plan in the simulator itself too, on the same tasks; see `ceiling.py`
    diagnose: int = 0  # episodes whose first plan is looked into; see `diagnosis.py`
    other_episodes: str | None = None  # of another behaviour; a diagnosis predicts those too
    keep: int = 6  # how many episodes are written with their frames, half of them failures if any
    workers: int = 2  # processes that evaluate at the same time
    patience: float = 3600.0  # most seconds of an episode in one of several processes
    env_options: Mapping[str, Any] | None = None  # keyword arguments of the environment

    @property
    def budget(self) -> int:
        """Environment steps of an episode."""
        return DEFAULT_BUDGET if self.max_steps is None else self.max_steps


def evaluate(
    make: Callable[[], gymnasium.Env],
    make_policy: Callable[[], Policy],
    tasks: Sequence[Task],
    how: Evaluation,
    success: Success = AS_TOLD,
    done: Sequence[EpisodeRecord] = (),
) -> Iterator[EpisodeRecord]:
    """Run one episode for each task; records come one by one, in the order of the tasks.

    Except for the seconds, they do not depend on the number of workers.

    Args:
        make: Makes the environment; called once in each process, picklable where there are several.
        make_policy: Likewise.
        tasks: The episodes.
        how: Budget, workers, and how many episodes keep their frames: so many that failed and so
            many others, the first ones.
        success: When a goal counts as reached.
        done: The records of the first tasks, which come first and are not run again.
    """
    work = partial(_open_evaluation, make, make_policy, how)
    left = {True: how.keep, False: how.keep}  # by whether it failed
    numbers = range(len(done), len(tasks))
    records = spread(
        work, tasks[len(done) :], workers=how.workers, numbers=numbers, seconds=how.patience
    )
    for record, task in zip(itertools.chain(done, records), tasks, strict=True):
        failed = Outcome.of(record, success, task.goal, budget=how.budget).once is False
        left[failed] -= 1
        yield record if left[failed] >= 0 else record.without_frames()


@contextmanager
def _open_evaluation(
    make: Callable[[], gymnasium.Env], make_policy: Callable[[], Policy], how: Evaluation
) -> Iterator[Callable[[Task], EpisodeRecord]]:
    with closing(make_policy()) as policy, make() as opened:

        def run_one(task: Task) -> EpisodeRecord:
            record = run_episode(
                opened, policy, seed=task.seed, options=task.options, max_steps=how.budget,
                replay=task.replay, goal=task.goal, shown=task.shown, told=task.told,
                draws=task.draws,
            )  # fmt: skip
            return record if how.keep else record.without_frames()

        yield run_one


def to_show(outcomes: Sequence[Outcome], keep: int) -> list[int]:
    """The episodes that are written with their frames: at most `keep`, half of them failures.

    The first of each; where there are fewer of one, more of the other.
    """
    failed = [i for i, outcome in enumerate(outcomes) if outcome.once is False]
    others = [i for i, outcome in enumerate(outcomes) if outcome.once is not False]
    chosen = failed[: max(keep // 2, keep - len(others))]
    return sorted([*chosen, *others[: keep - len(chosen)]])


def outcomes_of(
    records: Sequence[EpisodeRecord], tasks: Sequence[Task], *, success: Success, budget: int
) -> list[Outcome]:
    """How each episode of `budget` steps ended."""
    return [
        Outcome.of(record, success, task.goal, budget=budget)
        for record, task in zip(records, tasks, strict=True)
    ]


def summarise(
    records: Sequence[EpisodeRecord], tasks: Sequence[Task], *, violation: str = "hazard_contact",
    success: Success = AS_TOLD, budget: int = DEFAULT_BUDGET,
) -> dict[str, float]:  # fmt: skip
    """Rates with their counts and intervals, and means, of an evaluation.

    Args:
        records: As `evaluate` gave them.
        tasks: Those of the records, in the same order.
        violation: Name of the info that is true where a frame violates what is guarded.
        success: When a goal counts as reached.
        budget: Steps that each episode had.

    Returns:
        `success` (the goal was reached at any step), `success_at_end` (at the last frame),
        `success_held` (in all of the last fifth of the budget; missing where a world ended an
        episode at its goal), `success_<task>`, `violation_rate` (episodes with any violation),
        `steps_to_success` (mean over the successful; NaN if there are none), `already_solved`,
        `total_reward` (mean), and, where the policy plans, `seconds_per_decision`, `model_calls` (a
        decision) and `unsafe_decisions` (share for which no safe plan was found). What no episode
        told of is missing; where some told, the others count as without success, or without a
        violation.
    """
    results: dict[str, float] = {}
    outcomes = outcomes_of(records, tasks, success=success, budget=budget)
    if any(o.once is not None for o in outcomes):
        results |= _rate("success", [o.once for o in outcomes])
        results |= _rate("success_at_end", [o.at_end for o in outcomes])
        if all(o.held is not None for o in outcomes if o.once is not None):
            results |= _rate("success_held", [o.held for o in outcomes])
        names = list(dict.fromkeys(task.name for task in tasks))
        for name in names if len(names) > 1 or tasks[0].options.get("task") else ():
            chosen = [o for o, task in zip(outcomes, tasks, strict=True) if task.name == name]
            results |= _rate(f"success_{name}", [o.once for o in chosen])
        first = [o.first for o in outcomes if o.first is not None]
        results["steps_to_success"] = sum(first) / len(first) if first else float("nan")
    violated = [r.ever(violation) for r in records]
    if any(value is not None for value in violated):
        results |= _rate("violation_rate", violated)
    already = [r.ever(*SUCCESS, frames=slice(1)) for r in records]
    if success != AS_TOLD:
        already = [None if o.once is None else o.first == 0 for o in outcomes]
    if told := [value for value in already if value is not None]:
        results |= _rate("already_solved", told)
    rewards = [float(r.rewards.sum()) for r in records]
    if any(rewards):
        results["total_reward"] = sum(rewards) / len(rewards)
    if decisions := sum(r.numbers.get("decisions", 0.0) for r in records):
        for result, counted in MEANS.items():
            results[result] = sum(r.numbers[counted] for r in records) / decisions
    return results


def reached_by(outcomes: Sequence[Outcome], budget: int) -> list[float]:
    """The share of goals that were reached within 0, 1, ... `budget` steps; empty if none told."""
    if not outcomes or all(outcome.once is None for outcome in outcomes):
        return []
    first = [outcome.first for outcome in outcomes if outcome.first is not None]
    return [sum(step <= most for step in first) / len(outcomes) for most in range(budget + 1)]


def compared(outcomes: Sequence[Outcome], others: Sequence[Outcome]) -> list[float]:
    """How likely the difference is if both succeed equally often, by McNemar's exact test.

    Of goals that were held, where that was told of all episodes; else of goals reached once. Empty
    where nothing told.
    """
    both = [*outcomes, *others]
    for what in ("held", "once"):
        if both and all(getattr(outcome, what) is not None for outcome in both):
            first, second = ([getattr(o, what) for o in some] for some in (outcomes, others))
            return [mcnemar(first, second)]
    return []


def _rate(name: str, outcomes: Sequence[bool | None]) -> dict[str, float]:
    """The share of outcomes that are true; one that was not told is not."""
    return rate_results(name, sum(outcome is True for outcome in outcomes), len(outcomes))
