"""Planning by what is read out of states."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box

from tests.planners.fakes import PointModel, collected, draw
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.behaviours import Random
from worldmodel.planners.cloning import CloningPolicy, clone
from worldmodel.planners.costs import GoalAlongLandmarks, ReadOutGoal
from worldmodel.planners.episode_states import cached_states, encode_episodes


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return collected(tmp_path_factory.mktemp("some"), Random())


@pytest.fixture(scope="module")
def recorded(folder):
    return encode_episodes(PointModel(), Episodes(folder), flag="hazard_contact")


def test_infos_are_those_of_the_last_frame_of_each_state(recorded):
    # The fake's state begins with the position that its last frame shows.
    assert recorded.infos["position"].shape == (len(recorded.states), 2)
    assert torch.allclose(recorded.infos["position"], recorded.states[:, :2], atol=0.01)
    assert recorded.numbers[-1] == 11 and len(recorded.numbers) == len(recorded.states)


def test_states_that_were_kept_are_the_same(folder, tmp_path, recorded):
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    words = {"weights": tmp_path / "model.safetensors", "flag": "hazard_contact"}
    for _ in range(2):
        kept = cached_states(PointModel(), Episodes(folder), **words)
        assert set(kept.infos) == set(recorded.infos)
        assert torch.equal(kept.infos["position"], recorded.infos["position"])
        assert torch.equal(kept.states, recorded.states)


def test_the_cost_is_the_distance_of_what_is_read_to_what_the_goal_shows(recorded):
    made = ReadOutGoal("position", running=0).prepare(recorded, seed=0)
    assert made.report()["read_out_position_r2"] > 0.99
    goal = np.array([0.5, -0.25])
    cost = made.for_episode({"goal_image": draw(goal)}).bind(PointModel())
    places = torch.tensor([[0.5, -0.25], [-0.5, -0.25], [0.5, 0.75]])
    states = torch.cat([places, places], dim=1)[:, None]
    found = cost(states, torch.zeros(3, 1, 4))
    std = recorded.infos["position"].std(dim=0)
    expected = ((places - torch.tensor([0.5, -0.25])) / std).square().mean(dim=1)
    assert torch.allclose(found, expected, atol=0.02)


def test_a_target_needs_no_image(recorded):
    made = ReadOutGoal("position", target=[0.5, -0.25], terminal=0).prepare(recorded, seed=0)
    cost = made.for_episode({})
    states = torch.tensor([[0.5, -0.25, 0.5, -0.25], [0.0, 0.0, 0.0, 0.0]])[:, None]
    near, far = cost(states, torch.zeros(2, 1, 4)).tolist()
    assert near < 1e-3 < 0.05 < far


def test_what_cannot_be_read_is_refused(recorded):
    with pytest.raises(ConfigError, match="info of ReadOutGoal: .*position"):
        ReadOutGoal("positon").prepare(recorded, seed=0)
    with pytest.raises(ConfigError, match=r"target=\[1.0\]: 2 numbers are read out, not 1"):
        ReadOutGoal("position", target=[1.0]).prepare(recorded, seed=0).for_episode({})
    with pytest.raises(ConfigError, match=r"call prepare\(\) first"):
        ReadOutGoal("position").for_episode({})


class Told(PointModel):
    """Is told its position beside the image."""

    proprioception, image_dim = "position", 4

    def states(self, clip, proprioception=None):
        seen = super().states(clip)
        known = seen.new_zeros(*seen.shape[:2], 2) if proprioception is None else proprioception
        return torch.cat([seen, known], dim=-1)


def test_what_a_body_knows_takes_no_part_in_what_a_goal_is_compared_with(folder):
    recorded = encode_episodes(Told(), Episodes(folder), flag="hazard_contact")
    assert recorded.states.shape[1] == 4
    whole = encode_episodes(Told(), Episodes(folder), flag="hazard_contact", whole=True)
    assert torch.equal(whole.states[:, :4], recorded.states)
    assert torch.equal(whole.states[:, 4:], recorded.infos["position"])
    goal = {"goal_image": draw(np.array([0.5, -0.25]))}
    for factory in (ReadOutGoal("position"), GoalAlongLandmarks(num_landmarks=20)):
        cost = factory.prepare(recorded, seed=0).for_episode(goal).bind(Told())
        there = torch.tensor([0.5, -0.25, 0.5, -0.25, 0.5, -0.25])
        states = torch.stack([there, there * torch.tensor([1, 1, 1, 1, 9, 9]), -there])[:, None]
        same, told_otherwise, far = cost(states, torch.zeros(3, 1, 4)).tolist()
        assert same == told_otherwise < far


def test_any_of_several_goals_will_do(recorded):
    made = ReadOutGoal("position").prepare(recorded, seed=0)
    goals = np.stack([draw(np.array(place)) for place in ((0.5, 0.5), (-0.5, -0.5))])
    cost = made.for_episode({"goal_image": goals}).bind(PointModel())
    places = torch.tensor([[0.5, 0.5], [-0.5, -0.5], [0.0, 0.0]])
    found = cost(torch.cat([places, places], dim=1)[:, None], torch.zeros(3, 1, 4)).tolist()
    assert max(found[:2]) < 0.01 < found[2]


def test_the_baseline_of_cloning_acts_on_what_it_has_learned_from(folder):
    recorded = encode_episodes(Told(), Episodes(folder), flag="hazard_contact")
    learned = clone(recorded, horizon=4, seed=0)
    seen = []

    def watched(*inputs):
        seen.append(inputs)
        return learned(*inputs)

    watched.horizon = learned.horizon
    policy = CloningPolicy(Told(), watched, steps_to_go=8)
    place = np.array([0.25, 0.5])
    policy.reset(ActionSpace.of(Box(-1, 1, (2,))), {"goal_image": draw(-place)}, seed=0)
    assert policy(draw(place), {"position": place}).shape == (2,)
    before, now, goal, _ = seen[0]
    assert before.shape == now.shape == goal.shape == (1, 4)
    assert torch.allclose(now[0, :2], torch.tensor(place).float(), atol=0.01)
    assert torch.allclose(goal[0, :2], -torch.tensor(place).float(), atol=0.01)
