"""One learner of others in one world: it is trained for a time, then asked what our plans are."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import gymnasium

from benchmarks.comparators.foreign import (
    REPEAT,
    AskingPolicy,
    Clock,
    Learner,
    Peer,
    TimeUp,
    started,
)
from benchmarks.comparators.lessons import lessons, reward
from worldmodel.envs import View
from worldmodel.episodes.folder import Episodes
from worldmodel.planners.environment import make_env
from worldmodel.planners.episode_loop import EpisodeRecord, Policy, run_episode
from worldmodel.planners.evaluate import Evaluation, evaluate, summarise
from worldmodel.planners.kept_records import KeptRecords
from worldmodel.planners.pairs import manifest_tasks, read_manifest
from worldmodel.planners.success import Success
from worldmodel.planners.tasks import Task
from worldmodel.storage.files import whole_file

SIZE = 64  # pixels of a side
KEPT_EVERY = 20.0  # seconds between two notes of how long a training has taken


@dataclass(frozen=True)
class Question:
    """What is asked in a world, of everybody alike.

    Attributes:
        env: gymnasium id.
        recorded: Episodes of our collection; lessons are of those that are not held out.
        tasks: Of the evaluation, from episodes that are held out.
        success: When a goal counts as reached.
        offset: Steps from a start to its goal.
        budget: Environment steps of an episode.
    """

    env: str
    recorded: Episodes
    tasks: Sequence[Task]
    success: Success
    offset: int
    budget: int

    @staticmethod
    def of_plan(env: str, episodes: Path, plan: Path) -> "Question":
        """What a plan of ours was asked.

        Args:
            env: gymnasium id of a world of which it is known what reaching a goal means.
            episodes: Folder of the run that collected.
            plan: Folder of the plan's run.
        """
        recorded, pairs = Episodes(episodes), plan / "pairs.json"
        asked = read_manifest(pairs)
        success = Success(View().within(env))
        tasks = manifest_tasks(recorded, pairs, success, episodes=len(asked.pairs), seed=0).tasks
        assert asked.offset is not None and asked.budget is not None  # a plan of ours says them
        return Question(env, recorded, tasks, success, asked.offset, asked.budget)

    def make(self) -> gymnasium.Env:
        """The world."""
        return make_env(self.env, None, View(), size=SIZE, steps=self.budget)


def measure(
    peer: Peer, python: Path, question: Question, folder: Path, *, seed: int, minutes: float
) -> dict[str, float]:
    """Results of a learner after so many minutes of training; goes on from what the folder holds.

    Returns:
        What `summarise` says of the evaluation, `environment_steps`, `minutes` and `lessons` of the
        training, what the learner says of itself, and `seconds_per_decision` of the evaluation.
    """
    spent = train(peer, python, question, folder, seed=seed, seconds=60 * minutes)
    kept = KeptRecords(folder / "evaluated", json.dumps(spent))
    with started(peer, python, "play", folder, seed) as learner:
        records = _played(learner, question, kept)
        facts = learner.facts
    found = summarise(records, question.tasks, success=question.success, budget=question.budget)
    decisions = sum(math.ceil(record.steps / REPEAT) for record in records)
    taken = sum(float(record.seconds.sum()) for record in records) / decisions
    return {
        **found, **facts, "seconds_per_decision": taken, "minutes": spent["seconds"] / 60,
        "environment_steps": spent["steps"], "lessons": spent["lessons"],
    }  # fmt: skip


def train(
    peer: Peer, python: Path, question: Question, folder: Path, *, seed: int, seconds: float
) -> dict[str, float]:
    """Train for so many seconds in all, in as many parts as it takes.

    Seconds count from when the learner is ready: its own, and those of the world.

    Returns:
        `seconds`, environment `steps` and `lessons` begun, of all parts.
    """
    note = folder / "training.json"
    spent = {"seconds": 0.0, "steps": 0.0, "lessons": 0.0}
    if note.is_file():
        spent = json.loads(note.read_text())
    if spent["seconds"] >= seconds:
        return spent
    with started(peer, python, "learn", folder, seed) as learner, question.make() as env:
        _Training(env, learner, question, note, spent).go(seed, seconds)
    return dict(spent)


class _Training:
    """Lessons until time is up; how long it took is noted on the way."""

    def __init__(
        self, env: gymnasium.Env, learner: Learner, question: Question, note: Path,
        spent: dict[str, float],
    ) -> None:  # fmt: skip
        self._env, self._learner, self._question = env, learner, question
        self._note, self._spent = note, spent

    def go(self, seed: int, seconds: float) -> None:
        self._clock, self._noted = Clock(self._spent["seconds"], seconds), self._spent["seconds"]
        ask = self._question
        begun = int(self._spent["lessons"])
        tasks = lessons(ask.recorded, ask.success, offset=ask.offset, seed=seed, begun=begun)
        try:
            for task in tasks:
                self._spent["lessons"] += 1
                self._lesson(task)
        except TimeUp:
            self._write()

    def _lesson(self, task: Task) -> None:
        worth = partial(reward, goal=task.goal, success=self._question.success)
        policy = AskingPolicy(self._learner, worth, self._step, self._check)
        policy.finish(_run(self._env, policy, task, self._question.budget))

    def _step(self) -> None:
        self._check()
        self._spent["steps"] += 1

    def _check(self) -> None:
        self._clock.check()
        if self._clock.seconds - self._noted >= KEPT_EVERY:
            self._write()

    def _write(self) -> None:
        self._noted = self._spent["seconds"] = self._clock.seconds
        with whole_file(self._note) as unfinished:
            unfinished.write_text(json.dumps(self._spent))


def _run(env: gymnasium.Env, policy: Policy, task: Task, budget: int) -> EpisodeRecord:
    return run_episode(
        env, policy, seed=task.seed, draws=task.draws, options=task.options, max_steps=budget,
        replay=task.replay, goal=task.goal, shown=task.shown, told=task.told,
    )  # fmt: skip


def _played(learner: Learner, question: Question, kept: KeptRecords) -> list[EpisodeRecord]:
    """The records of all tasks; those that are kept are not run again."""
    how = Evaluation(max_steps=question.budget, keep=0, workers=1)
    done = kept.read("learner", question.tasks)
    records: list[EpisodeRecord] = []
    policy = partial(AskingPolicy, learner)
    for record in evaluate(
        question.make, policy, question.tasks, how, question.success, done
    ):  # fmt: skip
        if len(records) >= len(done):
            kept.write("learner", len(records), record)
        records.append(record)
    return records
