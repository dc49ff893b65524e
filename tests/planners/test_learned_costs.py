"""Costs that small networks learn from recorded episodes, in worlds where the answer is known."""

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.planners.fakes import PointModel, PointWorld, draw, recorded
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import ConfigError
from worldmodel.planners.behaviours import Random
from worldmodel.planners.collect import folder_info, to_episode
from worldmodel.planners.costs import GoalInSteps, LearnedReward
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.episode_states import encode_episodes

LENGTH, EPISODES, ALONG = 24, 80, 30


# Steps to a goal


def horseshoe(places: Tensor) -> Tensor:
    """Points (... 2) of a way, `ALONG` steps long, whose two ends are near to each other."""
    angle = 0.2 + (2 * torch.pi - 0.4) * places / ALONG
    return torch.stack([angle.cos(), angle.sin()], dim=-1)


@pytest.fixture(scope="module")
def walked():
    """Walks to and fro on the way, each of a part of it."""
    random = np.random.default_rng(0)
    steps = random.choice([-1, 0, 1], p=[0.3, 0.1, 0.6], size=(EPISODES, LENGTH))
    steps[::2] *= -1
    begun = random.integers(ALONG, size=(EPISODES, 1))
    places = torch.from_numpy(begun + steps.cumsum(1)).clamp(0, ALONG).float()
    return recorded(list(horseshoe(places)))


@pytest.fixture(scope="module")
def steps_apart(walked):
    return GoalInSteps(running=0.0, steps=250).prepare(walked, seed=0)


def test_steps_are_counted_along_the_way_that_the_data_took(steps_apart):
    """The two ends are nearer to each other than to the middle of the way, and farther to go."""
    goal = horseshoe(torch.tensor(0.0))
    ends = horseshoe(torch.tensor([0.0, ALONG / 4, ALONG / 2, ALONG]))
    assert (ends[3] - goal).norm() < (ends[1] - goal).norm()
    found = steps_apart._apart.between(ends, goal.expand_as(ends))
    assert found.tolist() == sorted(found.tolist())
    assert found[0] < 0.1 and found[3] > ALONG / 2
    report = steps_apart.report()
    assert 0.4 < report["temporal_step"] < 1.3 and report["temporal_rank"] > 0.3  # they turn back


def test_the_cost_is_the_steps_to_the_goal_that_an_image_shows(steps_apart):
    class Model(PointModel):
        def states(self, clip, proprioception=None):
            return super().states(clip)[..., :2]

    place = horseshoe(torch.tensor(3.0)).numpy()
    cost = steps_apart.for_episode({"goal_image": draw(place)}).bind(Model())
    states = horseshoe(torch.tensor([[20.0, 3.0], [3.0, 20.0]])).requires_grad_()
    near, far = cost(states, torch.zeros(2, 2, 4))
    assert near < 1 and far > 8
    assert torch.autograd.grad(far, states)[0][1, 1].norm() > 0


def test_steps_are_a_function_of_the_seed(walked):
    made = [GoalInSteps(steps=2).prepare(walked, seed=s)._apart for s in (0, 0, 1)]
    points = [apart(walked.states[:5]) for apart in made]
    assert torch.equal(points[0], points[1]) and not torch.equal(points[0], points[2])


def test_without_motion_or_preparation_there_are_no_steps():
    still = recorded([torch.ones(5, 2), torch.ones(5, 2)])
    with pytest.raises(ConfigError, match="in which states change"):
        GoalInSteps().prepare(still, seed=0)
    with pytest.raises(ConfigError, match=r"call prepare\(\) first"):
        GoalInSteps().for_episode({"goal_image": draw((0.0, 0.0))})


# Rewards


