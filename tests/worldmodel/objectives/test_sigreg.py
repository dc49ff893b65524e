import pytest
import torch

import worldmodel.objectives.sigreg
from benchmarks.measure import peak_tensor_bytes
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.objectives.epps_pulley import collapse_value, epps_pulley, null_floor
from worldmodel.objectives.sigreg import directions, discrepancy, sigreg


def normal(*shape, seed=7, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def by_autograd(features, *, step, num_slices=1024, knots=17):
    """SIGReg of `b d` written down as the paper does: sines and cosines at every knot."""
    columns = directions(step, seed=0, width=features.shape[-1], num_slices=num_slices)
    t = torch.linspace(0, 3, knots, dtype=features.dtype)
    trapezoid = torch.full_like(t, 2 * 3 / (knots - 1))
    trapezoid[0] = trapezoid[-1] = 3 / (knots - 1)
    gaussian = torch.exp(-t.square() / 2)
    angles = (features @ columns.to(features.dtype))[..., None] * t  # b m knots
    error = (angles.cos().mean(0) - gaussian).square() + angles.sin().mean(0).square()
    return len(features) * (error * trapezoid * gaussian).sum(-1).mean()


def value_and_gradient(function, features, **settings):
    features = features.clone().requires_grad_()
    value = function(features, **settings)
    value.backward()
    return value.detach(), features.grad


# Constants


def test_floor_and_collapse_are_the_published_constants():
    assert null_floor() == pytest.approx(1.0525, abs=5e-5)
    assert collapse_value() == pytest.approx(0.402, abs=5e-4)


@pytest.mark.parametrize("batch", [32, 128, 512])
def test_gaussian_latents_reach_the_floor(batch):
    values = [sigreg(normal(8, batch, 128, seed=s), step=s, knots=17) for s in range(3)]
    assert float(torch.stack(values).mean()) == pytest.approx(1.0525, abs=0.05)


@pytest.mark.parametrize("batch", [32, 128, 512])
def test_total_collapse_is_proportional_to_the_batch(batch):
    assert float(sigreg(torch.zeros(batch, 64), step=0)) == pytest.approx(0.402 * batch, rel=1e-3)


def test_two_points_have_their_published_distance():
    sample = torch.tensor([-1.0, 1.0]).repeat(64)[:, None]
    assert float(epps_pulley(sample)) == pytest.approx(0.103 * 128, rel=5e-3)


@pytest.mark.parametrize(
    ("batch", "width", "change", "value", "gradient_norm"),
    [
        (128, 192, lambda z: z, 1.0400, 0.09084),
        (128, 192, lambda z: 0.1 * z, 49.548, 0.2643),
        (512, 384, lambda z: z, 1.0575, 0.07557),
        (512, 384, lambda z: z + 0.5, 58.546, 0.6583),
    ],
)
def test_equals_reference_values_of_an_independent_implementation(
    batch, width, change, value, gradient_norm
):
    got, gradient = value_and_gradient(sigreg, change(normal(batch, width)), step=0, seed=0)
    assert float(got) == pytest.approx(value, rel=5e-5)
    assert float(gradient.norm()) == pytest.approx(gradient_norm, rel=2e-4)


# Value and gradient


@pytest.mark.parametrize("shift", [0.0, 0.5])
@pytest.mark.parametrize("scale", [1.0, 0.1, 5.0])
def test_equals_sines_and_cosines_at_every_knot_with_autograd(scale, shift):
    z = scale * normal(96, 48) + shift
    ours, our_gradient = value_and_gradient(sigreg, z, step=3)
    theirs, their_gradient = value_and_gradient(by_autograd, z, step=3)
    assert float(ours) == pytest.approx(float(theirs), rel=2e-6)
    assert (our_gradient - their_gradient).norm() <= 3e-6 * their_gradient.norm()


@pytest.mark.parametrize("knots", [2, 3, 17, 40])
def test_float64_equals_autograd_to_its_own_precision(knots):
    z = 0.7 * normal(24, 6, dtype=torch.float64)
    ours, our_gradient = value_and_gradient(sigreg, z, step=1, num_slices=32, knots=knots)
    theirs, their_gradient = value_and_gradient(by_autograd, z, step=1, num_slices=32, knots=knots)
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=0)
    torch.testing.assert_close(our_gradient, their_gradient, rtol=1e-10, atol=1e-14)


