"""Worlds that other people made: each tells what its page says, and begins again where it was."""

import importlib.util

import numpy as np
import pytest

from worldmodel.envs import View
from worldmodel.envs.known_worlds import KNOWN, known
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.environment import make_env, reset, restores_state, step

MODULES = {
    "PointMaze_": "gymnasium_robotics", "gym_pusht/": "gym_pusht", "cube-": "ogbench",
    "pointmaze-": "ogbench", "antmaze-": "ogbench", "scene-": "ogbench",
    "worldmodel/": "worldmodel.envs",
}  # fmt: skip
IDS = [*KNOWN, "scene-v0"]


def made(name):
    """The world by its full id, if what it needs is installed."""
    module = next((module for start, module in MODULES.items() if name.startswith(start)), None)
    needed = module or ("pygame" if name in ("Pendulum-v1", "CartPole-v1") else "mujoco")
    if importlib.util.find_spec(needed.partition(".")[0]) is None:
        pytest.skip(f"{needed} is not installed: pip install 'worldmodel[worlds]'")
    return make_env(f"{module}:{name}" if module else name, None, View())


def go_on(env, actions, like):
    """The last frame and infos of taking recorded actions (t r), and how much was to be seen."""
    space, frames = ActionSpace.of(env.action_space), []
    for number, action in enumerate(actions, 1):
        frame, *_, info = step(env, space.again(action), number=number, like=like)
        frames.append(frame)
    return np.stack(frames).astype(float), info


@pytest.mark.filterwarnings("ignore")  # of gymnasium, on spaces of other people's making
@pytest.mark.parametrize("name", IDS)
def test_it_tells_what_reaching_a_goal_means_and_begins_again_where_it_was(name):
    with made(name) as env:
        env.action_space.seed(0)
        space = ActionSpace.of(env.action_space)
        actions = np.stack([space.recorded(env.action_space.sample()) for _ in range(8)])
        like, info = reset(env, seed=3)
        assert restores_state(env)
        _, before = go_on(env, actions[:4], like)
        later, told = go_on(env, actions[4:], like)
        reset(env, seed=4)
        go_on(env, actions[:2], like)
        reset(env, seed=3, options={"state": before["state"]})
        again, retold = go_on(env, actions[4:], like)
        for key in known(name).within if known(name) else ():
            assert key in info and np.isfinite(told[key]).all()
            np.testing.assert_allclose(retold[key], told[key], atol=1e-3)
        assert np.abs(again - later).mean() < 0.5
        assert later.std() > 1  # there is something to see
