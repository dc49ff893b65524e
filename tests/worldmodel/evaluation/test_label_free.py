"""RankMe, LiDAR and the scaled loss on features whose answer is known."""

import math

import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small
from worldmodel.errors import ShapeError
from worldmodel.evaluation.label_free import (
    lambda_of,
    lidar,
    loss_over_lambda,
    mean_tokens,
    rankme,
    spearman,
    views,
)


def gaussian(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def test_rankme_counts_equal_directions():
    assert rankme(torch.eye(6)) == pytest.approx(6, abs=1e-3)
    assert rankme(torch.ones(9, 5)) == pytest.approx(1, abs=1e-3)
    assert rankme(torch.zeros(9, 5)) == 1.0
    flat = gaussian(500, 3) @ torch.linalg.qr(gaussian(8, 3))[0].T
    assert rankme(flat) == pytest.approx(3, abs=0.05)


def test_rankme_is_the_exponential_of_an_entropy():
    values = torch.tensor([4.0, 2.0, 1.0, 1.0])
    shares = values / 8
    expected = math.exp(-float((shares * shares.log()).sum()))
    left, right = (torch.linalg.qr(gaussian(n, 4))[0] for n in (20, 6))
    features = left @ values.diag() @ right.T
    assert rankme(features) == pytest.approx(expected, abs=1e-4)
    assert rankme(7 * features) == pytest.approx(rankme(features), abs=1e-6)


def test_lidar_counts_the_directions_in_which_clips_differ():
    n, q, d = 400, 8, 6
    between = gaussian(n, 1, d) * torch.tensor([1.0, 1, 1, 0, 0, 0])
    within = 0.1 * gaussian(n, q, d, seed=1)
    assert lidar(between + within) == pytest.approx(3, abs=0.1)
    assert rankme((between + within).flatten(0, 1)) > 3.5
    # Noise that is as large as the difference hides a direction, which RankMe still counts.
    loud = within * torch.tensor([300.0, 1, 1, 1, 1, 1])
    assert lidar(between + loud) == pytest.approx(2, abs=0.15)


def test_lidar_is_the_same_in_any_basis_where_the_ridge_is_small():
    features = 10 * (gaussian(60, 1, 4) + 0.5 * gaussian(60, 5, 4, seed=1))
    turned = features @ torch.tensor([[2.0, 1, 0, 0], [0, 1, 0, 0], [0, 0, 3, 1], [1, 0, 0, 1]])
    assert lidar(turned) == pytest.approx(lidar(features), rel=1e-3)


def test_what_is_not_finite_or_not_features_has_no_rank():
    assert math.isnan(rankme(torch.full((3, 2), math.nan)))
    assert math.isnan(lidar(torch.full((3, 2, 2), math.inf)))
    assert lidar(torch.ones(3, 2, 2)) == 1.0
    with pytest.raises(ShapeError, match="n d"):
        rankme(torch.zeros(3))
    with pytest.raises(ShapeError, match="two clips and two views"):
        lidar(torch.zeros(3, 1, 2))


def test_the_scaled_loss_is_that_of_the_paper():
    """The paper's loss, (1 - lambda) prediction + lambda N t, from the prediction and t."""
    prediction, t, weight, batch = 0.3, 0.02, 5.0, 20
    lam = weight / (weight + batch)
    assert lambda_of(weight, batch) == lam
    theirs = (1 - lam) * prediction + lam * batch * t
    ours = prediction + weight * t
    for alpha in (0.0, 0.4, 1.0):
        assert loss_over_lambda(ours, weight=weight, batch=batch, alpha=alpha) == pytest.approx(
            theirs / lam**alpha
        )
    assert loss_over_lambda(0.7, weight=None, batch=batch) == 0.7


def test_views_hide_half_and_depend_on_the_seed_alone():
    encoder = small().encoder.eval()
    frames = noise(3, 4, 3, 16, 16)
    found = views(encoder, frames, count=5, generator=seeded(1))
    assert found.shape == (3, 5, 24)
    assert torch.equal(found, views(encoder, frames, count=5, generator=seeded(1)))
    assert found.std(dim=1).mean() > 1e-3
    with pytest.raises(ShapeError, match="one token"):
        views(encoder, frames[:, :2, :, :8, :8], count=2, generator=seeded())


def test_mean_tokens_are_those_of_each_time_step():
    encoder = small().encoder.eval()
    frames = noise(2, 4, 3, 16, 16)
    found = mean_tokens(encoder, frames)
    assert found.shape == (2, 2, 24)
    torch.testing.assert_close(found[1, 1], encoder(frames)[1, 4:].mean(0))


def test_spearman_of_what_does_not_vary_does_not_exist():
    assert spearman([1, 2, 3], [10, 20, 15]) == pytest.approx(0.5)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3])) and math.isnan(spearman([1], [2]))
