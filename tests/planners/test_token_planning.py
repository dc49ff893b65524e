"""Agents plan with models whose states are all tokens of a frame."""

import gymnasium
import numpy as np
import pytest
import torch

from tests.worldmodel.interop import makers
from worldmodel.errors import EnvError, ShapeError
from worldmodel.interop.load import load
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.planners import CEM, Agent, GoalState, Gradient
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.agent import AgentSettings, PlanningPolicy
from worldmodel.planners.plan_verb import say_what_is_untold
from worldmodel.runs.run import Run


@pytest.fixture
def published(tmp_path):
    """V-JEPA 2-AC, small and random, from a file as it is published."""
    torch.save(makers.checkpoint_ac(), tmp_path / "ac.pt")
    heads = {"heads": makers.HEADS, "predictor_heads": makers.HEADS}
    return load(tmp_path / "ac.pt", **heads, size=16)


def image(seed):
    return np.random.default_rng(seed).integers(0, 256, (16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("planner", [CEM(2, iterations=3, candidates=16, elites=4), Gradient(2)])
def test_v_jepa_2_ac_plans(published, planner):
    cost = GoalState.from_image(image(9), distance="l1", running=0)
    agent = Agent(published, planner, costs=[cost])
    actions = [agent.act(image(seed), np.full(7, 0.1)) for seed in range(3)]
    assert all(action.shape == (7,) and np.isfinite(action).all() for action in actions)
    assert agent.plans == 3  # an action leads from one frame to the next
    assert agent.plan.trace[-1] < agent.plan.candidates.cost.max()
    assert agent.plan.states.shape == (2, published.state_dim)


def test_the_goal_s_cost_is_the_distance_of_tokens_whatever_the_pose(published):
    cost = GoalState.from_image(image(1), distance="l1", running=0).bind(published)
    assert cost.state.shape == (published.image_dim,) == (published.state_dim - 7,)
    shown = torch.rand(3, 2, published.state_dim)
    expected = (shown[:, -1, :-7] - cost.state).abs().mean(dim=1)
    assert torch.allclose(cost(shown, torch.zeros(3, 2, 7)), expected)
    with pytest.raises(ShapeError, match="a goal of"):
        cost(shown[..., :-8], torch.zeros(3, 2, 7))


def test_what_the_body_knows_goes_into_the_state(published):
    agent = Agent(published, CEM(1, iterations=1), costs=[GoalState.from_image(image(1))])
    poses = [np.full(7, 0.1), np.full(7, 0.5)]
    plans = []
    for pose in poses:
        agent.reset()
        agent.act(image(0), pose)
        plans.append(agent.plan.cost)
    assert plans[0] != plans[1]


def test_an_environment_that_does_not_tell_what_a_model_learned_with_is_refused(published):
    head = published.head
    published.head = FrameTokens(
        head.grid, head.token_width, proprioception=7, told="joints", still=True
    )
    policy = PlanningPolicy(published, CEM(1, iterations=1), costs=[GoalState.from_image(image(1))])
    policy.reset(ActionSpace.of(gymnasium.spaces.Box(-1, 1, (7,))), {}, seed=0)
    with pytest.raises(EnvError, match="to be told the info joints, which this environment"):
        policy(image(0), {"position": 1})
    assert policy(image(0), {"joints": np.zeros(7)}).shape == (7,)


def test_an_info_can_be_named_for_a_model_that_names_none(published):
    costs = [GoalState.from_image(image(1))]
    policy = PlanningPolicy(published, CEM(1, iterations=1), costs=costs, proprioception="pose")
    policy.reset(ActionSpace.of(gymnasium.spaces.Box(-1, 1, (7,))), {}, seed=0)
    policy(image(0), {"pose": np.full(7, 0.25)})
    assert policy.agent.problem.history.states[-1, -7:].tolist() == [0.25] * 7


def test_a_model_that_is_told_nothing_of_its_body_is_said_to_be(published, tmp_path, capsys):
    run = Run.open(tmp_path / "run", verb="plan", config={}, seed=0)
    say_what_is_untold(run, published, AgentSettings())
    assert (
        "takes 7 numbers of what a body knows of itself, and is told none"
        in capsys.readouterr().err
    )
    say_what_is_untold(run, published, AgentSettings(proprioception="pose"))
    run.close()
    assert "numbers of what a body" not in capsys.readouterr().err
