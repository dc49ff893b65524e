"""Has the encoder collapsed? Five numbers about a batch of latents, and the alarm they raise.

One number is not enough: an effective rank looks healthy while the scale goes to zero, and a scale
while all latents lie on a line. All are about one position at a time, as SIGReg is: latents that
differ between positions but not between inputs have collapsed. Computed on this rank only.

The alarm means collapse; how often it is wrong was measured (docs/pretraining.md,
benchmarks/collapse_alarm.py). Latents that are not Gaussian yet are worth a remark, no more.
"""

import dataclasses
import math
from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from worldmodel.errors import ShapeError
from worldmodel.objectives.epps_pulley import epps_pulley, null_floor
from worldmodel.objectives.sigreg import directions

# Where only collapsed latents were found; chosen on the development runs of the benchmark.
MIN_STD = 0.15
MAX_COSINE = 0.97
# A low joint rank may be all that a small world has; it counts with one of the other two.
MIN_JOINT_RANK, MIN_RANK, LOW_RANK_COSINE = 4.5, 1.25, 0.4
# (SIGReg - floor) / N, above which latents are clearly not Gaussian; for zeros it is 0.402.
MAX_DISCREPANCY = 0.05


@dataclass(frozen=True)
class Diagnosis:
    """The numbers that `diagnose` finds, and what they mean."""

    feature_std: float  # 1 for latents that satisfy SIGReg, 0 at collapse
    effective_rank: float  # of the latents of a position, between 1 and the width
    joint_rank: float  # of all positions' latents side by side, between 1 and the batch
    mean_cosine: float  # in [-1, 1]; 1 when all inputs look alike
    sigreg_over_floor: float  # 1 for Gaussian latents, 0.382 N at collapse
    alarm: str | None  # one line that says what has collapsed, or None
    remark: str | None  # one line where latents are not Gaussian, or None

    def numbers(self) -> dict[str, float]:
        """The numbers by name, for a log."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k not in ("alarm", "remark")}


def diagnose(features: Tensor, *, predicted: int | None = None) -> Diagnosis:
    """All diagnostics of latents `... b d`, with the alarm.

    Args:
        features: the latents.
        predicted: the alarm is about so many of their first dimensions, those that are targets;
            about all of them by default.

    Raises:
        ShapeError: not `... b d` with at least two in the batch.
    """
    if features.ndim < 2 or features.shape[-2] < 2:
        raise ShapeError(
            f"diagnostics take latents ... b d with b at least 2, got {tuple(features.shape)}"
        )
    numbers = {
        "feature_std": feature_std(features),
        "effective_rank": effective_rank(features),
        "joint_rank": joint_rank(features),
        "mean_cosine": mean_cosine(features),
    }
    ratio, (b, d) = sigreg_over_floor(features), features.shape[-2:]
    positions = features[..., 0, 0].numel()
    found = Diagnosis(
        **numbers, sigreg_over_floor=ratio, remark=remark(ratio, batch=b),
        alarm=alarm(**numbers, most=min(d, positions * (b - 1)), most_joint=b - 1),
    )  # fmt: skip
    if predicted is None:
        return found
    return dataclasses.replace(found, alarm=diagnose(features[..., :predicted]).alarm)


def alarm(
    *, feature_std: float, effective_rank: float, joint_rank: float, mean_cosine: float,
    most: int, most_joint: int,
) -> str | None:  # fmt: skip
    """One line that names every number that only collapsed latents have, or None.

    Args:
        feature_std: see `Diagnosis`, as the next three.
        effective_rank: see `Diagnosis`.
        joint_rank: see `Diagnosis`.
        mean_cosine: see `Diagnosis`.
        most: the highest effective rank that is possible: the width, or what the batch allows.
        most_joint: the highest joint rank that is possible.
    """
    # Few dimensions, or few samples, are no collapse.
    rank, joint = min(MIN_RANK, most / 2), min(MIN_JOINT_RANK, most_joint / 2)
    varied = effective_rank >= rank and mean_cosine <= LOW_RANK_COSINE
    # Written so that a number that is not finite raises the alarm too.
    found = [
        (feature_std >= MIN_STD, f"standard deviation {feature_std:.3g} < {MIN_STD}"),
        (
            joint_rank >= joint or varied,
            f"effective rank {effective_rank:.3g}, of all positions together {joint_rank:.3g} < "
            f"{joint:.3g}, mean cosine {mean_cosine:.3g}",
        ),
        (mean_cosine <= MAX_COSINE, f"mean cosine {mean_cosine:.3g} > {MAX_COSINE}"),
    ]
    wrong = [words for healthy, words in found if not healthy]
    return f"latents have collapsed: {', '.join(wrong)}" if wrong else None


def remark(sigreg_over_floor: float, *, batch: int) -> str | None:
    """One line where latents of `batch` samples at each position are clearly not Gaussian."""
    discrepancy = (sigreg_over_floor - 1) * null_floor() / batch
    if discrepancy <= MAX_DISCREPANCY:
        return None
    return (
        f"latents are not Gaussian yet (SIGReg is {sigreg_over_floor:.3g} times its floor at batch "
        f"{batch}); that is no collapse, more steps may help"
    )


@torch.no_grad()
def feature_std(features: Tensor) -> float:
    """Standard deviation over the batch, averaged over positions and numbers of `... b d`."""
    return float(features.double().std(-2).mean())


@torch.no_grad()
def effective_rank(features: Tensor) -> float:
    """Exponential of the entropy of the singular values (RankMe, arXiv:2210.02885, eq. 1).

    Of `... b d` without each position's mean, all positions together: what does not depend on the
    input adds no rank. 1 for latents that do not vary at all.
    """
    return _rank(features, "... b d -> (... b) d")


@torch.no_grad()
def joint_rank(features: Tensor) -> float:
    """Effective rank of `... b d` with the latents of all positions side by side, a row a sample.

    Few numbers in each token can still tell where things are: then this is high.
    """
    return _rank(features, "... b d -> (... d) b")


def _rank(features: Tensor, rows: str) -> float:
    features = features.double()
    if not features.isfinite().all():
        return math.nan
    centred = features - features.mean(-2, keepdim=True)
    if centred.norm() <= 1e-6 * features.norm():  # what is left is rounding, of full rank
        return 1.0
    matrix = rearrange(centred, rows)
    values = torch.linalg.eigvalsh(matrix.T @ matrix).clamp(min=0).sqrt()
    return float(torch.special.entr(values / values.sum()).sum().exp())


@torch.no_grad()
def mean_cosine(features: Tensor) -> float:
    """Mean cosine between latents of different inputs at the same position of `... b d`."""
    b = features.shape[-2]
    unit = torch.nn.functional.normalize(features.double(), dim=-1)
    squared = unit.sum(-2).square().sum(-1)  # b equal pairs, b (b - 1) different ones
    return float(((squared - unit.square().sum((-2, -1))) / (b * (b - 1))).mean())


@torch.no_grad()
def sigreg_over_floor(features: Tensor, *, num_slices: int = 256) -> float:
    """SIGReg of `... b d` on this rank, divided by its value for Gaussian latents."""
    columns = directions(
        0, seed=0, width=features.shape[-1], num_slices=num_slices, device=features.device
    )
    return float(epps_pulley(features.float() @ columns).mean()) / null_floor()
