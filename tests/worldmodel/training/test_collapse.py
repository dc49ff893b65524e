import pytest
import torch

from worldmodel.errors import ShapeError
from worldmodel.objectives.epps_pulley import quadrature
from worldmodel.objectives.sigreg import sigreg
from worldmodel.training.collapse import (
    LOW_RANK_COSINE,
    MAX_COSINE,
    MIN_JOINT_RANK,
    MIN_RANK,
    MIN_STD,
    alarm,
    diagnose,
    effective_rank,
    feature_std,
    joint_rank,
    mean_cosine,
    remark,
    sigreg_over_floor,
)

HEALTHY = {"feature_std": 1.0, "effective_rank": 12.0, "joint_rank": 15.0, "mean_cosine": 0.0}
MOST = {"most": 64, "most_joint": 31}


def normal(*shape, seed=7):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def test_feature_std_is_over_the_batch():
    assert feature_std(2 * normal(4, 2000, 8)) == pytest.approx(2, rel=0.02)
    assert feature_std(normal(64, 1, 8).expand(64, 16, 8)) == 0  # differs between positions only


@pytest.mark.parametrize("rank", [1, 3, 12])
def test_effective_rank_counts_equal_directions(rank):
    basis = torch.linalg.qr(normal(200, 12)).Q[:, :rank]
    latents = torch.linalg.qr(basis - basis.mean(0)).Q @ torch.eye(rank, 12)
    assert effective_rank(latents) == pytest.approx(rank, rel=1e-5)


def test_effective_rank_is_below_the_count_for_unequal_directions():
    latents = normal(4000, 2) * torch.tensor([1.0, 0.1])
    shares = torch.tensor([10 / 11, 1 / 11])
    assert effective_rank(latents) == pytest.approx(
        float(torch.special.entr(shares).sum().exp()), rel=0.02
    )


def test_effective_rank_ignores_what_does_not_depend_on_the_input():
    code = normal(64, 1, 16)
    one = normal(64, 32, 1) * torch.eye(1, 16)
    assert effective_rank(code + one) == pytest.approx(1, abs=1e-3)
    assert effective_rank(code.expand(64, 32, 16)) == 1


def test_joint_rank_counts_what_all_positions_tell_together():
    # One number in each of nine tokens: of rank one by itself, nine together.
    tokens = normal(9, 4000, 1) * normal(16, seed=8)
    assert effective_rank(tokens) == pytest.approx(1, abs=1e-3)
    assert joint_rank(tokens) == pytest.approx(9, rel=0.01)
    assert joint_rank(tokens[:1]) == pytest.approx(1, abs=1e-3)
    assert joint_rank(normal(64, 1, 16).expand(64, 32, 16)) == 1  # differs between positions only


def test_mean_cosine_equals_the_mean_over_pairs():
    z = normal(3, 5, 4) + 0.5
    pairs = [
        torch.cosine_similarity(p[i], p[j], dim=0) for p in z for i in range(5) for j in range(i)
    ]
    assert mean_cosine(z) == pytest.approx(float(torch.stack(pairs).mean()), rel=1e-5)
    assert mean_cosine(z[:, :1].expand(3, 5, 4)) == pytest.approx(1)


def test_sigreg_over_floor_is_one_for_gaussian_latents_and_grows_with_collapse():
    assert sigreg_over_floor(normal(8, 128, 64)) == pytest.approx(1, abs=0.05)
    assert sigreg_over_floor(torch.zeros(8, 128, 64)) == pytest.approx(0.382 * 128, rel=1e-3)


def test_gaussian_latents_raise_no_alarm():
    for shape in [(32, 64), (8, 16, 32), (4, 256, 96), (4, 256, 2), (2, 8, 2), (64, 1)]:
        found = diagnose(normal(*shape))
        assert found.alarm is None and found.remark is None, found
        assert set(found.numbers()) == {*HEALTHY, "sigreg_over_floor"}


@pytest.mark.parametrize(
    ("features", "words"),
    [
        (torch.zeros(4, 32, 64), "standard deviation 0 <"),
        (1e-4 * normal(4, 32, 64), "standard deviation 9.89e-05 <"),
        (normal(32, 1, 64).expand(32, 32, 64), "mean cosine 1 >"),
        (normal(32, 1) * normal(64, seed=8), "effective rank 1,"),
        (normal(4, 32, 64).log(), "nan"),
    ],
)
def test_collapse_of_each_kind_raises_the_alarm(features, words):
    found = diagnose(features)
    assert found.alarm is not None
    assert found.alarm.startswith("latents have collapsed: ")
    assert words in found.alarm
    assert "\n" not in found.alarm


@pytest.mark.parametrize(
    ("number", "value"),
    [
        ("feature_std", 0.99 * MIN_STD),
        ("mean_cosine", 1.01 * MAX_COSINE),
        *((name, float("nan")) for name in ("feature_std", "mean_cosine")),
    ],
)
def test_each_number_alone_raises_the_alarm(number, value):
    assert alarm(**HEALTHY, **MOST) is None
    assert alarm(**{**HEALTHY, **MOST, number: value}) is not None


def test_a_low_rank_raises_the_alarm_on_a_line_or_where_latents_point_one_way():
    joint = {"joint_rank": 0.99 * MIN_JOINT_RANK}
    line, one_way = (
        {"effective_rank": 0.99 * MIN_RANK},
        {"mean_cosine": 1.01 * LOW_RANK_COSINE},
    )
    for low in (joint, line, one_way, line | one_way):
        assert alarm(**{**HEALTHY, **MOST, **low}) is None
    for low in (line, one_way):
        assert "effective rank" in alarm(**{**HEALTHY, **MOST, **joint, **low})


def test_two_numbers_are_no_collapse_in_a_world_that_has_no_more():
    # Where a disc is, in 32 dimensions: a pretraining that had learned it looked like this.
    place = normal(2, 64, 2) * torch.tensor([1.0, 0.15])
    found = diagnose(place @ normal(2, 32, seed=8))
    assert found.effective_rank < 1.6 and found.joint_rank < 3.2
    assert found.alarm is None


def test_the_alarm_is_about_what_is_predicted():
    latents = torch.cat([normal(32, 1) * normal(8, seed=8), normal(32, 24, seed=9)], dim=1)
    assert diagnose(latents).alarm is None
    assert "effective rank" in diagnose(latents, predicted=8).alarm
    assert diagnose(latents, predicted=8).effective_rank == diagnose(latents).effective_rank


def test_latents_that_are_not_gaussian_are_a_remark_and_no_alarm():
    found = diagnose(1.5 * normal(4, 96, 64))
    assert found.alarm is None and "not Gaussian yet" in found.remark
    assert found.effective_rank > 50
    assert remark(5.0, batch=64) is not None and remark(5.0, batch=96) is None


def test_refuses_what_has_no_batch():
    with pytest.raises(ShapeError, match="at least 2"):
        diagnose(torch.zeros(1, 8))


def test_looking_in_inference_mode_does_not_disturb_training():
    quadrature.cache_clear()
    with torch.inference_mode():
        diagnose(normal(4, 16, 8))
    z = normal(4, 16, 8).requires_grad_()
    sigreg(z, step=0).backward()
    assert z.grad.isfinite().all()
