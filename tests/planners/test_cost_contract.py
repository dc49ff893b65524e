"""The contract of costs: one suite, run over each class that there is."""

import inspect

import pytest
import torch

from tests.planners.fakes import at
from worldmodel.planners import Landmarks, costs
from worldmodel.planners.costs.learned_reward import RewardHead
from worldmodel.planners.costs.read_out import Linear
from worldmodel.planners.costs.temporal_distance import StepsApart
from worldmodel.types import History

GOAL = torch.tensor([0.9, -0.4])
SIDE = torch.linspace(-1, 1, 9)
GRID = torch.cartesian_prod(SIDE, SIDE)  # states that were recorded


def landmarks():
    """A grid, along whose rows and columns the data moved."""
    rows = torch.arange(81).reshape(9, 9)
    edges = [(rows[:, :-1], rows[:, 1:]), (rows[:-1], rows[1:])]
    joined = torch.cat([torch.stack([a.flatten(), b.flatten()]) for a, b in edges], dim=1)
    return Landmarks(4 * torch.eye(2), 4 * GRID, joined, torch.ones(joined.shape[1]), GRID)


class Doubtful:
    """Knows the less, the farther from the origin and the larger the action."""

    def disagreement(self, states, actions):
        return states.square().sum(-1) + actions.square().sum(-1)


def head():
    rewards = torch.linspace(-1, 1, 81)
    return RewardHead(GRID, GRID.flip(1), rewards, seed=0).requires_grad_(False).eval()


def steps_apart():
    return StepsApart(GRID, seed=0).requires_grad_(False).eval()


# Every cost stands here once, with two dimensions of states and of actions.
COSTS = {
    "ActionEffort": costs.ActionEffort,
    "Disagreement": lambda weight=1.0: costs.Disagreement(weight).bind(Doubtful()),
    "ExpectedReward": lambda weight=1.0: costs.ExpectedReward(head(), weight=weight),
    "GoalState": lambda weight=1.0: costs.GoalState(GOAL, weight=weight),
    "LandmarkDistance": lambda weight=1.0: costs.LandmarkDistance(landmarks(), GOAL, weight=weight),
    "ReadOut": lambda weight=1.0: costs.ReadOut(
        Linear(2 * torch.eye(2), torch.ones(2), torch.zeros(2), torch.ones(2)), GOAL, weight=weight
    ),
    "Subgoals": lambda weight=1.0: costs.Subgoals(landmarks(), GOAL, weight=weight),
    "TemporalDistance": lambda weight=1.0: costs.TemporalDistance(
        steps_apart(), GOAL, weight=weight
    ),
}

every_cost = pytest.mark.parametrize("make", COSTS.values(), ids=COSTS)
START = (-0.7, 0.6)


def plans(k=6, t=4, seed=0):
    """States and actions (k t 2 each)."""
    generator = torch.Generator().manual_seed(seed)
    return (0.8 * torch.randn(2, k, t, 2, generator=generator)).unbind(0)


def test_every_cost_is_here():
    found = {name for name in costs.__all__ if _is_cost(getattr(costs, name))}
    assert found == set(COSTS)


def _is_cost(part):
    return issubclass(part, costs.Cost) and not inspect.isabstract(part)


@every_cost
def test_one_number_for_each_candidate_that_is_its_own(make):
    cost, (states, actions) = make().after(at(*START)), plans()
    found = cost(states, actions)
    assert found.shape == (6,) and found.isfinite().all() and len(found.unique()) == 6
    alone = [cost(states[i : i + 1], actions[i : i + 1]) for i in range(6)]
    torch.testing.assert_close(found, torch.cat(alone))


@every_cost
def test_plans_of_every_length_have_a_cost(make):
    cost = make().after(at(*START))
    for length in (1, 2, 9):
        found = cost(*plans(t=length))
        assert found.shape == (6,) and found.isfinite().all()


@every_cost
def test_downhill_costs_less_for_each_candidate(make):
    cost = make().after(at(*START))
    both = [x.clone().requires_grad_() for x in plans()]
    found = cost(*both)
    slopes = torch.autograd.grad(found.sum(), both, allow_unused=True)
    assert any(slope is not None for slope in slopes)
    slopes = [torch.zeros_like(x) if g is None else g for x, g in zip(both, slopes, strict=True)]
    steep = sum(slope.square().sum(dim=(1, 2)) for slope in slopes)
    assert steep.isfinite().all() and (steep > 0).all()
    length = 1e-3 / steep.sqrt()[:, None, None]
    with torch.no_grad():
        lower = cost(*(x - length * g for x, g in zip(both, slopes, strict=True)))
    # By as much as the slope says.
    torch.testing.assert_close(found - lower, 1e-3 * steep.sqrt(), rtol=0.05, atol=2e-6)


@every_cost
def test_twice_the_weight_is_twice_the_cost(make):
    once, twice = (make(weight=w).after(at(*START))(*plans()) for w in (1.0, 2.0))
    torch.testing.assert_close(twice, 2 * once)


@every_cost
def test_a_decision_changes_no_other(make):
    """What is asked of a cost for one history says nothing to what is asked for another."""
    cost, candidates = make(), plans()
    first = cost.after(at(*START))
    before = first(*candidates)
    cost.after(at(0.9, 0.9))(*candidates)
    assert type(first) is type(cost)
    assert torch.equal(first(*candidates), before)
    again = cost.after(History(torch.tensor([[0.3, 0.3], START]), torch.zeros(1, 2)))
    assert torch.equal(again(*candidates), before)  # plans begin at the last state
