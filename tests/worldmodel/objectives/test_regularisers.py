import math
import warnings

import pytest
import torch
from torch import nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.objectives.epps_pulley import null_floor
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg, VICReg
from worldmodel.objectives.sigreg import sigreg

ALL = [SIGReg(num_slices=128), VICReg(), NoRegulariser()]


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


# Contract of every regulariser


@pytest.mark.parametrize("regulariser", ALL)
@pytest.mark.parametrize("shape", [(16, 8), (5, 16, 8), (2, 5, 16, 8)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_gives_finite_float32_scalars(regulariser, shape, dtype):
    result = regulariser(normal(*shape).to(dtype), step=0)
    for x in (result.loss, result.statistic, result.over_floor):
        assert x.shape == ()
        assert x.dtype == torch.float32
    assert result.loss.isfinite()
    assert result.statistic.isfinite()


@pytest.mark.parametrize("regulariser", ALL[:2])
def test_prefers_gaussian_to_collapsed_latents(regulariser):
    good = normal(3, 256, 8)
    losses = [
        regulariser(x, step=0).loss for x in (good, 0.3 * good, good[..., :1].expand(3, 256, 8))
    ]
    assert all(losses[0] < 0.2 * loss for loss in losses[1:])


@pytest.mark.parametrize("regulariser", ALL[:2])
def test_only_the_loss_carries_a_gradient(regulariser):
    z = (0.3 * normal(3, 16, 8)).requires_grad_()
    result = regulariser(z, step=0)
    assert not result.statistic.requires_grad
    assert not result.over_floor.requires_grad
    result.loss.backward()
    assert z.grad.norm() > 0


@pytest.mark.parametrize("regulariser", ALL[:2])
def test_refuses_a_batch_of_one(regulariser):
    with pytest.raises(ShapeError, match="at least 2"):
        regulariser(normal(3, 1, 8), step=0)


# SIGReg


def test_sigreg_loss_is_weight_over_n_times_the_statistic():
    z = normal(3, 16, 8)
    result = SIGReg(20.0, num_slices=64, seed=3)(z, step=5)
    expected = sigreg(z, step=5, seed=3, num_slices=64)
    torch.testing.assert_close(result.statistic, expected)
    torch.testing.assert_close(result.loss, 20 / 16 * expected)
    torch.testing.assert_close(result.over_floor, expected / null_floor())


def test_sigreg_weight_does_not_depend_on_the_batch():
    z = normal(16, 8)
    small, large = (SIGReg(num_slices=64)(x, step=0).loss for x in (z, z.repeat(4, 1)))
    torch.testing.assert_close(small, large)


@pytest.mark.parametrize("weight", [0.4, 61.0])
def test_sigreg_warns_of_a_weight_that_no_recipe_uses(weight):
    with pytest.warns(UserWarning, match=rf"weight of SIGReg is {weight:g}, outside 0.5 to 60"):
        SIGReg(weight)


@pytest.mark.parametrize("weight", [0.5, 10.0, 60.0])
def test_sigreg_does_not_warn_within_the_range(weight):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        SIGReg(weight)


@pytest.mark.parametrize("weight", [0.0, -1.0, math.nan, math.inf])
def test_sigreg_refuses_weights_that_mean_nothing(weight):
    with pytest.raises(ConfigError, match="weight of SIGReg must be positive"):
        SIGReg(weight)


def test_sigreg_refuses_settings_before_training_starts():
    with pytest.raises(ConfigError, match="num_slices"):
        SIGReg(num_slices=0)
    with pytest.raises(ConfigError, match="knots"):
        SIGReg(knots=1)


def test_a_projector_with_batch_statistics_revives_collapsed_features():
    regulariser = SIGReg(num_slices=256)
    torch.manual_seed(0)
    layers = [nn.Linear(32, 64), nn.BatchNorm1d(64), nn.GELU(), nn.Linear(64, 32)]

    def pull(scale, projector):
        features = (scale * normal(128, 32)).requires_grad_()
        regulariser(projector(features), step=0).loss.backward()
        return scale * float(features.grad.norm())  # change of the loss per relative change

    bare, projected = (
        [pull(scale, p) for scale in (0.1, 1e-3)] for p in (nn.Identity(), nn.Sequential(*layers))
    )
    assert bare[1] < 1e-3 * bare[0]
    assert projected[1] > 0.02 * projected[0]


def test_sigreg_turns_a_collapsed_layer_into_gaussian_latents():
    """What it is for: descending it alone takes latents from nearly zero to the floor."""
    inputs = normal(256, 16)
    layer = nn.Linear(16, 8)
    nn.init.normal_(layer.weight, std=0.02, generator=torch.Generator().manual_seed(1))
    regulariser = SIGReg(num_slices=128)
    optimizer = torch.optim.Adam(layer.parameters(), lr=0.02)
    first = regulariser(layer(inputs), step=0).over_floor
    for step in range(200):
        optimizer.zero_grad()
        result = regulariser(layer(inputs), step=step)
        result.loss.backward()
        optimizer.step()
    assert first > 50
    assert result.over_floor < 1.3


# VICReg


@pytest.mark.parametrize("batch", [5, 40])  # fewer and more samples than numbers
def test_vicreg_equals_its_formula(batch):
    z = 0.7 * normal(3, batch, 12)
    terms = []
    for position in z:
        covariance = torch.cov(position.T)
        variance = covariance.diagonal()
        hinge = (1 - (variance + 1e-4).sqrt()).clamp(min=0).mean()
        off_diagonal = covariance - variance.diag()
        terms.append(25 * hinge + off_diagonal.square().sum() / 12)
    torch.testing.assert_close(VICReg()(z, step=0).loss, torch.stack(terms).mean())


def test_vicreg_refuses_weights_that_mean_nothing():
    with pytest.raises(ConfigError, match="covariance must be finite and not negative, got -1"):
        VICReg(covariance=-1)


# None


def test_no_regulariser_adds_nothing():
    result = NoRegulariser()(torch.zeros(4, 8), step=0)
    assert result.loss == 0
    assert result.over_floor.isnan()
