"""Starts and goals of an evaluation, and when a goal counts as reached."""

from dataclasses import replace

import gymnasium
import numpy as np
import pytest
import torch
from PIL import Image

from tests.planners.fakes import POINT_WORLD, PointWorld, Towards, draw
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, EnvError
from worldmodel.planners.behaviours import NoOp, SmoothRandom
from worldmodel.planners.collect import Recording, collect
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.recorded_tasks import Moment, crossed_tasks, episode_tasks
from worldmodel.planners.success import Outcome, Success
from worldmodel.planners.tasks import image_tasks
from worldmodel.runs.run import Run

NEAR = Success(within={"position": 0.1})


class Restoring(PointWorld):
    """Tells its state, begins from one, and never ends."""

    restores_state = True

    def reset(self, *, seed=None, options=None):
        options = dict(options or {})
        state = options.pop("state", None)
        observation, info = super().reset(seed=seed, options=options)
        if state is None:
            return observation, info
        self.position = np.array(state)
        return draw(self.position), self._info()

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info

    def _info(self):
        return super()._info() | {"state": self.position.copy()}


if "test/Restoring-v0" not in gymnasium.registry:
    gymnasium.register("test/Restoring-v0", entry_point=Restoring)


@pytest.fixture(scope="module", params=[POINT_WORLD, "test/Restoring-v0"])
def recorded(request, tmp_path_factory):
    run = Run.open(tmp_path_factory.mktemp("runs") / "collect", verb="collect", config={}, seed=0)
    collect(
        run, env=request.param, episodes=40, steps=40, behaviour=SmoothRandom((4.0, 12.0)),
        recording=Recording(held_out_share=0.5),
    )  # fmt: skip
    run.close()
    return Episodes(run.folder)


def world_of(recorded):
    return PointWorld() if recorded.info.env_id == POINT_WORLD else Restoring()


def test_an_episodes_task_begins_and_ends_where_the_episode_was(recorded):
    tasks = episode_tasks(recorded, NEAR, offset=10, episodes=12, seed=1)
    assert len(tasks) == 12 and tasks.solved >= 0
    held_out = {int(e.metadata["seed"]): e for e in recorded.held_out}
    for task in tasks.tasks:
        episode = held_out[task.seed]
        record = run_episode(
            world_of(recorded), NoOp(), seed=task.seed, options=task.options, max_steps=1,
            replay=task.replay, goal=task.goal, shown=task.shown, told=task.told,
        )  # fmt: skip
        positions = episode.info["position"].numpy()
        # A point in a corner may stay there: any of its steps.
        begun = (positions[:-10] == record.infos["position"][0]).all(axis=1)
        ended = (positions[10:] == task.goal["position"]).all(axis=1)
        (step, *_) = np.flatnonzero(begun & ended)
        np.testing.assert_array_equal(task.goal["goal_image"], episode.frames[step + 10].numpy())
        assert np.linalg.norm(positions[step] - positions[step + 10]) > 0.1


def test_the_seed_decides_the_tasks_and_no_start_comes_twice(recorded):
    first, again, other = (
        episode_tasks(recorded, NEAR, offset=10, episodes=30, seed=s).tasks for s in (1, 1, 2)
    )
    starts = [tuple(t.shown[0, 0]) + (t.seed,) for t in first]
    assert len(set(starts)) > 25
    assert [t.seed for t in first] == [t.seed for t in again] != [t.seed for t in other]


def test_policies_draw_other_numbers_than_the_collection(recorded):
    tasks = episode_tasks(recorded, NEAR, offset=10, episodes=12, seed=1).tasks
    draws = [task.draws for task in tasks]
    assert len(set(draws)) == 12 and not set(draws) & set(recorded.info.seeds)


def test_a_start_that_tells_other_numbers_is_refused(recorded):
    (task,) = episode_tasks(recorded, NEAR, offset=10, episodes=1, seed=1).tasks
    other = {
        name: value + 0.01 for name, value in task.told.items() if name in ("state", "position")
    }
    with pytest.raises(EnvError, match="tells another '(state|position)' at its start"):
        run_episode(
            world_of(recorded), NoOp(), seed=task.seed, options=task.options, replay=task.replay,
            told=other,
        )  # fmt: skip


def test_crossed_goals_are_of_another_episode_and_as_far_away(recorded):
    joined = episode_tasks(recorded, NEAR, offset=10, episodes=30, seed=1).tasks
    crossed = crossed_tasks(recorded, NEAR, offset=10, episodes=30, seed=1).tasks
    held_out = {int(e.metadata["seed"]): e for e in recorded.held_out}

    def apart(task):
        here = np.float64(task.shown[0, 0, :2]) / 127.5 - 1
        return np.linalg.norm(task.goal["position"] - here)

    assert len(crossed) == 30
    for task in crossed:
        own = held_out[task.seed].info["position"].numpy()
        in_corner = np.abs(task.goal["position"]).min() == 1
        assert in_corner or not (own == task.goal["position"]).all(axis=1).any()
    means = [np.mean([apart(t) for t in tasks]) for tasks in (joined, crossed)]
    assert means[1] == pytest.approx(means[0], rel=0.15)


