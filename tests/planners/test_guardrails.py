"""Guardrails, against hazards whose true extent is known."""

import pytest
import torch

from tests.planners.fakes import PointModel, draw
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.planners import ActionBounds, KeepOut
from worldmodel.planners.guardrails.boundary import calibrate, fit_boundary

NO_ACTIONS = torch.zeros(1, 1, 2)


def hazard_world(n, *, seed, width=12):
    """States that mix place, speed and noise, and whether the place is in a disc of radius 0.3."""
    generator = torch.Generator().manual_seed(seed)
    place = torch.rand(n, 2, generator=generator) * 2 - 1
    speed = torch.randn(n, 2, generator=generator)
    mix = torch.randn(4, width, generator=torch.Generator().manual_seed(99))
    noise = 0.02 * torch.randn(n, width, generator=generator)
    states = torch.cat([2 * place, 0.3 * speed], dim=1) @ mix + noise
    return states, (place - torch.tensor([0.3, -0.2])).norm(dim=1) < 0.3


@pytest.fixture(scope="module")
def keep_out():
    states, hazard = hazard_world(6000, seed=0)
    return KeepOut.from_states(states[hazard], states[~hazard], miss_rate=0.02)


def test_new_hazards_are_missed_no_more_often_than_promised(keep_out):
    states, hazard = hazard_world(40_000, seed=1)
    safe = keep_out.margin(states[None], NO_ACTIONS)[0] >= 0
    missed = safe[hazard].float().mean().item()
    # 170 hazards calibrate it: the rate itself scatters by about one percent.
    assert missed <= 0.02 + 0.015
    # And it is no wall around everything.
    assert safe[~hazard].float().mean() > 0.95


def test_promise_holds_on_average_over_calibrations():
    # Scores are uniform here, so that the miss rate of a threshold is the threshold itself.
    boundary = fit_boundary(*(x[:60] for x in hazards_and_safe()), miss_rate=0.1)
    rates = []
    points, hazard = hazard_world(60_000, seed=5)
    scores = boundary.score(points[hazard])
    generator = torch.Generator().manual_seed(0)
    for _ in range(200):
        chosen = points[hazard][torch.randperm(int(hazard.sum()), generator=generator)[:29]]
        rates.append((scores < calibrate(boundary, chosen, 0.1).threshold).float().mean().item())
    # k / (n + 1) = 3 / 30.
    assert sum(rates) / len(rates) == pytest.approx(0.1, abs=0.012)


def hazards_and_safe():
    states, hazard = hazard_world(6000, seed=0)
    return states[hazard], states[~hazard]


def test_margin_is_differentiable_and_leads_out(keep_out):
    states, hazard = hazard_world(500, seed=2)
    inside = states[hazard].clone().requires_grad_()
    before = keep_out.margin(inside[None], NO_ACTIONS)
    before.sum().backward()
    with torch.no_grad():
        moved = inside + 0.3 * inside.grad / inside.grad.norm(dim=1, keepdim=True)
        after = keep_out.margin(moved[None], NO_ACTIONS)
    assert (after > before).float().mean() > 0.95


def test_margin_has_axes_k_t(keep_out):
    states, _ = hazard_world(24, seed=3)
    nested = states.reshape(6, 4, -1)
    margin = keep_out.margin(nested, torch.zeros(6, 4, 2))
    assert margin.shape == (6, 4)
    flat = keep_out.margin(states[None], NO_ACTIONS)
    torch.testing.assert_close(margin.flatten(), flat.flatten())


def test_buffer_moves_the_boundary_outwards(keep_out):
    states, _ = hazard_world(1000, seed=4)
    wider = KeepOut(keep_out.boundary, buffer=0.5)
    narrow, wide = (g.margin(states[None], NO_ACTIONS) for g in (keep_out, wider))
    torch.testing.assert_close(wide, narrow - 0.5)
    with pytest.raises(ConfigError, match="buffer"):
        KeepOut(keep_out.boundary, buffer=-0.1)


def test_without_safe_examples_it_still_keeps_its_promise():
    states, hazard = hazard_world(6000, seed=0, width=4)
    keep_out = KeepOut.from_states(states[hazard], miss_rate=0.05)
    states, hazard = hazard_world(20_000, seed=1, width=4)
    safe = keep_out.margin(states[None], NO_ACTIONS)[0] >= 0
    assert safe[hazard].float().mean() <= 0.05 + 0.03
    assert safe[~hazard].float().mean() > 0.5


def test_same_seed_same_boundary():
    first, again = (fit_boundary(*hazards_and_safe(), seed=4) for _ in range(2))
    assert first.threshold == again.threshold and torch.equal(first.weights, again.weights)


def test_directions_that_never_vary_do_no_harm():
    hazards, safe = (torch.cat([x, torch.ones(len(x), 1)], dim=1) for x in hazards_and_safe())
    boundary = fit_boundary(hazards, safe)
    assert boundary.margin(torch.cat([hazards, safe])).isfinite().all()


def test_too_few_examples_are_refused_with_how_many_it_takes():
    hazards, safe = hazards_and_safe()
    with pytest.raises(ConfigError, match=r"needs 99 held-out hazards \(248 examples\), got 20"):
        KeepOut.from_states(hazards[:50], safe, miss_rate=0.01)
    KeepOut.from_states(hazards[:248], safe, miss_rate=0.01)
    with pytest.raises(ConfigError, match="at least 5 examples of each kind"):
        KeepOut.from_states(hazards[:3], safe)
    with pytest.raises(ConfigError, match="between 0 and 1"):
        KeepOut.from_states(hazards, safe, miss_rate=1.5)


def test_from_images_is_bound_to_a_model():
    generator = torch.Generator().manual_seed(0)
    places = torch.rand(1500, 2, generator=generator) * 2 - 1
    hazard = places.norm(dim=1) < 0.3
    images = torch.stack([torch.from_numpy(draw(p.numpy())) for p in places])
    waiting = KeepOut.from_images(images[hazard], images[~hazard])
    with pytest.raises(ConfigError, match="bind"):
        waiting.margin(places[None], NO_ACTIONS)
    bound = waiting.bind(PointModel())
    assert bound.bind(PointModel()) is bound
    margin = bound.margin(torch.tensor([[[0.0] * 4, [0.0, 0.7] * 2]]), NO_ACTIONS)[0]
    assert margin[0] < 0 < margin[1]
    assert (
        KeepOut.from_images(images[hazard])
        .bind(PointModel())
        .margin(torch.zeros(1, 1, 4), NO_ACTIONS)
        < 0
    )


def test_action_bounds_repeat_over_a_block_and_are_idempotent():
    bounds = ActionBounds([-1.0, 0.0], [1.0, 2.0])
    actions = torch.tensor([[[-3.0, -3.0, 0.5, 5.0]]])
    inside = bounds.project(actions)
    assert inside.tolist() == [[[-1.0, 0.0, 0.5, 2.0]]]
    assert torch.equal(bounds.project(inside), inside)
    assert bounds.margin(inside, inside).item() == 0.0
    assert bounds.margin(actions, actions).item() == -3.0


def test_action_bounds_refuse_what_does_not_fit():
    with pytest.raises(ConfigError, match="low <= high"):
        ActionBounds(1.0, -1.0)
    with pytest.raises(ConfigError, match="low <= high"):
        ActionBounds([0.0, 0.0], [1.0])
    with pytest.raises(ShapeError, match="2 bounds do not fit action blocks of dimension 3"):
        ActionBounds([-1.0, -1.0], [1.0, 1.0]).project(torch.zeros(1, 1, 3))
