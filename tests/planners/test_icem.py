"""What iCEM hands on from one decision to the next."""

import statistics

import pytest
import torch

from tests.planners.fakes import PointModel, at, draw, linear_quadratic, point, run
from worldmodel.planners import CEM, ActionBounds, ActionEffort, Agent, Cost, GoalState
from worldmodel.planners.icem import ICEM
from worldmodel.planners.refined import Refined
from worldmodel.types import History


def planned(planner, *, warm_start=None):
    model, history, costs, _, _ = linear_quadratic()
    return run(planner, model, history, costs=costs, warm_start=warm_start)


def test_the_elites_are_the_best_of_the_last_iteration():
    plan = planned(ICEM(4, iterations=3, elites=10, kept=0.5))
    assert plan.elites.shape == (5, 8, 2)
    best = plan.candidates.actions[plan.candidates.rank()[:5]]
    assert torch.equal(plan.elites[:, :4], best)


@pytest.mark.parametrize("done", [1, 3, 4])
def test_what_was_done_is_cut_off_and_as_much_is_drawn_behind(done):
    plan = planned(ICEM(4, elites=10, kept=0.5))
    first, *others = plan.handed_on(done)
    assert torch.equal(first, plan.warm_start(done))
    assert torch.equal(torch.stack(others)[:, : 4 - done], plan.elites[:, done:4])
    behind = torch.stack(others)[:, 4 - done :]
    assert behind.shape == (5, done, 2) and behind.std(dim=0).min() > 0.05


def test_blocks_behind_are_drawn_as_the_first_candidates_are():
    bounds = [ActionBounds([100.0, -3.0], [300.0, 1.0])]
    planner = ICEM(6, candidates=4000, iterations=1, elites=3000, init_std=0.5, kept=1.0)
    costs = [ActionEffort()]
    plan, again, other = (
        run(planner, point(), at(0.0, 0.0), costs=costs, guardrails=bounds, seed=seed)
        for seed in (0, 0, 1)
    )
    behind = plan.elites[:, 6:]
    torch.testing.assert_close(behind.mean(dim=(0, 1)), torch.tensor([200.0, -1.0]), rtol=0.05,
                               atol=0.05)  # fmt: skip
    torch.testing.assert_close(behind.std(dim=(0, 1)), torch.tensor([50.0, 1.0]), rtol=0.05, atol=0)
    assert torch.equal(plan.elites, again.elites)
    assert not torch.equal(plan.elites[:, 6:], other.elites[:, 6:])


def test_without_a_share_to_keep_nothing_but_the_rest_of_the_plan_is_handed_on():
    for planner in (ICEM(4, kept=0), CEM(4)):
        plan = planned(planner)
        assert plan.elites is None and torch.equal(plan.handed_on(), plan.warm_start())


def second_decisions(costs, model, history, after, planner):
    """With the elites and without, of twenty seeds: the cost of the first iteration's best."""
    found = {"with": [], "without": []}
    for seed in range(20):
        plan = run(planner, model, history, costs=costs[0], seed=seed)
        for name, start in (("with", plan.handed_on()), ("without", plan.warm_start())):
            begun = History(plan.states[:1], plan.actions[:0])
            again = run(after, model, begun, costs=costs[1], seed=seed + 100, warm_start=start)
            found[name].append(again.trace[0])
    return found["with"], found["without"]


def test_kept_elites_make_the_next_decision_better():
    model, history, costs, _, _ = linear_quadratic()
    once = ICEM(4, candidates=24, iterations=1, elites=8, kept=0.5)
    planner = ICEM(4, candidates=64, iterations=4, elites=16, kept=0.5)
    kept, alone = second_decisions((costs, costs), model, history, once, planner)
    assert all(a <= b for a, b in zip(kept, alone, strict=True))
    assert statistics.fmean(kept) < 0.95 * statistics.fmean(alone)


class NearestOf(Cost):
    """How far a plan ends from the nearest of some places, each with what it costs by itself."""

    def __init__(self, **places):
        self.places = places

    def __call__(self, states, actions):
        far = [(states[:, -1, 0] - x).square() + more for x, more in self.places.values()]
        return torch.stack(far).amin(dim=0)


def test_a_way_that_was_second_is_remembered_when_the_first_is_closed():
    """The rest of the plan leads to where nothing is any more; one of the elites goes elsewhere."""
    costs = [NearestOf(left=(-1.5, 0.02), right=(1.5, 0.0))], [NearestOf(left=(-1.5, 0.02))]
    planner = ICEM(6, candidates=64, iterations=1, elites=24, kept=1.0, init_std=0.6)
    once = ICEM(6, candidates=5, iterations=1, elites=4)
    kept, alone = second_decisions(costs, point(), at(0.0, 0.0), once, planner)
    assert all(a <= b for a, b in zip(kept, alone, strict=True))
    assert statistics.median(kept) < 0.5 * statistics.median(alone)


class Recorded(ICEM):
    def plan(self, problem, *, generator, warm_start=None):
        self.given.append(warm_start)
        self.made.append(super().plan(problem, generator=generator, warm_start=warm_start))
        return self.made[-1]


@pytest.mark.parametrize("every", [1, 2])
def test_an_agent_hands_on_what_it_has_not_done(every):
    planner = Recorded(3, candidates=12, iterations=2, elites=4, kept=0.5)
    planner.given, planner.made = [], []
    agent = Agent(PointModel(), planner, costs=[GoalState(torch.zeros(4))], replan_every=every)
    for step in range(4 * every + 1):
        agent.act(draw((0.5 - step / 20, 0.2)))
    assert planner.given[0] is None and len(planner.given) == 3
    for given, plan in zip(planner.given[1:], planner.made, strict=False):
        assert given.shape == (1 + 2, 3, 4) and torch.equal(given, plan.handed_on(every))
    agent.reset()
    agent.act(draw((0.5, 0.2)))
    assert planner.given[-1] is None
    assert torch.equal(planner.made[-1].actions, planner.made[0].actions)


def test_refined_hands_on_what_its_first_planner_keeps():
    planner = Refined(ICEM(4, elites=10, kept=0.5), CEM(4))
    plan = planned(planner)
    assert torch.equal(plan.elites, planned(planner.first).elites)
    again, alone = (planned(each, warm_start=plan.handed_on()) for each in (planner, planner.first))
    assert torch.equal(again.elites, alone.elites)
    assert again.cost <= alone.cost
