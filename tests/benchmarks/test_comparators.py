import argparse
import json
import sys
import time
from dataclasses import replace
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from benchmarks import planning
from benchmarks.comparators import __main__ as comparators
from benchmarks.comparators import foreign, measuring
from benchmarks.comparators.foreign import REPEAT, AskingPolicy, Peer, require_packages, started
from benchmarks.comparators.lessons import lessons, reward
from benchmarks.comparators.measuring import Question, measure, train
from worldmodel.cli.runner import run_verb
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, RunError
from worldmodel.evaluation.statistics import wilson
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.episode_loop import Policy, run_episode
from worldmodel.planners.pairs import manifest_of
from worldmodel.planners.recorded_tasks import episode_tasks
from worldmodel.planners.success import Success

PYTHON = Path(sys.executable)
FAKE = Peer("tests.benchmarks.fake_learner", ("numpy",), "numpy", "a fake")
TWO_ROOM = "worldmodel.envs:worldmodel/TwoRoom-v0"
OFFSET, BUDGET = 5, 7  # of which the last action is held for one step alone
NEAR = Success({"position": 0.02})


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recorded")
    words = (f"env={TWO_ROOM}", "recording.reset_options={task: explore}", "episodes=6", "steps=12",
             "recording.held_out_share=0.5", "recording.workers=1", "seed=3")  # fmt: skip
    run_verb("collect", words, runs_dir=folder, name="episodes")
    return Episodes(folder / "collect/episodes")


@pytest.fixture
def question(recorded):
    tasks = episode_tasks(recorded, NEAR, offset=OFFSET, episodes=3, seed=1).tasks
    return Question(TWO_ROOM, recorded, tasks, NEAR, OFFSET, BUDGET)


def heard(folder, name):
    lines = map(json.loads, (folder / "heard.jsonl").read_text().splitlines())
    return [line[name] for line in lines if name in line]


def test_lessons_are_tasks_of_the_episodes_that_our_model_learns_from(recorded):
    def first(begun, number=40):
        return [*islice(lessons(recorded, NEAR, offset=OFFSET, seed=1, begun=begun), number)]

    tasks = first(0)
    assert {task.pair.episode for task in tasks} == set(recorded.training.numbers)
    assert not set(recorded.training.numbers) & set(recorded.held_out.numbers)
    for task in tasks:
        assert task.pair.goal == task.pair.start + OFFSET
        assert task.pair.goal_episode == task.pair.episode
        apart = np.linalg.norm(task.told["state"][:2] - task.goal["position"])
        assert apart > 0.02
    pairs = [task.pair for task in tasks]
    assert [task.pair for task in first(0)] == pairs
    assert [task.pair for task in first(40)] != pairs
    with pytest.raises(ConfigError, match="no training episode of .* is that long"):
        next(lessons(recorded, NEAR, offset=99, seed=1, begun=0))


def test_the_reward_is_minus_the_distance_in_radii():
    goal = {"position": np.array([0.0, 0.4])}
    told = {"position": np.array([0.3, 0.0]), "speed": 3.0}
    assert reward(told, goal, Success({"position": 0.1})) == pytest.approx(-5.0)


class Right(Policy):
    """What the fake learner does."""

    def __call__(self, observation, info):
        return np.array([1.0, 0.0], np.float32)