def test_what_has_no_tasks_says_why(recorded):
    with pytest.raises(ConfigError, match="offset=0"):
        episode_tasks(recorded, NEAR, offset=0, episodes=3, seed=0)
    with pytest.raises(ConfigError, match=r"offset=70: the longest held-out.* 40 steps"):
        episode_tasks(recorded, NEAR, offset=70, episodes=3, seed=0)
    with pytest.raises(ConfigError, match="no held-out start is away from its goal"):
        episode_tasks(recorded, Success({"position": 50.0}), offset=5, episodes=3, seed=0)
    with pytest.raises(ConfigError, match="does not hold.*choose from.*position"):
        episode_tasks(recorded, Success({"speed": 1.0}), offset=5, episodes=3, seed=0)
    with pytest.raises(ConfigError, match="success.within"):
        crossed_tasks(recorded, Success(), offset=5, episodes=3, seed=0)
    with pytest.raises(ConfigError, match="holds out no episodes"):
        none = recorded.training
        none.info.__dict__["held_out"], kept = (), none.info.held_out
        try:
            episode_tasks(none, NEAR, offset=5, episodes=3, seed=0)
        finally:
            none.info.__dict__["held_out"] = kept


def test_goals_are_images_from_files(tmp_path):
    for index in range(3):
        Image.fromarray(np.full((8, 8, 3), index, np.uint8)).save(tmp_path / f"{index}.png")
    one = image_tasks(str(tmp_path / "1.png"), ["any"], episodes=2, seed=0).tasks
    assert one[0].goal["goal_image"].shape == (8, 8, 3) and one[0].options == {"task": "any"}
    several = image_tasks(str(tmp_path), [], episodes=2, seed=0).tasks
    assert several[0].goal["goal_image"].shape == (3, 8, 8, 3) and several[0].options == {}
    with pytest.raises(ConfigError, match="is none of env, episodes, crossed, and no image"):
        image_tasks("epsiodes", [], episodes=2, seed=0)


# Success


def outcome(positions, *, terminated=False, goal=(0.0, 0.0), budget=None, success=NEAR):
    from tests.planners.test_evaluate import Recorded

    positions = np.array(positions, np.float64)
    record = Recorded(position=np.stack([positions, np.zeros_like(positions)], axis=1))
    steps = len(positions) - 1
    record.__dict__.update(
        actions=np.zeros((steps, 2)), rewards=np.ones(steps), terminated=terminated
    )
    goal = {"position": np.array(goal)}
    return Outcome.of(record, success, goal, budget=budget or steps)


def test_success_is_counted_three_ways():
    passing = outcome([1, 0.05, 1, 1, 1, 1, 1, 1, 1, 1, 1])
    assert (passing.once, passing.at_end, passing.held, passing.first) == (True, False, False, 1)
    late = outcome([1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0])
    assert (late.once, late.at_end, late.held) == (True, True, False)
    stays = outcome([1, 1, 1, 1, 1, 1, 1, 1, 1, 0.1, 0])
    assert (stays.once, stays.at_end, stays.held, stays.steps) == (True, True, True, 10)
    never = outcome([1] * 11)
    assert (never.once, never.at_end, never.held, never.first) == (False, False, False, None)
    # A world that ends at the goal leaves no time to stay there; one that ends elsewhere does.
    assert outcome([1, 1, 0], terminated=True, budget=10).held is None
    assert outcome([1, 1, 1], terminated=True, budget=10).held is False
    # An environment whose own time is up before the budget was held for as long as it went.
    assert outcome([1, 1, 1, 1, 0], budget=10).held is True
    assert outcome([1, 1, 0, 0, 1], budget=10).held is False


def test_success_by_the_total_reward():
    success = Success(total_reward=3.0)
    found = outcome([9] * 5, success=success)
    assert (found.once, found.at_end, found.first) == (True, True, 3)
    assert outcome([9] * 3, success=success).once is False


def test_success_that_nothing_tells_of():
    assert outcome([1, 1], success=Success()).once is None
    with pytest.raises(EnvError, match="goes by the info 'angle'.*not told.*position"):
        outcome([1, 1], success=Success({"angle": 1.0}))
    with pytest.raises(EnvError, match="has 2 numbers in the episode and 3 at the goal"):
        outcome([1, 1], goal=(0, 0, 0))
    with pytest.raises(ConfigError, match="exclude each other"):
        Success({"position": 1.0}, total_reward=1.0)
    with pytest.raises(ConfigError, match="radius of position must be positive"):
        Success({"position": 0.0})


def test_success_at_the_goals_of_episodes_of_a_moving_point(recorded):
    if recorded.info.env_id == POINT_WORLD:
        pytest.skip("it ends at goals of its own")
    (task,) = episode_tasks(recorded, NEAR, offset=8, episodes=1, seed=4).tasks
    there = task.goal["position"] - (np.float64(task.shown[0, 0, :2]) / 127.5 - 1)
    how = {"seed": task.seed, "options": task.options, "goal": task.goal}
    policy = Towards(np.clip(there / np.abs(there).max(), -1, 1))
    record = run_episode(Restoring(), policy, max_steps=20, **how)
    assert Outcome.of(record, NEAR, task.goal, budget=20).once


def test_a_world_that_is_varied_otherwise_is_refused_at_the_start(recorded):
    episode = recorded.held_out[0]
    told = {**episode.info, "factor_mass": torch.full((len(episode),), 2.0)}
    varied = replace(episode, info=told)
    task = Moment(varied, 3, 0).task(Moment(varied, 9, 0), "offset", draws=1)
    assert float(task.told["factor_mass"]) == 2.0
    with pytest.raises(EnvError, match="tells another 'factor_mass' at its start .* another view"):
        run_episode(
            world_of(recorded), NoOp(), seed=task.seed, options=task.options, replay=task.replay,
            told=task.told,
        )  # fmt: skip
