"""Collections that leave a way out, and plans that are asked to go it."""

import json
from functools import partial

import numpy as np
import pytest

from tests.planners.fakes import POINT_WORLD
from worldmodel.envs import TWO_ROOM
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.collect import Recording, collect
from worldmodel.planners.recorded_tasks import crossed_tasks, episode_tasks
from worldmodel.planners.success import Success
from worldmodel.planners.ways import Passage
from worldmodel.runs.run import Run

LEFTWARDS = Passage({"position": [[0, None]]}, {"position": [[None, 0]]})
NEAR = Success(within={"position": 0.1})


def gather(
    folder, without=None, *, env=POINT_WORLD, episodes=30, steps=40, existing="resume", **how
):
    run = Run.open(folder, verb="collect", config={}, seed=0, existing=existing)
    behaviour = SmoothRandom((4.0, 12.0))
    try:
        found = collect(
            run, env=env, episodes=episodes, steps=steps, behaviour=behaviour, without=without,
            recording=Recording(held_out_share=0.5, **how),
        )  # fmt: skip
        return found, Episodes(folder)
    finally:
        run.close()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return gather(tmp_path_factory.mktemp("whole") / "run")[1]


@pytest.fixture(scope="module")
def one_way(tmp_path_factory):
    return gather(tmp_path_factory.mktemp("one_way") / "run", LEFTWARDS)


def x_of(episode):
    return episode.info["position"][:, 0].numpy()


def goes_left(x):
    return any((x[: t + 1] >= 0).any() and x[t] <= 0 for t in range(len(x)))


def test_no_episode_shows_it_and_nothing_else_is_lost(whole, one_way):
    results, kept = one_way
    places = {number: place for place, number in enumerate(kept.numbers)}
    cut = 0
    for number, episode in zip(whole.numbers, whole, strict=True):
        x = x_of(episode)
        until = next((t for t in range(len(x)) if goes_left(x[: t + 1])), len(x))
        if until < 2:
            assert number not in places
            continue
        short = kept[places[number]]
        assert len(short) == until and not goes_left(x_of(short))
        np.testing.assert_array_equal(short.frames, episode.frames[:until])
        np.testing.assert_array_equal(short.actions, episode.actions[: until - 1])
        assert ("cut_before" in short.metadata) == (until < len(x))
        if until < len(x):
            cut += 1
            assert short.metadata["cut_before"] == LEFTWARDS.words
            assert not short.info["terminated"].any()
    assert results["cut_episodes"] == cut > 5
    assert any(x_of(e)[0] < 0 < x_of(e)[-1] for e in kept)  # the other way is there


def test_episodes_that_begin_there_are_not_written_and_counted(whole, tmp_path):
    never = Passage(end={"position": [[0, None]]})
    results, kept = gather(tmp_path / "run", never)
    begun = [n for n, e in zip(whole.numbers, whole, strict=True) if (x_of(e)[:2] >= 0).any()]
    assert kept.numbers == [n for n in whole.numbers if n not in begun] and len(begun) > 5
    assert results["empty_episodes"] == len(begun) and results["episodes"] == len(kept)
    assert all((x_of(episode) < 0).all() for episode in kept)
    assert kept.held_out.numbers == [n for n in kept.numbers if n % 2]
    again, same = gather(tmp_path / "run", never)
    assert again == results and same.numbers == kept.numbers
    with pytest.raises(ConfigError, match="every episode begins with it"):
        gather(tmp_path / "none", Passage(end={"position": [[-1, 1]]}))


def test_several_processes_leave_out_the_same(one_way, tmp_path):
    results, kept = gather(tmp_path / "run", LEFTWARDS, workers=2)
    assert results == one_way[0] and kept.lengths == one_way[1].lengths


@pytest.mark.parametrize("make", [episode_tasks, crossed_tasks])
def test_goals_are_asked_that_need_it(whole, make):
    across = Passage({"position": [[0.1, None]]}, {"position": [[None, -0.1]]})
    ask = partial(make, whole, NEAR, offset=20, episodes=8, seed=1)
    tasks = ask(way=across)
    assert len(tasks) == 8 and tasks.words.endswith(f", by a {across.words}")
    for task in tasks.tasks:
        start = np.float64(task.shown[0, 0, 0]) / 127.5 - 1
        assert start >= 0.1 - 0.01 and task.goal["position"][0] <= -0.1
    assert any(t.goal["position"][0] > -0.1 for t in ask().tasks)
    assert "by a" not in ask().words


def test_what_was_left_out_is_in_no_episode_but_between_two(one_way):
    _, kept = one_way
    ask = {"offset": 20, "episodes": 4, "seed": 1, "way": LEFTWARDS}
    with pytest.raises(ConfigError, match="by a passage .*goals_from= a folder whose episodes"):
        episode_tasks(kept, NEAR, **ask)
    assert len(crossed_tasks(kept, NEAR, **ask)) == 4


def test_two_rooms_are_left_one_way_only(tmp_path):
    leftwards = Passage({"position": [[0.1, None]]}, {"position": [[None, 0.1]]})
    how = {"env": TWO_ROOM, "episodes": 12, "steps": 60, "reset_options": {"task": "explore"}}
    results, kept = gather(tmp_path / "run", leftwards, **how)
    assert results["cut_episodes"] > 0
    for episode in kept:
        x = x_of(episode)
        assert not (np.maximum.accumulate(x >= 0.1) & (x <= 0.1)).any()
        assert json.loads(episode.metadata["reset_options"]) == {"task": "explore"}
    assert any(x_of(e).min() < -0.1 and x_of(e).max() > 0.1 for e in kept)
