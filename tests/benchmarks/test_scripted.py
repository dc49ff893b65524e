"""The scripts that collect data do what random actions do not: they move things."""

import numpy as np
import pytest

from benchmarks.planning import WORLDS
from benchmarks.worlds.scripted import PickAndPlace, PushBlock
from worldmodel.envs import View
from worldmodel.planners.behaviours import Random
from worldmodel.planners.environment import make_env
from worldmodel.planners.episode_loop import run_episode


def moved(world, policy, info, *, seeds, steps):
    """The way (m) that something has gone in each episode, and the episodes' infos."""
    env = make_env(world.env, None, View())
    records = [run_episode(env, policy, seed=s, options=None, max_steps=steps) for s in seeds]
    env.close()
    places = [record.infos[info] for record in records]
    return [np.linalg.norm(np.diff(p, axis=0), axis=1).sum() for p in places], records


def test_a_block_is_pushed_in_most_episodes():
    pytest.importorskip("gym_pusht")
    ways, records = moved(WORLDS["pusht"], PushBlock(), "block_position", seeds=range(6), steps=60)
    assert np.median(ways) > 100  # pixels of 512
    actions = np.concatenate([record.actions for record in records])
    assert actions.min() >= 0 and actions.max() <= 512
    again, _ = moved(WORLDS["pusht"], PushBlock(), "block_position", seeds=range(6), steps=60)
    assert again == ways
    alone, _ = moved(
        WORLDS["pusht"], PushBlock(wandering=1.0), "block_position", seeds=range(6), steps=60
    )
    assert np.median(alone) < np.median(ways) / 2


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::UserWarning")  # of its bounds' type
def test_a_cube_is_carried():
    pytest.importorskip("ogbench")
    info = "privileged/block_0_pos"
    _, records = moved(WORLDS["cube"], PickAndPlace(), info, seeds=range(2), steps=70)
    assert all(record.infos[info][:, 2].max() > 0.1 for record in records)
    _, records = moved(WORLDS["cube"], Random(), info, seeds=range(1), steps=70)
    assert all(record.infos[info][:, 2].max() < 0.1 for record in records)