def test_a_learner_is_told_every_reward_and_goes_on_after_an_interruption(question, tmp_path):
    spent = train(FAKE, PYTHON, question, tmp_path, seed=4, seconds=2)
    assert spent["seconds"] >= 2 and spent["steps"] > BUDGET and spent["lessons"] >= 2
    # The first lesson again, and what its frames are worth, without the other process.
    task = next(lessons(question.recorded, NEAR, offset=OFFSET, seed=4, begun=0))
    with question.make() as env:
        record = run_episode(env, Right(), seed=task.seed, options=task.options, max_steps=BUDGET,
                             goal=task.goal, shown=task.shown, told=task.told)  # fmt: skip
    away = np.linalg.norm(record.infos["position"] - task.goal["position"], axis=1) / 0.02
    sums = [-away[at : at + REPEAT].sum() for at in range(1, BUDGET + 1, REPEAT)]
    assert np.allclose(heard(tmp_path, "reward")[: len(sums)], sums, rtol=1e-4)
    assert heard(tmp_path, "over")[: len(sums)] == [False] * (len(sums) - 1) + [True]
    assert heard(tmp_path, "goal")[0] == task.goal["goal_image"].sum()
    assert heard(tmp_path, "frame")[0] == task.shown.sum()

    assert train(FAKE, PYTHON, question, tmp_path, seed=4, seconds=2) == spent
    assert heard(tmp_path, "started") == [4]  # its time was up
    more = train(FAKE, PYTHON, question, tmp_path, seed=4, seconds=3)
    assert heard(tmp_path, "started") == [4, 4]
    assert more["seconds"] >= 3
    assert more["lessons"] > spent["lessons"] and more["steps"] > spent["steps"]


def test_seconds_of_earlier_parts_are_not_had_again(monkeypatch):
    now = [100.0]
    monkeypatch.setattr(foreign.time, "monotonic", lambda: now[0])
    clock = foreign.Clock(before=20.0, most=30.0)
    now[0] += 9.0
    clock.check()
    assert clock.seconds == 29.0
    now[0] += 1.0
    with pytest.raises(foreign.TimeUp):
        clock.check()


def test_a_learner_that_thinks_for_long_is_stopped(question, tmp_path):
    (tmp_path / "does").write_text("think")
    begun = time.monotonic()
    spent = train(FAKE, PYTHON, question, tmp_path, seed=4, seconds=1)
    assert spent["steps"] == 1 and spent["seconds"] >= 1
    assert time.monotonic() - begun < foreign.PATIENCE  # it stopped by itself


def test_a_learner_that_ends_is_named_with_its_last_words(question, tmp_path):
    (tmp_path / "does").write_text("break")
    with pytest.raises(RunError, match="ended with 1: ValueError: it broke .*learner.log"):
        train(FAKE, PYTHON, question, tmp_path, seed=4, seconds=1)


def test_an_evaluation_goes_on_where_it_was_interrupted(question, tmp_path, monkeypatch):
    spent = {"seconds": 60.0, "steps": 8.0, "lessons": 2.0}
    (tmp_path / "training.json").write_text(json.dumps(spent))
    (tmp_path / "does").write_text("die")
    with pytest.raises(RunError, match="it died"):
        measure(FAKE, PYTHON, question, tmp_path, seed=4, minutes=1)
    (tmp_path / "does").unlink()
    found = measure(FAKE, PYTHON, question, tmp_path, seed=4, minutes=1)
    assert heard(tmp_path, "plays") == [1, 2, 1, 2]  # of three tasks, the first was kept
    assert found["success_held.n"] == 3 and found["updates"] == 7
    assert found["environment_steps"] == 8 and found["minutes"] == 1
    # The same again, without another process: to the right as fast as there is.
    with question.make() as env:
        records = [
            run_episode(env, Right(), seed=t.seed, options=t.options, max_steps=BUDGET)
            for t in question.tasks
        ]
    alone = measuring.summarise(records, question.tasks, success=NEAR, budget=BUDGET)
    for key in ("success", "success_at_end", "success_held", "already_solved"):
        assert found[key] == alone[key]


def test_the_question_is_that_of_a_plan(recorded, tmp_path):
    tasks = episode_tasks(recorded, Success({"position": 0.12}), offset=OFFSET, episodes=2, seed=1)
    asked = manifest_of(tasks, recorded, {}, budget=10, offset=OFFSET, seed=1)
    (tmp_path / "pairs.json").write_text(json.dumps(asked))
    question = Question.of_plan(TWO_ROOM, recorded.folders[0], tmp_path)
    assert (question.offset, question.budget) == (OFFSET, 10)
    assert [t.pair for t in question.tasks] == [t.pair for t in tasks.tasks]
    assert [t.draws for t in question.tasks] == [t.draws for t in tasks.tasks]
    assert question.success == Success({"position": 0.12})


