"""Cups: the ball goes with its cup, and nothing but memory tells where it is."""

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from worldmodel.envs import CUPS
from worldmodel.envs.cups import LOWERING, MOST_SWAPS, PLACES, SHOWN, SWAPPING
from worldmodel.envs.layout import TaskError
from worldmodel.planners.behaviours import Random
from worldmodel.planners.episode_loop import Policy, run_episode

STILL, DOWN = np.array([0, -1], np.float32), SHOWN + LOWERING


@pytest.fixture
def env():
    world = gymnasium.make(CUPS)
    yield world.unwrapped
    world.close()


def run(env, steps, action=STILL, **options):
    first, info = env.reset(seed=options.pop("seed", 0), options=options or None)
    frames, infos = [first], [info]
    for _ in range(steps):
        frame, _, ended, _, info = env.step(action)
        frames.append(frame)
        infos.append(info)
        if ended:
            break
    return np.stack(frames), infos


def red(frames):
    """How many pixels of each image the ball has."""
    return ((frames[..., 0] > 180) & (frames[..., 1] < 110)).sum((1, 2))


class Knowing(Policy):
    """Is told where the ball is."""

    def __call__(self, observation, info):
        move = float(info["ball"][0] - info["hand"][0]) / 0.15
        return np.array([np.clip(move, -1, 1), 1 if info["resting"] else -1], np.float32)


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_check_env_finds_nothing_to_warn_about(render_mode):
    check_env(gymnasium.make(CUPS, render_mode=render_mode).unwrapped)


@pytest.mark.parametrize("seed", range(5))
def test_the_ball_is_seen_at_first_and_hidden_from_then_on(env, seed):
    frames, _ = run(env, 30, task="any", seed=seed)
    assert (red(frames[: SHOWN + 1]) > 10).all() and not red(frames[DOWN:]).any()


def test_images_do_not_tell_where_the_ball_is_once_it_is_hidden(env):
    _, infos = run(env, 0, task="swapped", seed=4)
    seen = []
    for ball in range(3):
        state = infos[0]["state"].copy()
        state[[0, 2]] = DOWN, ball
        frames, _ = run(env, SWAPPING * MOST_SWAPS + 1, state=state)
        seen.append(frames)
    assert np.array_equal(seen[0], seen[1]) and np.array_equal(seen[0], seen[2])


@pytest.mark.parametrize("seed", range(8))
def test_the_ball_goes_with_its_cup_and_all_come_to_rest_at_three_places(env, seed):
    _, infos = run(env, DOWN + SWAPPING * MOST_SWAPS, task="swapped", seed=seed)
    cups = np.stack([info["cups"] for info in infos])
    ball = np.concatenate([info["ball"] for info in infos])
    follows = np.abs(cups - ball[:, None]).max(axis=0) == 0
    assert follows.sum() == 1 and np.allclose(np.sort(cups[-1]), PLACES)
    swaps = np.count_nonzero(infos[0]["state"][4:])
    moved = np.abs(np.diff(cups, axis=0)).max(axis=1) > 1e-6
    assert moved.sum() == SWAPPING * swaps and not moved[:DOWN].any()
    rests = [info["resting"] for info in infos]
    assert rests.index(True) == DOWN + SWAPPING * swaps


def test_what_is_known_succeeds_and_guesses_succeed_in_one_of_three(env):
    def rate(policy, count):
        done = [
            run_episode(gymnasium.make(CUPS), policy, seed=seed, max_steps=60)
            for seed in range(count)
        ]
        return np.mean([bool(record.success) for record in done])

    assert rate(Knowing(), 20) == 1.0
    assert rate(Random(), 60) == pytest.approx(1 / 3, abs=0.17)


def test_one_goal_image_is_what_success_looks_like_and_they_do_not_tell_which(env):
    goals = [env.reset(seed=seed)[1]["goal_image"] for seed in range(5)]
    assert goals[0].shape == (3, 64, 64, 3) and all(np.array_equal(goals[0], g) for g in goals)
    _, info = env.reset(seed=3, options={"task": "swapped"})
    goal, policy = info["goal_image"], Knowing()
    for _ in range(40):
        action = policy(None, info)
        if abs(info["ball"][0] - info["hand"][0]) > 1e-6:
            action[1] = -1
        frame, reward, ended, _, info = env.step(action)
        if ended:
            break
    assert info["success"] and reward == 1
    place = int(np.argmin(np.abs(np.array(PLACES) - info["ball"][0])))
    assert np.abs(frame.astype(int) - goal[place]).mean() < 0.5


def test_lifting_does_nothing_before_they_rest_and_ends_nothing_where_one_explores(env):
    lift = np.array([0, 1], np.float32)
    at = [float(run(env, 0, task="still")[1][0]["ball"][0])]
    frames, infos = run(env, DOWN - 1, lift, task="still")
    assert not any(info["success"] for info in infos) and len(frames) == DOWN
    state = infos[-1]["state"].copy()
    state[1] = at[0]
    frames, infos = run(env, 5, lift, task="explore", state=state)
    assert len(infos) == 6 and infos[-1]["success"] and red(frames[-1:])[0] > 10
    frame, _, ended, _, info = env.step(STILL)
    assert not ended and not info["success"] and red(frame[None])[0] == 0


def test_an_episode_begins_again_from_its_state(env):
    frames, infos = run(env, 20, np.array([0.3, -1], np.float32), task="swapped", seed=6)
    for at in (2, 5, 9, 14):
        again, told = run(env, 20 - at, np.array([0.3, -1], np.float32), state=infos[at]["state"])
        assert np.array_equal(again, frames[at:])
        assert np.array_equal(told[-1]["state"], infos[-1]["state"])


def test_what_a_reset_does_not_take_is_one_line(env):
    for options in ({"task": "else"}, {"other": 1}):
        with pytest.raises(TaskError, match="options of a reset are task="):
            env.reset(options=options)
    for state in ([1, 2], "text", [0, 0, 0, -1, 0, 0, np.nan]):
        with pytest.raises(TaskError, match="a state is 7 finite numbers"):
            env.reset(options={"state": state})
    good = [0, 0.5, 0, -1, 1, 2, 0]
    env.reset(options={"state": good})
    for place, wrong in ((0, -1), (0, 0.5), (1, 99), (2, 3), (3, 5), (4, -1), (4, 0), (5, 9)):
        state = [*good[:place], wrong, *good[place + 1 :]]
        with pytest.raises(TaskError, match="a state is the time, the hand"):
            env.reset(options={"state": state})
    with pytest.raises(ValueError, match="an action is two finite numbers"):
        env.step(np.array([np.nan, 1]))
    with pytest.raises(ValueError, match="size must be at least 16"):
        gymnasium.make(CUPS, size=4)
