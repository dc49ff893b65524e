"""Where episodes begin in worlds that repeat themselves, that do in part, and that never do."""

import json

import gymnasium
import numpy as np
import pytest

from tests.planners.fakes import PointModel, PointWorld, draw
from tests.planners.test_tasks import NEAR
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners import CEM, GoalImage
from worldmodel.planners.agent import AgentSettings
from worldmodel.planners.behaviours import NoOp, SmoothRandom
from worldmodel.planners.collect import FIRST_HELD_OUT_SEED, Recording, collect
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.evaluate import Evaluation
from worldmodel.planners.fresh_starts import tasks_of_episodes
from worldmodel.planners.plan_verb import plan
from worldmodel.planners.protocol import tasks_digest
from worldmodel.planners.recorded_tasks import episode_tasks
from worldmodel.planners.success import Success
from worldmodel.runs.run import Run

OFFSET = 10
CHANCE = np.random.default_rng(0)  # that no seed of a reset sets back


class Loose(PointWorld):
    """Never ends; its steps, and its resets too if it is asked, are another each time."""

    def __init__(self, steps=True, resets=False):
        super().__init__()
        self.steps, self.resets = steps, resets

    def reset(self, *, seed=None, options=None):
        observation, info = super().reset(seed=seed, options=options)
        if not self.resets:
            return observation, info
        self.position = CHANCE.uniform(-0.9, 0.9, 2)
        return draw(self.position), info | self._info()

    def step(self, action):
        if self.steps:
            self.position = self.position + CHANCE.normal(0, 0.02, 2)
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


class Upside(Loose):
    """Repeats itself, and shows and tells another thing than the first of them."""

    def __init__(self):
        super().__init__(steps=False)

    def _info(self):
        return super()._info() | {"position": -self.position.astype(np.float32)}


WORLDS = {
    "test/Firm-v0": lambda: Loose(steps=False),
    "test/Loose-v0": Loose,
    "test/Free-v0": lambda: Loose(resets=True),
}
for name, entry in WORLDS.items():
    if name not in gymnasium.registry:
        gymnasium.register(name, entry_point=entry)


def recorded_in(folder, env, **recording):
    run = Run.open(folder / "collect", verb="collect", config={}, seed=0)
    collect(
        run, env=env, episodes=16, steps=24, behaviour=SmoothRandom((4.0, 12.0)),
        recording=Recording(held_out_share=0.5, **recording),
    )  # fmt: skip
    run.close()
    return Episodes(run.folder)


@pytest.fixture(scope="module")
def loose(tmp_path_factory):
    return recorded_in(tmp_path_factory.mktemp("loose"), "test/Loose-v0")


@pytest.fixture(scope="module")
def free(tmp_path_factory):
    return recorded_in(
        tmp_path_factory.mktemp("free"), "test/Free-v0", reset_options={"task": "any"}
    )


def chosen(recorded, world, *, crossed=False, success=NEAR):
    return tasks_of_episodes(
        recorded, success, lambda steps: world(), crossed=crossed, offset=OFFSET, episodes=5, seed=1
    )  # fmt: skip


def begun(world, task):
    return run_episode(
        world, NoOp(), seed=task.seed, options=task.options, max_steps=1, replay=task.replay,
        goal=task.goal, shown=task.shown, told=task.told,
    )  # fmt: skip


def test_a_world_that_repeats_itself_is_asked_what_it_was(tmp_path):
    recorded = recorded_in(tmp_path, "test/Firm-v0")
    found = chosen(recorded, WORLDS["test/Firm-v0"])
    asked = episode_tasks(recorded, NEAR, offset=OFFSET, episodes=5, seed=1)
    assert found.why is None and found.words == asked.words
    assert tasks_digest(found.tasks) == tasks_digest(asked.tasks)
    # One that repeats itself, but is not what was recorded, is an error still.
    other = chosen(recorded, Upside)
    assert tasks_digest(other.tasks) == tasks_digest(asked.tasks)
    with pytest.raises(EnvError, match="tells another 'position'"):
        begun(Upside(), other.tasks[0])


