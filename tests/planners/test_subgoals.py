"""Sub-goals on ways that are known: round a hairpin, through a maze, out of a cup."""

import numpy as np
import pytest
import torch

from tests.planners.fakes import (
    CHOOSERS,
    PLANNERS,
    Maze,
    PointModel,
    at,
    draw,
    point,
    recorded,
    run,
)
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.planners import CEM, ActionBounds, GoalState, Gradient, Landmarks, Problem
from worldmodel.planners.candidates import score
from worldmodel.planners.costs import GoalBySubgoals, Subgoals
from worldmodel.planners.guardrails import Choices
from worldmodel.types import History


def along(*places):
    """Landmarks (n 2) at these places, each a step from the next and joined to it alone."""
    points = torch.tensor(places, dtype=torch.float32)
    edges = torch.stack([torch.arange(len(points) - 1), torch.arange(1, len(points))])
    return Landmarks(torch.eye(2), points, edges, torch.ones(len(points) - 1), points)


# Out along y = 0, up, and back along y = 1: its ends are one apart, and eleven steps.
HAIRPIN = along(*[(x, 0) for x in range(6)], *[(x, 1) for x in range(5, -1, -1)])
END = torch.tensor([-0.25, 1.0])


def subgoal(place, *, ahead, goal=END, landmarks=HAIRPIN):
    """The sub-goal at a place."""
    cost = Subgoals(landmarks, torch.as_tensor(goal)).after(at(*place))
    return cost.subgoal(ahead).tolist()


@pytest.mark.parametrize(
    ("place", "ahead", "expected"),
    [
        ((0.0, 0.0), 3, [3, 0]),
        ((0.0, 0.0), 2.5, [3, 0]),  # the first that is not nearer
        ((0.3, -0.2), 3, [3, 0]),  # the way begins at the nearest
        ((0.0, 0.4), 1, [1, 0]),  # and does not cross over to the end, which is nearer
        ((4.0, 0.0), 3, [4, 1]),  # round the bend
        ((3.0, 1.0), 2, [1, 1]),
        ((3.0, 1.0), 3, [0, 1]),
    ],
)
def test_the_subgoal_is_the_landmark_so_many_steps_on(place, ahead, expected):
    assert subgoal(place, ahead=ahead) == expected


@pytest.mark.parametrize(
    ("place", "ahead"), [((3.0, 1.0), 4), ((0.0, 1.0), 1), ((-0.25, 1.0), 0.1), ((0, 0), 20)]
)
def test_where_the_goal_comes_sooner_it_is_the_goal(place, ahead):
    assert subgoal(place, ahead=ahead) == END.tolist()


def test_without_a_setting_it_is_as_far_as_a_plan_is_long():
    states = torch.rand(5, 4, 2, generator=torch.Generator().manual_seed(0))
    cost = Subgoals(HAIRPIN, END, running=0.3, terminal=2.0, weight=1.5, distance="l1")
    here = cost.after(at(0.0, 0.0))
    for length, place in ((2, [2.0, 0.0]), (4, [4.0, 0.0])):
        plans = states[:, :length]
        expected = GoalState(
            torch.tensor(place), running=0.3, terminal=2.0, weight=1.5, distance="l1"
        )
        assert torch.equal(here(plans, plans), expected(plans, plans))
    fixed = Subgoals(HAIRPIN, END, ahead=1).after(at(0.0, 0.0))
    assert torch.equal(fixed(states, states), GoalState(torch.tensor([1.0, 0.0]))(states, states))


def test_of_several_goals_the_one_with_the_shorter_way_counts():
    goals = torch.tensor([[0.0, 1.0], [5.0, 0.0]])  # one apart, and eleven steps; five apart
    assert subgoal((0, 0), ahead=20, goal=goals) == [5, 0]
    assert subgoal((2, 1), ahead=20, goal=goals) == [0, 1]


