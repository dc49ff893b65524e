"""Planners of actions that are choices, held against paths and bandits."""

import pytest
import torch

from tests.planners.fakes import (
    CHOOSERS,
    Maze,
    at,
    point,
    run,
)
from worldmodel.errors import ConfigError
from worldmodel.planners import (
    ActionEffort,
    Cost,
    Gradient,
)
from worldmodel.planners.beam import BeamSearch
from worldmodel.planners.guardrails import Choices
from worldmodel.types import History


class Walked(Cost):
    """Steps that are left of the shortest path from each place, over the gap where it is needed."""

    def __call__(self, states, actions):
        goal, gap = torch.tensor([2.0, 0.0]), torch.tensor([1.0, 2.0])
        through = (states - gap).abs().sum(-1) + (gap - goal).abs().sum()
        left = torch.where(states[..., 0] < 1, through, (states - goal).abs().sum(-1))
        return left.sum(dim=1)


every_chooser = pytest.mark.parametrize("make", CHOOSERS.values(), ids=CHOOSERS)


@every_chooser
@pytest.mark.parametrize("block", [1, 2])
def test_of_choices_the_shortest_path_is_found(make, block):
    history = History(torch.zeros(1, 2), torch.zeros(0, 5 * block))
    plan = run(make(6 // block), Maze(), history, costs=[Walked()], guardrails=[Choices([5])])
    # Two up, two to the right, two down, and nothing is shorter.
    assert plan.states[-1].tolist() == [2.0, 0.0]
    again = run(
        make(6 // block), Maze(), history, costs=[Walked()], guardrails=[Choices([5])], seed=3,
        warm_start=plan.actions,
    )  # fmt: skip
    assert again.cost <= plan.cost


@every_chooser
def test_of_arms_of_a_bandit_the_best_is_pulled(make):
    class Arms:
        def rollout(self, history, actions):
            return actions @ torch.tensor([[0.1], [0.7], [0.3], [0.9], [0.2]])

    class Little(Cost):
        def __call__(self, states, actions):
            return -states.sum(dim=(1, 2))

    history = History(torch.zeros(1, 1), torch.zeros(0, 5))
    plan = run(make(3), Arms(), history, costs=[Little()], guardrails=[Choices([5])])
    assert plan.actions.argmax(-1).tolist() == [3, 3, 3]


def test_slopes_of_choices_are_refused():
    history = History(torch.zeros(1, 2), torch.zeros(0, 5))
    with pytest.raises(ConfigError, match="choices among alternatives have none"):
        run(Gradient(3), Maze(), history, costs=[Walked()], guardrails=[Choices([5])])


@pytest.mark.parametrize("name", ["categorical", "beam"])
def test_planners_of_choices_say_where_there_are_none(name):
    with pytest.raises(ConfigError, match="actions are numbers; take planner="):
        run(CHOOSERS[name](3), point(), at(0.0, 0.0), costs=[ActionEffort()])


def test_a_beam_over_too_many_alternatives_is_refused():
    history = History(torch.zeros(1, 2), torch.zeros(0, 50))
    with pytest.raises(ConfigError, match="alternatives, BeamSearch tries at most"):
        run(BeamSearch(2), Maze(), history, costs=[Walked()], guardrails=[Choices([5])])
