"""Cloning in hindsight, on a world whose states say everything."""

import numpy as np
import pytest
import torch

from tests.planners.fakes import PointModel, PointWorld, Towards, draw
from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import Episode, Episodes, EpisodeWriter
from worldmodel.errors import ConfigError
from worldmodel.planners.behaviours import SmoothRandom
from worldmodel.planners.cloning import CloningPolicy, clone
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.episode_states import encode_episodes


class Endless(PointWorld):
    """Never ends at its goal."""

    def step(self, action):
        observation, reward, _, truncated, info = super().step(action)
        return observation, reward, False, truncated, info


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("episodes")
    with EpisodeWriter(folder, FolderInfo("world", 10.0, (-1.0, -1.0), (1.0, 1.0))) as writer:
        for seed in range(60):
            record = run_episode(Endless(), SmoothRandom((6.0, 12.0)), seed=seed, max_steps=40)
            actions = None if seed % 10 == 9 else record.actions
            writer.write(Episode.from_numpy(record.frames, actions, fps=10, info={}))
    return encode_episodes(PointModel(), Episodes(folder), flag="hazard_contact")


def test_blocks_follow_their_states(recorded):
    states, blocks = recorded.states[:20], recorded.blocks[:20]
    assert blocks.shape == (20, 4)  # of 41 frames, two to a state
    assert blocks[:-1].isfinite().all() and blocks[-1].isnan().any()
    moved = (states[:-1, :2] + 0.1 * blocks[:-1].unflatten(1, (2, 2)).sum(1)).clamp(-1, 1)
    inside = (moved.abs() < 0.95).all(dim=1)
    torch.testing.assert_close(states[1:, :2][inside], moved[inside], atol=0.02, rtol=0)
    assert recorded.blocks[9 * 20 : 10 * 20].isnan().all()  # an episode without actions


def test_it_goes_where_it_is_told(recorded):
    learned = clone(recorded, horizon=10, seed=0, steps=600)
    policy = CloningPolicy(PointModel(), learned, steps_to_go=10)
    away, left = [], []
    for seed in range(12):
        far = run_episode(PointWorld(), Towards([0, 0]), seed=seed, max_steps=1)
        goal = far.infos["position"][0] + np.where(far.infos["position"][0] > 0, -0.5, 0.5)
        told = {"goal_image": draw(goal)}
        record = run_episode(Endless(), policy, seed=seed, max_steps=10, goal=told)
        path = np.linalg.norm(record.infos["position"] - goal, axis=1)
        away.append(path[0])
        left.append(path[-1])
    assert np.mean(left) < 0.3 * np.mean(away)


def test_the_seed_decides_and_nothing_else_is_drawn(recorded):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    first, again = (clone(recorded, horizon=5, seed=1, steps=20) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    pairs = zip(first.parameters(), again.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


def test_without_actions_there_is_nothing_to_clone(recorded):
    nothing = type(recorded)(
        recorded.states, recorded.lengths, recorded.flagged, recorded.told,
        torch.full_like(recorded.blocks, torch.nan),
    )  # fmt: skip
    with pytest.raises(ConfigError, match="needs episodes with actions"):
        clone(nothing, horizon=5, seed=0, steps=1)


def test_one_block_ahead_it_is_an_inverse_dynamics(recorded):
    """It says what was done between two neighbours, whatever else it is asked for."""
    learned = clone(recorded, horizon=1, seed=0, steps=600)
    places = torch.arange(1, 19)
    before, now, after = (recorded.states[places + shift] for shift in (-1, 0, 1))
    with torch.no_grad():
        found = learned(before, now, after, torch.ones(len(places)))
    done = recorded.blocks[places]
    assert ((found - done).square().mean() / done.var()) < 0.3
    assert learned.horizon == 1  # so that a policy asks for one block to go at every step
