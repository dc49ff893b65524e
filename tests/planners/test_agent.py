"""The agent's clock and horizon, on a world that its model knows exactly."""

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from tests.planners.fakes import SPEED, PointModel, PointWorld, draw
from worldmodel.errors import ConfigError, EnvError, ShapeError
from worldmodel.planners import (
    CEM,
    ActionBounds,
    Agent,
    GoalImage,
    GoalState,
    Gradient,
    KeepOut,
    Planner,
)
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.agent import PlanningPolicy
from worldmodel.planners.episode_loop import run_episode
from worldmodel.planners.planner import Search
from worldmodel.types import Clip

BOUNDS = ActionBounds(-1.0, 1.0)


class Script(Planner):
    """Plans numbered actions, and remembers what it was asked."""

    def __init__(self, horizon=3):
        self.horizon = horizon
        self.histories, self.warm_starts, self.drawn = [], [], []

    def plan(self, problem, *, generator, warm_start=None):
        self.histories.append(problem.history)
        self.warm_starts.append(warm_start)
        self.drawn.append(torch.rand(1, generator=generator).item())
        first = 100 * len(self.histories)
        count = torch.arange(self.horizon * problem.action_dim).reshape(self.horizon, -1)
        search = Search(problem)
        search.score((first + count)[None].float())
        return search.finish()


class Watching(PointModel):
    """Remembers the clips it was shown."""

    def __init__(self):
        self.clips = []

    def states(self, clip: Clip):
        self.clips.append(clip.frames[0, :, 0, 0, 0])
        return super().states(clip)


def observe(step):
    return draw((step / 20, 0.0))


def scripted(**settings):
    planner, model = Script(), Watching()
    agent = Agent(model, planner, costs=[GoalState(torch.zeros(4))], **settings)
    return agent, planner, model


def test_a_block_is_done_before_the_next_plan():
    agent, planner, _ = scripted()
    actions = [agent.act(observe(t)).tolist() for t in range(5)]
    assert actions == [[100, 101], [102, 103], [200, 201], [202, 203], [300, 301]]
    assert agent.plans == 3 and agent.plan.actions[0].tolist() == [300, 301, 302, 303]
    assert agent.act(observe(5)).dtype == np.float32


class Still(Watching):
    """Sees a state in one frame, and acts for three steps from one to the next."""

    action_block, state_frames = 3, 1

    def states(self, clip: Clip):
        self.clips.append(clip.frames[0, :, 0, 0, 0])
        return torch.cat([clip.frames[:, :, :2].mean(dim=(-1, -2))] * 2, dim=-1)

    def rollout(self, history, actions):
        return history.states[-1].expand(len(actions), actions.shape[1], -1)


def test_a_block_may_be_longer_than_what_a_state_shows():
    planner, model = Script(), Still()
    agent = Agent(model, planner, costs=[GoalState(torch.zeros(4))])
    actions = [agent.act(observe(t))[0] for t in range(7)]
    assert actions == [100, 102, 104, 200, 202, 204, 300]
    shown = [(clip * 255).round().tolist() for clip in model.clips]
    assert shown == [[float(observe(t)[0, 0, 0])] for t in (0, 3, 6)]
    assert planner.histories[-1].actions[:, 0].tolist() == [100, 200]


def test_states_are_made_of_the_last_two_frames_and_the_first_of_one_twice():
    agent, planner, model = scripted()
    for t in range(5):
        agent.act(observe(t))
    shown = [(clip * 255).round().tolist() for clip in model.clips]
    colour = [float(observe(t)[0, 0, 0]) for t in range(5)]
    assert shown == [[colour[0], colour[0]], [colour[1], colour[2]], [colour[3], colour[4]]]


def test_history_is_aligned_with_the_blocks_that_were_done():
    agent, planner, _ = scripted(max_history=3)
    for t in range(11):
        agent.act(observe(t))
    lengths = [len(h.states) for h in planner.histories]
    assert lengths == [1, 2, 3, 3, 3, 3]
    last = planner.histories[-1]
    # Plans 4 and 5 began with 400 and 500: those blocks led to the last two states.
    assert last.actions[:, 0].tolist() == [400, 500]
    assert last.states[:, 0].tolist() == pytest.approx([6 / 20, 8 / 20, 10 / 20], abs=2 / 255)


def test_history_of_one_has_no_actions():
    agent, planner, _ = scripted(max_history=1)
    for t in range(5):
        agent.act(observe(t))
    assert [h.actions.shape for h in planner.histories] == [(0, 4)] * 3


def test_warm_start_is_the_rest_of_the_plan():
    agent, planner, _ = scripted()
    for t in range(3):
        agent.act(observe(t))
    assert planner.warm_starts[0] is None
    assert planner.warm_starts[1].tolist() == [
        [104, 105, 106, 107],
        [108, 109, 110, 111],
        [0, 0, 0, 0],
    ]


def test_replanning_less_often():
    agent, planner, model = scripted(replan_every=2)
    actions = [agent.act(observe(t))[0] for t in range(8)]
    assert actions == [100, 102, 104, 106, 200, 202, 204, 206]
    # It looks at every block all the same, and starts the next plan two blocks later.
    assert len(model.clips) == 4 and agent.plans == 2
    assert planner.histories[1].actions[:, 0].tolist() == [100, 104]
    assert planner.warm_starts[1][:, 0].tolist() == [108, 0, 0]