def test_where_no_way_leads_what_is_left_is_the_goal():
    left, right = ([(x + gap, 0) for x in range(4)] for gap in (0, 10))
    parts = along(*left, *right)
    edges = parts.edges[:, parts.lengths.cumsum(0) != 4]  # the one between the parts
    apart = Landmarks(parts.metric, parts.points, edges, torch.ones(6), parts.states)
    goals = torch.tensor([[12.0, 0.0], [13.0, 0.5]])
    assert subgoal((0, 0), ahead=1, goal=goals[0], landmarks=parts) == [1, 0]
    assert subgoal((0, 0), ahead=1, goal=goals[0], landmarks=apart) == [12, 0]
    assert subgoal((0, 0), ahead=1, goal=goals, landmarks=apart) == goals.tolist()
    assert apart.report() == {"landmarks": 8.0, "landmarks_joined": 0.5}
    # A goal whose nearest landmark is joined to none is reached by the next ones.
    edges = parts.edges[:, :-1]
    lonely = Landmarks(parts.metric, parts.points, edges, torch.ones(6), parts.states)
    assert subgoal((0, 0), ahead=5, goal=(13.0, 0.0), landmarks=lonely) == [11, 0]
    # A place whose nearest landmark is joined to none begins at the next one.
    assert subgoal((13.0, 0.0), ahead=1, goal=(0.0, 0.0), landmarks=lonely) == [11, 0]


def test_a_subgoal_is_a_state_that_was_recorded():
    generator = torch.Generator().manual_seed(0)
    walk = torch.randn(400, 2, generator=generator).cumsum(0)
    noise = torch.randn(400, 1, generator=generator)
    states = torch.cat([walk, noise], dim=1)
    landmarks = Landmarks.from_states([states], num_landmarks=20)
    far = torch.cdist(landmarks.points, landmarks.embed(states))
    assert torch.equal(landmarks.states, states[far.argmin(dim=1)])
    goal, begun = states[-1], states[:1]
    cost = Subgoals(landmarks, goal, ahead=3).after(History(begun, torch.zeros(0, 2)))
    assert cost.subgoal(3).tolist() in states.tolist()


@pytest.mark.parametrize("make", PLANNERS.values(), ids=PLANNERS)
def test_every_planner_goes_for_the_subgoal_and_the_plan_says_what_it_cost(make):
    costs = [Subgoals(HAIRPIN, END, running=0.0)]
    plan = run(make(3), point(), at(0.0, 0.0), costs=costs, guardrails=[ActionBounds(-2.0, 2.0)])
    torch.testing.assert_close(plan.states[-1], torch.tensor([3.0, 0.0]), atol=0.03, rtol=0)
    assert list(plan.costs) == ["Subgoals"]


@pytest.mark.parametrize("make", CHOOSERS.values(), ids=CHOOSERS)
@pytest.mark.parametrize("kind", [GoalState, Subgoals])
def test_choices_lead_through_the_gap_by_subgoals_alone(make, kind):
    way = along((0, 0), (0, 1), (0, 2), (1, 2), (2, 2), (2, 1), (2, 0))
    goal, place = torch.tensor([2.0, 0.0]), torch.zeros(1, 2)
    cost = GoalState(goal) if kind is GoalState else Subgoals(way, goal)
    for _ in range(6):
        history = History(place, torch.zeros(0, 5))
        place = run(make(2), Maze(), history, costs=[cost], guardrails=[Choices([5])]).states[:1]
    assert place.tolist() == ([[0.0, 0.0]] if kind is GoalState else [[2.0, 0.0]])


# A cup that is open to the left


class Cup:
    """The point, which stays where it is instead of going into a wall: the cup's three sides."""

    low = torch.tensor([[0.5, -0.7], [-0.5, 0.5], [-0.5, -0.7]])
    high = torch.tensor([[0.7, 0.7], [0.7, 0.7], [0.7, -0.5]])

    def rollout(self, history, actions):
        return self.imagine(history.states[-1:].expand(len(actions), 1, -1), None, actions)

    def imagine(self, states, past, actions):
        place, places = states[:, -1], []
        for action in actions.unbind(1):
            there = place + action
            inside = ((there[:, None] > self.low) & (there[:, None] < self.high)).all(dim=2)
            place = torch.where(inside.any(dim=1, keepdim=True), place, there)
            places.append(place)
        return torch.stack(places, dim=1)


