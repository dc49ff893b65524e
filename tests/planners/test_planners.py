"""The contract of a planner, held against every one."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from torch import Tensor

from tests.planners.fakes import (
    PLANNERS,
    Disc,
    Tempting,
    at,
    linear_quadratic,
    point,
    run,
)
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.planners import (
    CEM,
    ActionBounds,
    ActionEffort,
    Cost,
    GoalState,
    Gradient,
    Guardrail,
    Problem,
)
from worldmodel.planners.action_units import ActionUnits
from worldmodel.planners.collocation import Collocation, one_step
from worldmodel.planners.planner import Search
from worldmodel.planners.refined import Refined
from worldmodel.types import History

every_planner = pytest.mark.parametrize("make", PLANNERS.values(), ids=PLANNERS)


@every_planner
def test_reaches_the_closed_form_optimum(make):
    model, history, costs, best, cost = linear_quadratic()
    plan = run(make(4), model, history, costs=costs)
    assert plan.cost == pytest.approx(cost, rel=2e-3)
    assert plan.cost >= cost * (1 - 1e-4)
    torch.testing.assert_close(plan.actions, best, atol=0.06, rtol=0)
    assert sum(plan.costs.values()) == pytest.approx(plan.cost, rel=1e-5)


@every_planner
def test_bounded_optimum_lies_on_the_bound(make):
    # The goal is 10 away, four steps of at most 1 each: full speed towards it is optimal.
    costs, bounds = [GoalState(torch.tensor([10.0, 0.0]))], [ActionBounds(-1.0, 1.0)]
    plan = run(make(4), point(), at(0.0, 0.0), costs=costs, guardrails=bounds)
    torch.testing.assert_close(plan.actions[:, 0], torch.ones(4), atol=1e-3, rtol=0)
    torch.testing.assert_close(plan.actions[:, 1], torch.zeros(4), atol=0.05, rtol=0)
    assert plan.safe and plan.margin >= 0


@every_planner
def test_plan_is_what_the_model_predicts(make):
    model, history, costs, _, _ = linear_quadratic()
    plan = run(make(4), model, history, costs=costs)
    torch.testing.assert_close(plan.states, model.rollout(history, plan.actions[None])[0])
    cost = sum(c(plan.states[None], plan.actions[None]).item() for c in costs)
    assert plan.cost == pytest.approx(cost, rel=1e-5)
    assert not plan.actions.requires_grad and not plan.candidates.states.requires_grad


@every_planner
def test_same_seed_same_plan_and_other_seed_other_search(make):
    model, history, costs, _, _ = linear_quadratic()
    first, again, other = (run(make(4), model, history, costs=costs, seed=s) for s in (1, 1, 2))
    assert torch.equal(first.actions, again.actions) and first.trace == again.trace
    assert not torch.equal(first.candidates.actions, other.candidates.actions)


@every_planner
def test_global_randomness_is_neither_used_nor_changed(make):
    model, history, costs, _, _ = linear_quadratic()
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = run(make(4), model, history, costs=costs)
    assert torch.equal(before, torch.get_rng_state())
    torch.manual_seed(6)
    assert torch.equal(first.actions, run(make(4), model, history, costs=costs).actions)


@every_planner
def test_best_never_gets_worse_and_calls_are_counted(make):
    model, history, costs, _, _ = linear_quadratic()
    model.rolled.clear()
    plan = run(make(4), model, history, costs=costs)
    assert list(plan.trace) == sorted(plan.trace, reverse=True)
    assert plan.trace[-1] == pytest.approx(plan.cost)
    assert plan.model_calls == len(model.rolled)
    assert plan.model_steps == sum(model.rolled)
    assert plan.seconds > 0


@every_planner
def test_warm_start_is_the_rest_of_the_plan_and_is_tried(make):
    model, history, costs, best, cost = linear_quadratic()
    plan = run(make(4), model, history, costs=costs)
    assert torch.equal(plan.warm_start(), torch.cat([plan.actions[1:], torch.zeros(1, 2)]))
    assert torch.equal(plan.warm_start(done=3)[:1], plan.actions[3:])
    assert torch.equal(plan.warm_start(done=3)[1:], torch.zeros(3, 2))
    started = run(make(4), model, history, costs=costs, warm_start=best)
    assert started.trace[0] == pytest.approx(cost, rel=1e-4)


@every_planner
def test_of_several_warm_starts_the_first_is_the_guess(make):
    model, history, costs, best, cost = linear_quadratic()
    several = torch.stack([best, torch.ones(4, 2), -torch.ones(4, 2)])
    started = run(make(4), model, history, costs=costs, warm_start=several)
    assert started.trace[0] == pytest.approx(cost, rel=1e-4)


@every_planner
def test_third_party_warm_start_is_refused(make):
    with pytest.raises(ShapeError, match="warm_start must be t a"):
        run(make(4), point(), at(0.0, 0.0), costs=[ActionEffort()], warm_start=torch.zeros(3, 2))


@every_planner
def test_doing_nothing_is_always_tried(make):
    # Nothing costs nothing; sampled actions always cost something.
    plan = run(make(4), point(), at(0.0, 0.0), costs=[ActionEffort()], warm_start=torch.ones(4, 2))
    assert plan.cost == 0 and torch.equal(plan.actions, torch.zeros(4, 2))


@every_planner
def test_generator_state_moves_on(make):
    generator = torch.Generator().manual_seed(0)
    model, history, costs, _, _ = linear_quadratic()
    problem = Problem(model, history, costs=costs)
    first, second = (make(4).plan(problem, generator=generator) for _ in range(2))
    assert not torch.equal(first.candidates.actions, second.candidates.actions)


# Units


class Counted:
    """The point, in a world that counts actions in other units: `centre + half * u` moves by u."""

    def __init__(self, centre, half, data=None):
        self.centre, self.half = torch.tensor(centre), torch.tensor(half)
        if data is not None:
            self.action_mean, self.action_std = self.centre, torch.tensor(data)

    def rollout(self, history, actions):
        return self.imagine(history.states[-1:].expand(len(actions), 1, -1), None, actions)

    def imagine(self, states, past, actions):
        return states[:, -1:] + ((actions - self.centre) / self.half).cumsum(dim=1)


UNITS = {
    "pixels": ([256.0, 256.0], [256.0, 256.0]),
    "biased": ([0.35, -6.0], [0.65, 14.0]),
    "tiny": ([0.0, 1e-5], [1e-5, 1e-5]),
    "large": ([0.0, 0.0], [1e5, 2e5]),
}


@every_planner
@pytest.mark.parametrize(("centre", "half"), UNITS.values(), ids=UNITS)
def test_a_plan_does_not_depend_on_the_units_of_actions(make, centre, half):
    model = Counted(centre, half)
    low, high = (model.centre - model.half).tolist(), (model.centre + model.half).tolist()
    costs = [GoalState(torch.tensor([1.3, -0.6]), running=0.0)]
    plan = run(make(3), model, at(0.0, 0.0), costs=costs, guardrails=[ActionBounds(low, high)])
    torch.testing.assert_close(plan.states[-1], torch.tensor([1.3, -0.6]), atol=0.03, rtol=0)
    assert plan.safe
    # What comes after the plan is the middle of what can be done, not the unit's zero.
    torch.testing.assert_close(plan.warm_start()[-1], model.centre)


@every_planner
@pytest.mark.parametrize("bound", [float("inf"), 3e38, 4e5])
def test_where_bounds_say_nothing_the_data_do(make, bound):
    model = Counted([40.0, -7.0], [200.0, 3.0], data=[100.0, 1.5])
    costs = [GoalState(torch.tensor([1.0, -1.0]), running=0.0)]
    bounds = [ActionBounds([-bound, -bound], [bound, bound])]
    plan = run(make(3), model, at(0.0, 0.0), costs=costs, guardrails=bounds)
    torch.testing.assert_close(plan.states[-1], torch.tensor([1.0, -1.0]), atol=0.03, rtol=0)


def test_units_of_every_kind_of_bounds():
    inf = float("inf")
    low = torch.tensor([-1.0, 0.0, -inf, 2.0, -inf, -3e38, 5.0])
    high = torch.tensor([1.0, 512.0, inf, inf, 4.0, 3e38, 5.0])
    units = ActionUnits.of(low, high)
    assert units.centre.tolist() == [0.0, 256.0, 0.0, 3.0, 3.0, 0.0, 5.0]
    assert units.scale.tolist() == [1.0, 256.0, 1.0, 1.0, 1.0, 1.0, 0.0]
    data = ActionUnits.of(low, high, mean=torch.full((7,), 0.5), std=torch.full((7,), 2.0))
    assert data.centre.tolist() == [0.0, 0.5, 0.5, 0.5, 0.5, 0.5, 5.0]
    assert data.scale.tolist() == [1.0, 2.0, 2.0, 2.0, 2.0, 2.0, 0.0]


@every_planner
def test_bounds_that_no_action_keeps_are_refused(make):
    bounds = [ActionBounds([-1.0, -1.0], [1.0, 1.0]), ActionBounds([-2.0, 2.0], [0.0, 3.0])]
    words = "number 1 of an action block may not be below 2 nor above 1; guardrails exclude"
    with pytest.raises(ConfigError, match=words):
        run(make(3), point(), at(0.0, 0.0), costs=[ActionEffort()], guardrails=bounds)


# Guardrails


@every_planner
@pytest.mark.parametrize("scale", [1.0, 1e4])
@pytest.mark.parametrize("start", [(-1.0, 0.0), (-0.55, 0.1), (0.3, 0.75)])
def test_guardrail_holds_however_large_the_reward(make, scale, start):
    disc = Disc([0.0, 0.0], 0.5)
    costs = [Tempting(disc, scale), GoalState(torch.zeros(2), weight=scale)]
    guardrails = [ActionBounds(-0.3, 0.3), disc]
    planner = make(4)
    plan = run(planner, point(), at(*start), costs=costs, guardrails=guardrails)
    true_states = torch.tensor(start) + plan.actions.cumsum(0)
    assert plan.safe and plan.margin >= 0
    assert (disc.margin(true_states[None], plan.actions[None]) >= -1e-6).all()
    assert plan.actions.abs().max() <= 0.3
    # It is not safe by standing still: the cost was pursued up to the edge.
    still = sum(c(torch.tensor(start).expand(1, 4, 2), torch.zeros(1, 4, 2)).item() for c in costs)
    assert plan.cost < still


@every_planner
def test_goes_around_a_guardrail(make):
    disc = Disc([0.0, 0.0], 0.5)
    goal = torch.tensor([1.0, 0.0])
    costs = [GoalState(goal, running=0.2)]
    settings = {"costs": costs, "guardrails": [ActionBounds(-0.5, 0.5), disc]}
    plan = run(make(8), point(), at(-1.0, 0.02), **settings)
    assert plan.safe
    assert (plan.states[-1] - goal).norm() < 0.3
    free = run(make(8), point(), at(-1.0, 0.02), costs=costs, guardrails=[ActionBounds(-0.5, 0.5)])
    assert disc.margin(free.states[None], free.actions[None]).min() < 0


@every_planner
def test_where_nothing_is_safe_the_least_bad_is_taken(make):
    # Deep inside the disc: two steps of 0.2 cannot leave it, moving outwards is least bad.
    disc = Disc([0.0, 0.0], 2.0)
    costs = [GoalState(torch.zeros(2), weight=1e3)]
    plan = run(
        make(2), point(), at(0.5, 0.0), costs=costs, guardrails=[ActionBounds(-0.2, 0.2), disc]
    )
    assert not plan.safe
    # The worst state is the first one; no first step reaches farther than the corner.
    furthest = torch.tensor([0.7, 0.2]).norm().item() - 2.0
    assert plan.margin == pytest.approx(furthest, abs=0.02)


@every_planner
def test_a_guardrail_that_is_not_touched_changes_nothing(make):
    model, history, costs, _, _ = linear_quadratic()
    without = run(make(4), model, history, costs=costs)
    with_it = run(make(4), model, history, costs=costs, guardrails=[Disc([1e6, 1e6], 1.0)])
    assert torch.equal(without.actions, with_it.actions) and without.trace == with_it.trace


@every_planner
def test_guardrails_are_never_in_conflict_over_actions_and_states(make):
    class Slow(Guardrail):
        def project(self, actions: Tensor) -> Tensor:
            return actions * (0.1 / actions.norm(dim=-1, keepdim=True).clamp_min(0.1))

    guardrails = [Slow(), ActionBounds(-1.0, 1.0)]
    costs = [GoalState(torch.tensor([5.0, 5.0]))]
    plan = run(make(4), point(), at(0.0, 0.0), costs=costs, guardrails=guardrails)
    assert plan.actions.norm(dim=-1).max() <= 0.1 + 1e-6
    assert plan.states[-1].norm() == pytest.approx(0.4, abs=5e-3)


# What a model may do wrong


class Nothing(Cost):
    def __call__(self, states, actions):
        return states.new_zeros(len(states))


class BrokenFarOut(Cost):
    """Overflows away from the origin, where its value would be best."""

    def __call__(self, states, actions):
        far = states[:, -1, 0]
        return torch.where(far > 0.5, float("nan"), -far)


@every_planner
def test_predictions_that_overflow_are_never_chosen(make):
    plan = run(make(3), point(), at(0.0, 0.0), costs=[BrokenFarOut()])
    assert plan.actions.isfinite().all() and -0.5 <= plan.cost < -0.4


@every_planner
def test_a_cost_of_nothing_is_no_error(make):
    assert run(make(3), point(), at(0.0, 0.0), costs=[Nothing()]).cost == 0


@every_planner
def test_costs_of_a_wrong_shape_are_named(make):
    class Scalar(Cost):
        def __call__(self, states, actions):
            return states.sum()

    with pytest.raises(ShapeError, match="cost 'Scalar' must return k"):
        run(make(3), point(), at(0.0, 0.0), costs=[Scalar()])


# Virtual states


class Windowed:
    """z' = z + a + (z - what came before it) / 2: it looks at two states."""

    action_window = 2

    def rollout(self, history, actions):
        k = len(actions)
        states = history.states[-2:].expand(k, -1, -1)
        return self.imagine(states, history.actions[-1:].expand(k, -1, -1), actions)

    def imagine(self, states, past, actions):
        assert states.shape[1] <= self.action_window
        path = list(states.unbind(1))
        for action in actions.unbind(1):
            speed = path[-1] - path[-2] if len(path) > 1 else 0
            path.append(path[-1] + action + 0.5 * speed)
        return torch.stack(path[states.shape[1] :], dim=1)