def test_actions_are_held_and_fill_the_bounds_of_the_world():
    from gymnasium.spaces import Box

    class Says:
        def action(self, words, check, **images):
            told.append((words["kind"], words["reward"], sorted(images)))
            return np.array([[-1.0], [0.5]][len(told) - 1])

    told = []
    policy = AskingPolicy(Says(), lambda info: info["worth"])
    policy.reset(ActionSpace.of(Box(-2.0, 4.0, (1,))), {"goal_image": np.zeros(3)}, seed=0)
    found = [policy(np.zeros(3), {"worth": worth}).item() for worth in (1.0, 2.0, 3.0, 4.0)]
    assert found == [-2.0, -2.0, 2.5, 2.5]
    assert told == [("begin", 0.0, ["frame", "goal"]), ("next", 5.0, ["frame"])]


def test_a_python_that_lacks_a_package_is_one_line(tmp_path):
    lacking = replace(FAKE, packages=("numpy", "no_such_package"), install="that==1")
    with pytest.raises(ConfigError) as caught:
        require_packages(lacking, "fake", PYTHON)
    text = str(caught.value)
    assert text == (
        f"fake: --python {PYTHON} has no no_such_package; python -m venv peers && "
        "peers/bin/pip install that==1, and say --python peers/bin/python"
    )
    with pytest.raises(ConfigError, match="cannot be run as a Python"):
        require_packages(FAKE, "fake", tmp_path / "python")
    require_packages(FAKE, "fake", PYTHON)


def test_a_process_is_gone_when_its_context_is_left(tmp_path):
    with started(FAKE, PYTHON, "play", tmp_path, 0) as learner:
        assert learner.facts == {"updates": 7.0}
    assert learner._process.returncode == 0


def results(held, n=50, **more):
    found = {key: value for name in ("success", "success_at_end", "success_held")
             for key, value in ((name, held), (f"{name}.n", float(n)))}  # fmt: skip
    return found | more


