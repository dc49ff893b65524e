import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.error import Error
from gymnasium.utils.env_checker import check_env

from worldmodel.envs import TWO_ROOM
from worldmodel.envs.layout import AGENT_RADIUS, SUCCESS_DISTANCE


@pytest.fixture
def env():
    world = gymnasium.make(TWO_ROOM)
    yield world
    world.close()


def start(env, position, goal=(-0.8, -0.8), **seed):
    return env.reset(options={"position": position, "goal": goal}, **seed)


def push(env, action, steps):
    infos = [env.step(np.array(action, np.float32))[-1] for _ in range(steps)]
    return np.array([info["position"] for info in infos], np.float64), infos


@pytest.mark.parametrize("render_mode", [None, "rgb_array"])
def test_check_env_finds_nothing_to_warn_about(render_mode):
    check_env(gymnasium.make(TWO_ROOM, render_mode=render_mode).unwrapped)


def test_registering_does_not_load_mujoco():
    code = "import sys, worldmodel.envs; print('mujoco' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_it_can_be_made_by_naming_its_module():
    assert gymnasium.make(f"worldmodel.envs:{TWO_ROOM}").spec.id == TWO_ROOM


def test_full_force_brings_the_agent_to_its_own_diameter_per_step(env):
    start(env, (0.5, -0.9))
    positions, _ = push(env, (0, 1), 13)
    moved = np.diff(positions[:, 1], prepend=-0.9)
    assert moved[12] == pytest.approx(2 * AGENT_RADIUS, abs=0.01)
    assert moved[0] < 0.03
    assert (np.diff(moved) > 0).all()


def test_without_force_an_agent_at_rest_stays(env):
    first, info = start(env, (0.5, -0.5))
    positions, infos = push(env, (0, 0), 3)
    np.testing.assert_allclose(positions, np.tile([0.5, -0.5], (3, 1)), atol=1e-6)
    assert info["velocity"].tolist() == [0.0, 0.0]
    assert infos[-1]["velocity"].tolist() == [0.0, 0.0]
    np.testing.assert_array_equal(env.unwrapped.image_at((0.5, -0.5)), first)


@pytest.mark.parametrize("action", [(1, 1), (1, -1), (-1, 1), (-1, -1), (1, 0), (0, -1)])
@pytest.mark.parametrize("place", [(-0.5, 0.6), (0.5, -0.6)])
def test_walls_hold_against_full_force(env, place, action):
    start(env, place, goal=(0.8, 0.8))
    positions, _ = push(env, action, 30)
    slack = 0.01  # contacts give a little
    assert np.abs(positions).max() <= 1 - AGENT_RADIUS + slack
    at_wall = np.abs(positions[:, 0]) < 0.05  # beside it, the agent may round the wall's corner
    assert (np.abs(positions[at_wall, 1]) <= 0.25 - AGENT_RADIUS + slack).all()  # in the door


def test_the_inner_wall_stops_and_the_door_lets_through(env):
    start(env, (-0.5, 0.6))
    blocked, _ = push(env, (1, 0), 20)
    assert blocked[:, 0].max() < -0.05 - AGENT_RADIUS + 0.01
    start(env, (-0.5, 0.0))
    through, _ = push(env, (1, 0), 20)
    assert through[-1, 0] > 0.9


def test_the_door_is_where_it_was_put():
    env = gymnasium.make(TWO_ROOM, door=-0.5)
    for y, passes in ((-0.5, True), (0.0, False)):
        start(env, (-0.5, y), goal=(-0.8, 0.8))
        positions, _ = push(env, (1, 0), 15)
        assert bool(positions[-1, 0] > 0.5) is passes
    image = env.unwrapped.image_at((-0.5, 0.8))
    row = round(32 + 0.5 * 64 / 2.12)  # y is up in the image
    assert image[row, 32].min() > 200 and image[32, 32].max() < 120


def test_reaching_the_goal_ends_the_episode_with_reward_one(env):
    start(env, (-0.5, -0.5), goal=(-0.5, 0.2))
    outcomes = [env.step(np.array([0, 1], np.float32)) for _ in range(12)]
    ended = [terminated for _, _, terminated, _, _ in outcomes]
    reached = [info["distance"] < SUCCESS_DISTANCE for *_, info in outcomes]
    assert any(ended) and ended == reached
    assert [reward for _, reward, *_ in outcomes] == [float(r) for r in reached]
    assert all(info["success"] == r for (*_, info), r in zip(outcomes, reached, strict=True))