@pytest.mark.parametrize("crossed", [False, True])
def test_where_steps_are_not_repeated_episodes_begin_at_their_resets(loose, crossed):
    found = chosen(loose, Loose, crossed=crossed)
    assert "'position' differs" in found.why and not found.anew
    assert found.words.startswith("from resets of held-out episodes (again with their seeds) to")
    held_out = dict(zip(loose.held_out.numbers, loose.held_out, strict=True))
    for task in found.tasks:
        own = held_out[task.pair.episode].info["position"].numpy()
        assert task.pair.start == 0 and task.seed in loose.info.seeds
        # What was recorded of the start is told again.
        np.testing.assert_array_equal(begun(Loose(), task).infos["position"][0], own[0])
        if not crossed:
            assert task.pair.goal == OFFSET
            np.testing.assert_array_equal(task.goal["position"], own[OFFSET])
    assert len({task.pair.episode for task in found.tasks}) == len(found) == 5


def test_without_actions_too(tmp_path):
    recorded = recorded_in(tmp_path, "test/Firm-v0", labelled_fraction=0.0)
    found = chosen(recorded, WORLDS["test/Firm-v0"])
    assert "has neither a state of the simulator that can be set nor actions" in found.why
    assert {task.pair.start for task in found.tasks} == {0}
    assert begun(Loose(steps=False), found.tasks[0]).steps == 1


def test_where_resets_are_not_repeated_any_reset_is_a_start(free):
    found = chosen(free, WORLDS["test/Free-v0"])
    assert found.anew and "a reset with the same seed is not the same twice" in found.why
    assert "from fresh resets, held-out seeds" in found.words
    goals = [e.info["position"].numpy()[OFFSET] for e in free.held_out]
    for task in found.tasks:
        assert task.seed >= FIRST_HELD_OUT_SEED and task.pair is None
        assert task.options == {"task": "any"}  # as the collection reset it
        assert any((task.goal["position"] == goal).all() for goal in goals)
        first = [begun(WORLDS["test/Free-v0"](), task).infos["position"][0] for _ in range(2)]
        assert (first[0] != first[1]).any()
    assert len({tuple(task.goal["position"]) for task in found.tasks}) == len(found) == 5
    with pytest.raises(ConfigError, match="goal=crossed asks for goals as far .* not the same twi"):
        chosen(free, WORLDS["test/Free-v0"], crossed=True)


def run_plan(folder, monkeypatch, recorded, goal="episodes", **evaluation):
    for module in ("plan_verb", "recorded_states"):
        monkeypatch.setattr(f"worldmodel.planners.{module}.load", lambda path: PointModel())
    run = Run.open(folder / "plan", verb="plan", config={}, seed=1, existing="redo")
    how = Evaluation(**{"workers": 1, "keep": 1, "baselines": False} | evaluation)
    try:
        return plan(
            run, env=recorded.info.env_id, model="none", episodes=3, goal=goal, offset=OFFSET,
            planner=CEM(5, candidates=64, elites=8, iterations=3), cost=GoalImage(),
            success=Success(within={"position": 0.1}), episodes_from=str(recorded.folders[0]),
            evaluation=how, agent=AgentSettings(),
        ), json.loads((folder / "plan/protocol.json").read_text())  # fmt: skip
    finally:
        run.close()


def test_a_plan_says_where_its_episodes_begin(tmp_path, monkeypatch, loose, capsys):
    results, asked = run_plan(tmp_path, monkeypatch, loose)
    assert results["success"] == 1.0 and results["success.n"] == 3
    assert "from resets of held-out episodes (again with their seeds)" in asked["tasks"]
    assert "episodes begin at resets, not at recorded steps" in capsys.readouterr().err
    pairs = (tmp_path / "plan/pairs.json").rename(tmp_path / "pairs.json")
    again = run_plan(tmp_path, monkeypatch, loose, goal=str(pairs))[1]
    assert again["hash"] == asked["hash"]


def test_a_plan_from_any_reset_has_no_pairs_and_no_diagnosis(tmp_path, monkeypatch, free):
    with pytest.raises(ConfigError, match="diagnose= carries out many plans from one start"):
        run_plan(tmp_path, monkeypatch, free, diagnose=1)
    results, asked = run_plan(tmp_path, monkeypatch, free, max_steps=40)
    assert results["success"] == 1.0 and "already_solved" in results
    assert "solved_starts" not in results and "from fresh resets" in asked["tasks"]
    assert not (tmp_path / "plan/pairs.json").exists()


def test_an_end_on_the_way_that_is_not_always_there_is_a_world_that_does_not_repeat(loose):
    class Ending(Loose):
        ends = [False, True]

        def __init__(self):
            super().__init__(steps=False)

        def reset(self, **settings):
            self.end = self.ends.pop() if self.ends else False
            return super().reset(**settings)

        def step(self, action):
            *rest, truncated, info = super().step(action)
            return *rest, self.end, info

    assert "ended at step 1 of" in chosen(loose, Ending).why
