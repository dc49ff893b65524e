"""What is particular to each planner; what they share is in `test_planners.py`."""

import pytest
import torch

from tests.planners.fakes import Disc, Linear, Tempting, at, linear_quadratic, point, run
from worldmodel.errors import ConfigError
from worldmodel.planners import CEM, ActionBounds, GoalState, Gradient


@pytest.mark.parametrize(
    "settings",
    [
        {"horizon": 0},
        {"iterations": 0},
        {"elites": 1},
        {"elites": 128},
        {"init_std": 0.0},
        {"momentum": 1.0},
        {"correlation": -0.1},
    ],
)
def test_cem_refuses_settings_that_cannot_work(settings):
    with pytest.raises(ConfigError, match="CEM needs"):
        CEM(**settings)


@pytest.mark.parametrize(
    "settings",
    [{"starts": 1}, {"learning_rate": 0.0}, {"init_std": -1.0}],
)
def test_gradient_refuses_settings_that_cannot_work(settings):
    with pytest.raises(ConfigError, match="Gradient needs"):
        Gradient(**settings)


def test_noise_of_cem_has_the_correlation_it_names():
    draws = CEM(6, candidates=4000, elites=10, correlation=0.6)._noise(
        2, torch.Generator().manual_seed(0), torch.device("cpu")
    )
    assert draws.std(dim=0).sub(1).abs().max() < 0.05
    neighbours = (draws[:, 1:] * draws[:, :-1]).mean(dim=(0, 2))
    assert (neighbours - 0.6).abs().max() < 0.05


def test_gradient_starts_do_not_influence_each_other():
    # The warm start descends alone or among others alike.
    model, history, costs, _, _ = linear_quadratic()
    few, many = (
        run(Gradient(4, starts=s, iterations=7), model, history, costs=costs) for s in (2, 30)
    )
    torch.testing.assert_close(few.candidates.actions[:2], many.candidates.actions[:2])


@pytest.mark.parametrize("start", [(-0.55, 0.1), (0.3, 0.75)])
@pytest.mark.parametrize("seed", range(12))
def test_beside_a_guardrail_gradient_pursues_a_huge_reward_up_to_the_edge(seed, start):
    """Were violation and cost weighed against each other, it would stand still."""
    disc = Disc([0.0, 0.0], 0.5)
    settings = {
        "costs": [Tempting(disc, 1e6), GoalState(torch.zeros(2), weight=1e6)],
        "guardrails": [ActionBounds(-0.3, 0.3), disc],
    }
    places = [torch.tensor(start)]
    for _ in range(3):
        plan = run(Gradient(4), point(), at(*places[-1].tolist()), seed=seed, **settings)
        assert plan.safe
        places.append(places[-1] + plan.actions[0])
    before, *margins = disc.margin(torch.stack(places)[None], None)[0].tolist()
    assert min(margins) >= 0
    assert margins[0] < before / 2  # the first step already leads there


def test_gradient_leaves_the_model_without_gradients():
    model = Linear(torch.eye(2).requires_grad_(), torch.eye(2))
    with torch.no_grad():  # also where the caller has switched gradients off
        run(Gradient(3), model, at(0.0, 0.0), costs=[GoalState(torch.ones(2))])
    assert model.a.grad is None


def test_gradient_takes_the_steps_of_torch_adam():
    model, history, costs, _, _ = linear_quadratic()
    plan = run(Gradient(4, starts=2, iterations=12), model, history, costs=costs)
    actions = torch.zeros(1, 4, 2, requires_grad=True)
    adam = torch.optim.Adam([actions], lr=0.15)
    for _ in range(12):
        adam.zero_grad()
        sum(cost(model.rollout(history, actions), actions).sum() for cost in costs).backward()
        adam.step()
    torch.testing.assert_close(plan.candidates.actions[1:], actions.detach())