@pytest.mark.parametrize("seen", [1, 2, 4])
def test_predictions_of_one_step_from_a_rollout_s_states_are_the_rollout(seen):
    model, generator = Windowed(), torch.Generator().manual_seed(0)
    states, past = torch.randn(2, seen, 2, generator=generator)
    history = History(states, past[1:])
    problem = Problem(model, history, costs=[ActionEffort()])
    actions = torch.randn(3, 5, 2, generator=generator)
    rolled = model.rollout(history, actions)
    assert torch.allclose(one_step(problem, rolled, actions, Search(problem)), rolled)
    # Each is of the states before it, and of no other.
    moved = rolled.clone()
    moved[1, 2] += 1
    changed = (one_step(problem, moved, actions, Search(problem)) - rolled).abs().amax(-1) > 1e-6
    assert changed.nonzero().tolist() == [[1, 3], [1, 4]]


def test_collocation_says_what_it_cannot_do():
    class Rolls:
        def rollout(self, history, actions):
            return actions.cumsum(1)

    with pytest.raises(ConfigError, match="asks a model for `imagine`, which Rolls does not have"):
        run(Collocation(3), Rolls(), at(0.0, 0.0), costs=[ActionEffort()])
    for wrong in ({"starts": 1}, {"rounds": 0}, {"tightness": 0.0}):
        with pytest.raises(ConfigError, match="Collocation needs"):
            Collocation(3, **wrong)