def test_rows_count_the_trials_of_all_seeds_and_say_what_they_cost():
    found = {}
    for seed, held in ((1, 0.9), (2, 0.8)):
        floors = {f"random_{k}": v for k, v in results(0.1).items()}
        found["reacher", seed, "ours"] = results(held) | floors | {"minutes": 10.0 * seed}
        found["reacher", seed, "tdmpc2"] = results(0.2, updates=100.0 * seed)
    table = {row["key"]: row for row in comparators.rows(found)}
    row = table["reacher.ours.held"]
    assert (row["value"], row["low"], row["high"]) == pytest.approx(wilson(85, 100))
    assert row["n"] == 100 and row["seeds"] == [1, 2] and row["per_seed"] == [0.9, 0.8]
    assert table["reacher.random.held"]["value"] == pytest.approx(0.1)
    assert table["reacher.tdmpc2.reached"]["value"] == pytest.approx(0.2)
    assert table["reacher.ours.minutes"]["value"] == 15
    assert table["reacher.tdmpc2.updates"]["per_seed"] == [100.0, 200.0]
    assert "reacher.noop.held" not in table and "reacher.ours.updates" not in table


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Runs the command where nothing is trained; `asked` says what would have been."""
    asked = []

    def ours(name, seed, folder):
        asked.append((name, seed, "ours"))
        return results(0.9, minutes=12.0)

    def beside(name, seed, peer, folders, *, python, minutes):
        asked.append((name, seed, peer, minutes))
        return results(0.1, minutes=minutes)

    def run(*words):
        monkeypatch.setattr(sys, "argv", ["comparators", *words])
        comparators.main()
        return json.loads((tmp_path / "comparators.json").read_text())

    monkeypatch.setattr(comparators, "ours", ours)
    monkeypatch.setattr(comparators, "beside", beside)
    monkeypatch.setattr(comparators, "TABLE", tmp_path / "comparators.json")
    peers = {name: replace(peer, packages=("numpy",)) for name, peer in comparators.PEERS.items()}
    monkeypatch.setattr(comparators, "PEERS", peers)
    return argparse.Namespace(run=run, asked=asked)


def test_the_table_grows_and_learners_have_as_long_as_ours_took(command, monkeypatch, capsys):
    command.run("--worlds", "reacher", "--seeds", "2", "--peers", "tdmpc2")
    table = command.run("--worlds", "tworoom", "reacher", "--seeds", "2")
    assert command.asked == [
        ("reacher", 2, "ours"), ("reacher", 2, "tdmpc2", 12.0),
        ("tworoom", 2, "ours"), ("tworoom", 2, "dreamerv3", 12.0), ("tworoom", 2, "tdmpc2", 12.0),
        ("reacher", 2, "ours"), ("reacher", 2, "dreamerv3", 12.0),
    ]  # fmt: skip
    assert [(r["world"], r["who"]) for r in table["runs"]] == [
        (world, who) for world in ("tworoom", "reacher") for who in ("ours", "dreamerv3", "tdmpc2")
    ]
    assert table["rows"][0]["key"] == "tworoom.ours.held"
    assert table["protocol"]["action_repeat"] == {"ours": 1, "dreamerv3": 2, "tdmpc2": 2}
    assert not capsys.readouterr().out
    # Another time for learners is another measurement of them, and not of ours.
    table = command.run("--worlds", "reacher", "--seeds", "2", "--minutes", "5")
    assert command.asked[-1] == ("reacher", 2, "tdmpc2", 5.0)
    said = capsys.readouterr().out
    assert "reacher seed 2, tdmpc2, is left out" in said and "ours, is left out" not in said
    assert {(r["world"], r["who"]) for r in table["runs"]} == {
        ("tworoom", "ours"), ("reacher", "ours"), ("reacher", "dreamerv3"), ("reacher", "tdmpc2"),
    }  # fmt: skip
    monkeypatch.setattr(planning, "EPISODES", 51)
    assert [r["who"] for r in command.run("--worlds", "tworoom", "--seeds", "1", "--peers")[
        "runs"
    ]] == ["ours"]  # fmt: skip


@pytest.mark.parametrize(
    ("words", "says"),
    [(("--minutes", "0"), "--minutes 0: a training takes more than 0"),
     (("--python", "nowhere"), "--python nowhere: cannot be run as a Python")],
)  # fmt: skip
def test_an_error_is_one_line(command, words, says):
    with pytest.raises(SystemExit) as caught:
        command.run(*words)
    assert says in str(caught.value.code) and "\n" not in str(caught.value.code)


def test_what_was_measured_is_not_measured_again_unless_it_is_asked_for_longer(
    tmp_path, monkeypatch
):
    asked = []

    def measured(peer, python, question, folder, *, seed, minutes):
        asked.append(minutes)
        return results(0.5, minutes=minutes + 0.1, steps_to_success=float("nan"))

    monkeypatch.setattr(comparators, "measure", measured)
    monkeypatch.setattr(comparators.Question, "of_plan", lambda *words: None)
    folders = {"planning": tmp_path / "p", "comparators": tmp_path / "c"}
    for minutes in (3.0, 3.0, 2.0, 4.0):
        (tmp_path / "c/reacher/1/tdmpc2").mkdir(parents=True, exist_ok=True)
        found = comparators.beside("reacher", 1, "tdmpc2", folders, python=PYTHON, minutes=minutes)
    assert asked == [3.0, 4.0] and found == results(0.5, minutes=4.1)