def test_exploring_does_not_end_at_the_goal(env):
    _, info = env.reset(seed=0, options={"task": "explore"})
    ends = []
    for _ in range(60):  # drive at the goal, whatever is in the way
        way = info["goal"] - info["position"]
        action = np.clip(way / 0.3 - 0.25 * info["velocity"], -1, 1).astype(np.float32)
        *_, terminated, _, info = env.step(action)
        ends.append((info["success"], terminated))
    assert any(success for success, _ in ends)
    assert not any(terminated for _, terminated in ends)


def test_crossing_the_hazard_is_reported_and_changes_no_motion(env):
    hazard = env.unwrapped.layout.hazard
    start(env, (hazard[0], -0.6))
    crossing, infos = push(env, (0, 1), 9)
    inside = np.linalg.norm(crossing - hazard, axis=1) < 0.2
    assert inside.any() and not inside.all()
    assert [info["hazard_contact"] for info in infos] == inside.tolist()
    start(env, (-0.5, -0.6), goal=(0.8, 0.8))
    free, _ = push(env, (0, 1), 9)
    np.testing.assert_allclose(crossing[:, 1], free[:, 1], atol=1e-6)


def test_the_same_seed_gives_the_same_episode_and_another_one_another(env):
    def episode(seed):
        frames = [env.reset(seed=seed)[0]]
        env.action_space.seed(seed)
        frames += [env.step(env.action_space.sample())[0] for _ in range(10)]
        return np.stack(frames)

    first = episode(7)
    assert (first != episode(8)).any()
    np.testing.assert_array_equal(first, episode(7))


def test_the_goal_image_is_the_world_with_the_agent_at_the_goal(env):
    observation, info = env.reset(seed=4)
    goal = info["goal_image"]
    assert (goal != observation).any()
    other, _ = start(env, info["goal"], goal=info["position"])
    np.testing.assert_array_equal(other, goal)
    assert "goal_image" not in env.step(np.zeros(2, np.float32))[-1]


def test_the_agent_is_drawn_where_info_says(env):
    for seed in range(5):
        observation, info = env.reset(seed=seed)
        blue = observation[..., 2].astype(int) - observation[..., 0] > 100
        rows, columns = np.nonzero(blue)
        seen = np.array([columns.mean() + 0.5 - 32, 32 - rows.mean() - 0.5]) * 2.12 / 64
        np.testing.assert_allclose(seen, info["position"], atol=0.02)


def test_render_returns_the_last_observation():
    env = gymnasium.make(TWO_ROOM, render_mode="rgb_array", size=96)
    env.reset(seed=0)
    observation, *_ = env.step(np.array([1, 0], np.float32))
    assert observation.shape == (96, 96, 3)
    np.testing.assert_array_equal(env.render(), observation)


def test_two_worlds_do_not_disturb_each_other():
    first, second = gymnasium.make(TWO_ROOM), gymnasium.make(TWO_ROOM)
    before, _ = first.reset(seed=1)
    second.reset(seed=2)
    second.step(np.array([1, 1], np.float32))
    after, *_ = first.step(np.zeros(2, np.float32))
    np.testing.assert_array_equal(before, after)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"task": "nowhere"}, "unknown task 'nowhere'"),
        ({"tusk": "any"}, "reset options are"),
        ({"position": (0.5, 0.5)}, "position and goal"),
        ({"position": (0.5, 0.5), "goal": (-0.5, 0), "task": "any"}, "no more"),
        ({"position": (0.0, 0.5), "goal": (0.5, 0.5)}, "clear of the walls"),
        ({"position": (0.5, 0.5), "goal": (0.5, 2.0)}, "goal must be"),
        ({"position": (0.5, 0.5), "goal": 3.0}, "goal must be two numbers"),
        ({"position": (0.5, 0.5), "goal": (0.5, 0.55)}, "already reached"),
    ],
)
def test_what_a_reset_cannot_mean_is_refused(env, options, message):
    with pytest.raises(Error, match=message):
        env.reset(options=options)


@pytest.mark.parametrize("action", [[0.0], [np.nan, 0.0], [[0.0, 0.0]]])
def test_an_action_must_be_two_finite_numbers(env, action):
    env.reset(seed=0)
    with pytest.raises(ValueError, match="two finite numbers"):
        env.unwrapped.step(np.array(action))


def test_forces_outside_the_action_space_are_clipped(env):
    ends = []
    for force in (1.0, 5.0):
        start(env, (0.5, -0.9))
        env.unwrapped.step(np.array([0.0, force]))
        ends.append(env.unwrapped.step(np.array([0.0, force]))[-1]["position"])
    np.testing.assert_array_equal(*ends)


@pytest.mark.parametrize("kwargs", [{"render_mode": "human"}, {"size": 4}, {"door": 2.0}])
def test_constructor_arguments_are_checked(kwargs):
    from worldmodel.envs.two_room import TwoRoom

    with pytest.raises(ValueError, match=next(iter(kwargs))):
        TwoRoom(**kwargs)