INSIDE, BEHIND = (0.2, 0.0), torch.tensor([1.1, 0.0])


def walks_out_of_the_cup():
    """Episodes out of the cup, over its top and down behind it, and back: in five lanes."""
    corners = np.array([[0.2, 0.0], [-0.8, 0.0], [-0.8, 1.0], [1.1, 1.0], [1.1, 0.0]])
    legs = [
        a + np.linspace(0, 1, round(np.abs(b - a).sum() / 0.1), endpoint=False)[:, None] * (b - a)
        for a, b in zip(corners[:-1], corners[1:], strict=True)
    ]
    way = torch.from_numpy(np.concatenate([*legs, corners[-1:]])).float()
    lanes = [way + offset for offset in (-0.06, -0.03, 0.0, 0.03, 0.06)]
    return [*lanes, *(lane.flip(0) for lane in lanes)]


SMALL = {
    "cem": CEM(5, candidates=96, iterations=4, elites=12),
    "gradient": Gradient(5, starts=3, iterations=8),
}


@pytest.mark.parametrize("planner", SMALL.values(), ids=SMALL)
def test_out_of_a_cup_by_subgoals_and_not_by_the_straight_distance(planner):
    landmarks = Landmarks.from_states(walks_out_of_the_cup(), num_landmarks=50)
    settings = {"guardrails": [ActionBounds(-0.12, 0.12)]}

    def ends(cost, *, steps):
        place = torch.tensor(INSIDE)
        for _ in range(steps):
            place = run(planner, Cup(), at(*place.tolist()), costs=[cost], **settings).states[0]
        return place

    stuck = ends(GoalState(BEHIND), steps=20)
    assert 0.4 < stuck[0] <= 0.5 and stuck[1].abs() < 0.5  # against the bottom
    torch.testing.assert_close(
        ends(Subgoals(landmarks, BEHIND), steps=60), BEHIND, atol=0.05, rtol=0
    )


# As a factory, and what is refused


class Positions(PointModel):
    """Sees the position alone in an image."""

    def states(self, clip, proprioception=None):
        return super().states(clip)[..., :2]


def test_the_goal_of_an_episode_is_what_its_image_shows():
    made = GoalBySubgoals(num_landmarks=50, ahead=3.0).prepare(
        recorded(walks_out_of_the_cup()), seed=0
    )
    assert made.report() == {"landmarks": 50.0, "landmarks_joined": 1.0}
    cost = made.for_episode({"goal_image": draw((-0.8, 0.9))}).bind(Positions())
    assert isinstance(cost, Subgoals) and cost.ahead == 3.0
    history = at(*INSIDE)
    actions = torch.zeros(2, 1, 2)
    actions[0, 0, 0], actions[1, 0, 1] = -0.1, 0.1  # out of the cup, or towards the goal straight
    scored = score(Problem(point(), history, costs=[cost]), actions)
    assert scored.cost[0] < scored.cost[1]


def test_what_has_no_subgoal_is_refused():
    states = torch.zeros(1, 2, 2)
    with pytest.raises(ConfigError, match="told where plans begin"):
        Subgoals(HAIRPIN, END)(states, states)
    for make in (lambda **words: Subgoals(HAIRPIN, END, **words), GoalBySubgoals):
        with pytest.raises(ConfigError, match="ahead of Subgoals must be above 0 steps.*got 0"):
            make(ahead=0)
        with pytest.raises(ConfigError, match="at least 0"):
            make(running=-1.0)
        with pytest.raises(ConfigError, match="no distance 'l3'"):
            make(distance="l3")
    with pytest.raises(ShapeError, match="must be d = 2"):
        Subgoals(HAIRPIN, torch.zeros(3))
    with pytest.raises(ConfigError, match=r"call prepare\(\) first"):
        GoalBySubgoals().for_episode({"goal_image": draw((0.0, 0.0))})