def test_gradient_equals_finite_differences():
    z = normal(3, 7, 5, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(lambda z: sigreg(z, step=2, num_slices=16), z)
    assert torch.autograd.gradcheck(lambda z: discrepancy(z, step=2, num_slices=16)[0].exp(), z)


def test_blocks_do_not_change_the_result(monkeypatch):
    z = normal(5, 12, 8, dtype=torch.float64)
    whole = value_and_gradient(sigreg, z, step=0, num_slices=30)
    for block in (1, 12 * 7, 12 * 30, 12 * 30 * 2):  # a slice, seven, a position, two positions
        monkeypatch.setattr(worldmodel.objectives.sigreg, "_CPU_BLOCK", block)
        parts = value_and_gradient(sigreg, z, step=0, num_slices=30)
        torch.testing.assert_close(parts, whole, rtol=1e-12, atol=1e-15)


def test_without_gradient_it_has_the_same_value_and_no_graph():
    z = normal(16, 8).requires_grad_()
    with torch.no_grad():
        value = sigreg(z, step=0)
    assert not value.requires_grad
    assert float(value) == float(sigreg(z, step=0).detach())


def test_backward_can_be_asked_twice_and_scales():
    z = normal(16, 8).requires_grad_()
    value = sigreg(z, step=0)
    (once,) = torch.autograd.grad(value, z, retain_graph=True)
    (thrice,) = torch.autograd.grad(3 * value, z)
    torch.testing.assert_close(thrice, 3 * once)


def test_float32_inside_autocast_and_for_half_precision_latents():
    z = normal(64, 32)
    expected, expected_gradient = value_and_gradient(sigreg, z, step=0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        value, gradient = value_and_gradient(sigreg, z, step=0)
    assert value.dtype == torch.float32
    assert torch.equal(value, expected)
    assert torch.equal(gradient, expected_gradient)

    half = z.bfloat16()
    value, gradient = value_and_gradient(sigreg, half, step=0)
    assert torch.equal(value, sigreg(half.float(), step=0))
    assert gradient.dtype == torch.bfloat16


def test_memory_is_independent_of_knots_and_a_tenth_of_autograds():
    z = normal(256, 64).requires_grad_()

    def peak(function, knots):
        function(z, step=0, knots=knots).backward()  # so that z.grad is there already
        return peak_tensor_bytes(lambda: function(z, step=0, knots=knots).backward())

    assert peak(sigreg, 33) <= 1.1 * peak(sigreg, 9)
    assert peak(by_autograd, 33) >= 3 * peak(by_autograd, 9)  # the measure can tell
    assert peak(sigreg, 17) <= 0.1 * peak(by_autograd, 17)


# Directions


def test_directions_have_length_one_and_depend_on_step_and_seed_only():
    settings = {"width": 16, "num_slices": 64}
    first = directions(5, seed=1, **settings)
    torch.testing.assert_close(first.norm(dim=0), torch.ones(64))
    torch.manual_seed(123)
    before = torch.get_rng_state()
    assert torch.equal(first, directions(5, seed=1, **settings))
    assert torch.equal(before, torch.get_rng_state())
    for step, seed in [(6, 1), (5, 2), (1, 5)]:
        assert not torch.equal(first, directions(step, seed=seed, **settings))


def test_directions_go_on_after_resuming():
    z = normal(32, 16)
    straight = [float(sigreg(z, step=step)) for step in range(6)]
    resumed = [float(sigreg(z, step=step)) for step in range(3, 6)]
    assert straight[3:] == resumed
    assert len(set(straight)) == 6


# What it sees


def test_invariant_under_rotation_in_expectation():
    stretched = normal(64, 12) * torch.linspace(0.2, 2, 12)
    rotation = torch.linalg.qr(normal(12, 12, seed=1)).Q
    steps = range(12)
    here = torch.stack([sigreg(stretched, step=s, num_slices=2048) for s in steps])
    there = torch.stack(
        [sigreg(stretched @ rotation, step=s + 100, num_slices=2048) for s in steps]
    )
    error = (here.var() / 12 + there.var() / 12).sqrt()
    assert abs(here.mean() - there.mean()) < 4 * error
    assert error < 0.01 * here.mean()  # the comparison means something


def test_worse_latents_cost_more():
    z = normal(128, 192)
    rank_16 = normal(128, 16) @ normal(16, 192, seed=8) / 4
    rank_2 = normal(128, 2) @ normal(2, 192, seed=8) / 2**0.5
    heavy = z * (3 / normal(128, 5, seed=9).square().sum(-1, keepdim=True)).sqrt()
    fine, *worse = (float(sigreg(x, step=0)) for x in (z, rank_16, rank_2))
    assert fine < 1.2 < 2 < worse[0] < worse[1]
    for x in (heavy, 0.5 * z, 2 * z, z + 0.3):
        assert float(sigreg(x, step=0)) > 2 * fine


def test_a_code_of_the_position_alone_is_collapse():
    code = normal(64, 1, 32).expand(64, 48, 32)  # p b d: Gaussian over positions, fixed over inputs
    assert float(sigreg(code, step=0)) >= collapse_value() * 48
    # Pooled over positions the same tokens would pass: two thousand samples of a Gaussian code.
    value, count = discrepancy(code.reshape(64 * 48, 32), step=0)
    assert value < 0.1 * collapse_value()
    assert count == 64 * 48


def test_positions_are_averaged_and_do_not_see_each_other():
    z = normal(4, 3, 20, 8, dtype=torch.float64)
    value, gradient = value_and_gradient(sigreg, z, step=0, num_slices=64)
    alone = [value_and_gradient(sigreg, p, step=0, num_slices=64) for p in z.flatten(0, 1)]
    torch.testing.assert_close(value, torch.stack([v for v, _ in alone]).mean())
    torch.testing.assert_close(gradient.flatten(0, 1), torch.stack([g for _, g in alone]) / 12)


def test_discrepancy_does_not_depend_on_the_batch_size():
    z = normal(16, 8, dtype=torch.float64)
    value, count = discrepancy(z, step=0)
    twice, twice_count = discrepancy(z.repeat(2, 1), step=0)
    torch.testing.assert_close(value, twice)
    assert (count, twice_count) == (16, 32)


def test_epps_pulley_is_the_statistic_of_each_slice():
    z = normal(3, 20, 8)
    columns = directions(4, seed=0, width=8, num_slices=50)
    slices = epps_pulley(z @ columns)
    assert slices.shape == (3, 50)
    torch.testing.assert_close(slices.mean(), sigreg(z, step=4, num_slices=50))


# Bad input


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.zeros(8), "... b d"),
        (torch.zeros(8, 4, dtype=torch.int64), "int64"),
        (torch.zeros(3, 0, 4), "not empty"),
        (torch.zeros(1, 4), "at least 2"),
    ],
)
def test_refuses_what_is_no_sample(features, words):
    with pytest.raises(ShapeError, match=words):
        sigreg(features, step=0)


def test_refuses_too_few_slices_and_knots():
    with pytest.raises(ConfigError, match="num_slices must be at least 1, got 0"):
        sigreg(torch.zeros(4, 4), step=0, num_slices=0)
    with pytest.raises(ConfigError, match="knots must be at least 2, got 1"):
        sigreg(torch.zeros(4, 4), step=0, knots=1)