def rewarded(*, told: str = "reward"):
    """States walk at random; a step is worth what its state's first number says, less effort."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(EPISODES, LENGTH, 3, generator=generator)
    blocks = torch.randn(EPISODES, LENGTH, 2, generator=generator)
    worth = torch.full((EPISODES, LENGTH), torch.nan)
    worth[:, 1:] = 5 * states[:, 1:, 0].tanh() - blocks[:, :-1].square().sum(2)
    blocks[:, -1] = torch.nan
    return recorded(list(states), blocks.flatten(0, 1), **{told: worth.reshape(-1, 1)})


def test_a_plan_costs_less_where_more_reward_is_expected():
    made = LearnedReward(steps=400, weight=2.0).prepare(rewarded(), seed=0)
    assert made.report()["expected_reward_r2"] > 0.9
    cost = made.for_episode({})
    states, actions = torch.zeros(3, 4, 3), torch.zeros(3, 4, 2)
    states[0, :, 0], states[1, :, 0], actions[2] = 1.0, -1.0, 1.5
    high, low, tired = cost(states, actions).tolist()
    still = cost(torch.zeros(1, 4, 3), torch.zeros(1, 4, 2)).item()
    assert high < still < low and tired > still
    # In deviations of the data, twice.
    std = np.nanstd(rewarded().infos["reward"].numpy())
    assert (low - high) / 2 == pytest.approx(2 * 5 * np.tanh(1) / std, rel=0.15)


def test_another_info_may_be_what_is_made_large():
    made = LearnedReward("worth", steps=5).prepare(rewarded(told="worth"), seed=0)
    assert set(made.report()) == {"expected_worth_r2"}


def test_rewards_of_all_steps_of_a_block_count(tmp_path):
    """A model of action blocks of two sees a reward that is given in the middle of one."""

    class InTheMiddle(PointWorld):
        steps = 0

        def reset(self, **words):
            self.steps = 0
            return super().reset(**words)

        def step(self, action):
            observation, _, ended, late, info = super().step(action)
            self.steps += 1
            return observation, float(self.steps % 2) * self.steps, ended, late, info

    model, env = PointModel(), InTheMiddle()
    record = run_episode(env, Random(), seed=0, options=None, max_steps=10)
    info = folder_info(env, "x", labelled=True)
    with EpisodeWriter(tmp_path, info) as writer:
        writer.write(to_episode(record, info))
    found = encode_episodes(model, Episodes(tmp_path), flag="hazard_contact").infos["reward"]
    rewards = torch.from_numpy(record.rewards).float()
    span, block = model.state_frames, model.action_block
    assert block == 2 and found.shape[1] == 1 and found[0].isnan()
    for number, told in enumerate(found[1:, 0].tolist()):
        first = span - 1 + number * block
        assert told == rewards[first : first + block].sum() > 0


def test_what_was_left_out_is_judged_only_where_it_can_be():
    data = rewarded()
    few = recorded(list(data.states[: 3 * LENGTH].split(LENGTH)), data.blocks[: 3 * LENGTH],
                   reward=data.infos["reward"][: 3 * LENGTH])  # fmt: skip
    assert LearnedReward(steps=2).prepare(few, seed=0).report() == {}
    assert GoalInSteps(steps=2).prepare(few, seed=0).report() == {}
    pairs = recorded(list(data.states.split(2)), data.blocks, reward=data.infos["reward"])
    assert set(GoalInSteps(steps=2).prepare(pairs, seed=0).report()) == {"temporal_step"}


def test_rewards_that_tell_nothing_are_refused():
    data = rewarded()
    with pytest.raises(ConfigError, match="info of LearnedReward: .*reward"):
        LearnedReward("rewards").prepare(data, seed=0)
    nothing = recorded(list(data.states.split(LENGTH)), data.blocks,
                       reward=torch.zeros(len(data.states), 1))  # fmt: skip
    with pytest.raises(ConfigError, match="is 0 in all 1656 action blocks that it would learn"):
        LearnedReward().prepare(nothing, seed=0)
    videos = recorded(list(data.states.split(LENGTH)), reward=data.infos["reward"])
    with pytest.raises(ConfigError, match="episodes with actions that tell reward; there are none"):
        LearnedReward().prepare(videos, seed=0)
    with pytest.raises(ConfigError, match="is 3 numbers; a reward is one"):
        LearnedReward("three").prepare(
            recorded(data.sequences, data.blocks, three=data.states), seed=0
        )
    for make in (LearnedReward, GoalInSteps):
        with pytest.raises(ConfigError, match="steps=0: a network learns for at least one"):
            make(steps=0)
    with pytest.raises(ConfigError, match=r"call prepare\(\) first"):
        LearnedReward().for_episode({})