def test_reset_begins_anew():
    agent, planner, model = scripted()
    first = [agent.act(observe(t)).tolist() for t in range(3)]
    agent.reset()
    assert agent.plan is None and agent.plans == 0
    planner.histories.clear()
    assert [agent.act(observe(t)).tolist() for t in range(3)] == first
    assert planner.warm_starts[2] is None
    assert planner.drawn[:2] == planner.drawn[2:]


def test_observations_of_another_size_are_fitted():
    agent, planner, _ = scripted()
    large = np.kron(observe(10), np.ones((4, 4, 1), np.uint8))
    agent.act(large)
    assert planner.histories[0].states[0, 0].item() == pytest.approx(0.5, abs=2 / 255)


@pytest.mark.parametrize(
    "observation",
    [np.zeros((16, 16, 3), np.float32), np.zeros((3, 16, 16), np.uint8), np.zeros(4, np.uint8)],
)
def test_observations_that_are_no_image_are_refused(observation):
    agent, _, _ = scripted()
    with pytest.raises(ShapeError, match="observation must be h w 3"):
        agent.act(observation)


def test_agents_without_a_cost_or_a_horizon_are_refused():
    with pytest.raises(ConfigError, match="at least one cost"):
        Agent(PointModel(), CEM(2), costs=[])
    with pytest.raises(ConfigError, match="at least 1"):
        scripted(replan_every=0)
    with pytest.raises(ConfigError, match="for_episode"):
        Agent(PointModel(), CEM(2), costs=[GoalImage()])


def run_to_goal(planner, *, seed=3, guardrails=(), task="any"):
    policy = PlanningPolicy(
        PointModel(),
        planner,
        costs=[GoalImage()],
        guardrails=guardrails,
    )
    return run_episode(PointWorld(), policy, seed=seed, options={"task": task}, max_steps=40)


@pytest.mark.parametrize(
    "planner", [CEM(4, candidates=64, elites=8), Gradient(4)], ids=["cem", "gradient"]
)
def test_reaches_the_goal_in_about_the_fewest_steps(planner):
    for seed in range(3):
        record = run_to_goal(planner, seed=seed)
        start, goal = record.infos["position"][0], record.images["goal_image"][0, 0, :2] / 127.5 - 1
        fewest = np.abs(goal - start).max() / SPEED
        assert record.success and record.steps <= fewest + 4
        assert np.abs(record.actions).max() <= 1
        numbers = record.numbers
        assert numbers["decisions"] == -(-record.steps // 2)
        assert numbers["model_calls"] > numbers["decisions"] and numbers["unsafe"] == 0


@pytest.mark.parametrize(
    ("learned", "space"), [((2,), Box(-1, 1, (2,))), ((), Discrete(2)), ((1, 1), Discrete(2))]
)
def test_actions_of_another_kind_are_refused_though_as_many_numbers(learned, space):
    model = PointModel()
    policy = PlanningPolicy(model, CEM(2), costs=[GoalImage()])
    info, space = {"goal_image": np.zeros((16, 16, 3), np.uint8)}, ActionSpace.of(space)
    policy.reset(space, info, seed=0)  # a model that does not say
    model.action_choices = learned
    words = "choices among .* alternatives" if learned else "2 numbers"
    with pytest.raises(EnvError, match=f"takes .*the model has learned actions of {words}: plan"):
        policy.reset(space, info, seed=0)
    model.action_choices = space.choices
    policy.reset(space, info, seed=0)


def test_same_seed_same_episode():
    planner = CEM(4, candidates=64, elites=8)
    first, again = run_to_goal(planner), run_to_goal(planner)
    assert np.array_equal(first.actions, again.actions)
    assert not np.array_equal(first.actions[:4], run_to_goal(planner, seed=4).actions[:4])


def test_a_hazard_shown_by_examples_is_gone_around():
    generator = np.random.default_rng(0)
    places = generator.uniform(-1, 1, (2500, 2))
    pairs = np.stack([places, places + SPEED * generator.uniform(-1, 1, places.shape)], axis=1)
    inside = (np.linalg.norm(pairs, axis=-1) < PointWorld.radius).any(axis=1)
    clips = np.stack([[draw(p.clip(-1, 1)) for p in pair] for pair in pairs])
    keep_out = KeepOut.from_images(clips[inside], clips[~inside], buffer=2.0)
    planner = CEM(6, candidates=128, elites=12)
    guarded = run_to_goal(planner, guardrails=[keep_out], task="hazard")
    free = run_to_goal(planner, task="hazard")
    assert free.success and free.ever("hazard_contact")
    assert guarded.success and not guarded.ever("hazard_contact")


def test_agent_as_in_the_readme():
    agent = Agent(
        PointModel(),
        CEM(horizon=3, candidates=32, elites=4),
        costs=[GoalState.from_image(draw((0.5, 0.5)))],
        guardrails=[BOUNDS],
    )
    action = agent.act(draw((0.0, 0.0)))
    assert action.shape == (2,) and (action > 0.3).all()
    assert isinstance(agent.plan.candidates.cost, torch.Tensor)
