"""The scoring that all planners share."""

import itertools

import pytest
import torch

from tests.planners.fakes import Disc, Linear, at, point
from worldmodel.errors import ShapeError
from worldmodel.planners import ActionEffort, GoalState, Guardrail, Problem
from worldmodel.planners.candidates import Candidates, score
from worldmodel.planners.planner import Search


def candidates(cost, margin):
    k = len(cost)
    empty = torch.zeros(k, 1, 1)
    return Candidates(empty, empty, {}, torch.tensor(cost), {}, torch.tensor(margin))


def test_rank_is_safe_by_cost_then_least_bad():
    inf = float("inf")
    c = candidates([1.0, -9.0, 0.5, 2.0, -99.0, inf], [0.0, -0.1, inf, 3.0, -0.5, 1.0])
    assert c.rank().tolist() == [2, 0, 3, 5, 1, 4]
    assert c.best().cost.item() == 0.5


@pytest.mark.parametrize("seed", range(5))
def test_rank_agrees_with_pairwise_comparison(seed):
    generator = torch.Generator().manual_seed(seed)
    cost, margin = torch.randn(2, 12, generator=generator)
    ranked = candidates(cost.tolist(), margin.tolist())
    order = ranked.rank()
    for better, worse in itertools.pairwise(order):
        assert ranked.take(better[None]).beats(ranked.take(worse[None]))
        assert not ranked.take(worse[None]).beats(ranked.take(better[None]))


def test_scores_sum_costs_and_take_the_worst_margin():
    guardrails = [Disc([0.0, 0.0], 0.5), Disc([2.0, 0.0], 0.5)]
    costs = [GoalState(torch.zeros(2)), ActionEffort(), ActionEffort(2.0)]
    problem = Problem(point(), at(-1.0, 0.0), costs=costs, guardrails=guardrails)
    actions = torch.tensor([[[1.0, 0.0], [1.0, 0.0]], [[0.0, 1.0], [0.0, 1.0]]])
    scored = score(problem, actions)
    assert list(scored.costs) == ["GoalState", "ActionEffort", "ActionEffort_2"]
    assert scored.cost.tolist() == pytest.approx([0.75 + 1.5, (1.0 + 2.5) / 2 + 2.5 + 1.5])
    # First: states (0, 0) inside the first disc, (1, 0) 0.5 from both edges.
    assert scored.margins["Disc"][0].tolist() == pytest.approx([-0.5, 0.5], abs=1e-5)
    assert scored.margins["Disc_2"][0].tolist() == pytest.approx([1.5, 0.5])
    assert scored.margin.tolist() == pytest.approx([-0.5, 2**0.5 - 0.5], abs=1e-5)
    assert scored.safe.tolist() == [False, True]
    search = Search(problem)
    search.score(actions)
    assert torch.equal(search.best.actions[0], actions[1])


def test_without_guardrails_everything_is_safe():
    scored = score(Problem(point(), at(0.0, 0.0), costs=[ActionEffort()]), torch.randn(3, 2, 2))
    assert scored.safe.all() and scored.margins == {} and len(scored) == 3


def test_margins_and_rollouts_of_wrong_shape_are_named():
    class Scalar(Guardrail):
        def margin(self, states, actions):
            return states.sum()

    class Flat(Linear):
        def rollout(self, history, actions):
            return super().rollout(history, actions)[:, -1]

    history, actions = at(0.0, 0.0), torch.zeros(3, 4, 2)
    with pytest.raises(ShapeError, match="margin of 'Scalar' must be k t"):
        score(Problem(point(), history, costs=[], guardrails=[Scalar()]), actions)
    with pytest.raises(ShapeError, match="rollout must return k t d"):
        score(Problem(Flat(torch.eye(2), torch.eye(2)), history, costs=[]), actions)


def test_a_margin_that_is_not_a_number_is_not_safe():
    class Broken(Guardrail):
        def margin(self, states, actions):
            return states[..., 0] * float("nan")

    problem = Problem(point(), at(0.0, 0.0), costs=[], guardrails=[Broken()])
    scored = score(problem, torch.zeros(2, 2, 2))
    assert not scored.safe.any()