def round_the_disc():
    """From one side of a disc to the other with little effort: what scipy finds, either way."""
    start, goal, steps = np.array([-1.0, 0.02]), np.array([1.0, 0.0]), 8

    def states(flat):
        return start + flat.reshape(steps, 2).cumsum(0)

    def cost(flat):
        return ((states(flat)[-1] - goal) ** 2).mean() + 0.2 * (flat**2).mean()

    rule = {"type": "ineq", "fun": lambda flat: np.linalg.norm(states(flat), axis=1) - 0.5}
    found = []
    for side in (1, -1):
        across = np.linspace(-1, 1, steps + 1)[1:]
        way = np.stack([across, side * 0.7 * np.cos(across * np.pi / 2)], 1)
        first = np.diff(np.vstack([start, way]), axis=0).ravel()
        found.append(minimize(cost, first, constraints=[rule], method="SLSQP").fun)
    costs = [GoalState(torch.tensor(goal).float(), running=0.0), ActionEffort(0.2)]
    return tuple(start.tolist()), costs, min(found)


@pytest.mark.parametrize("name", PLANNERS)
def test_the_way_round_an_obstacle_is_nearly_the_shortest(name):
    """Straight through it would be 20 % less than the best; a detour of a third is refused.

    `collocation` finds one of half more: where a virtual state lies on the edge, what the actions
    lead to often lies beyond it.
    """
    start, costs, best = round_the_disc()
    guardrails = [ActionBounds(-0.5, 0.5), Disc([0.0, 0.0], 0.5)]
    plan = run(PLANNERS[name](8), point(), at(*start), costs=costs, guardrails=guardrails)
    assert plan.safe
    assert best * 0.999 <= plan.cost <= (1.8 if name == "collocation" else 1.33) * best


def test_planners_of_two_horizons_are_not_one_after_the_other():
    with pytest.raises(ConfigError, match="got first.horizon=3 and second.horizon=4"):
        Refined(CEM(3), Gradient(4))
