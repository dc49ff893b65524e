"""Has the encoder collapsed? Four numbers about a batch of latents, and the alarm they raise.

One number is not enough: an effective rank looks healthy while the scale goes to zero, and SIGReg
is weak against a moderate loss of rank. All are about one position at a time, as SIGReg is: latents
that differ between positions but not between inputs have collapsed. Computed on this rank only.
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

# Where an encoder that is regularised to N(0, 1) has clearly failed.
MIN_STD = 0.3
MAX_COSINE = 0.9
MIN_RANK_SHARE = 0.05
MAX_DISCREPANCY = 0.05  # (SIGReg - floor) / N; total collapse is 0.402


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` finds."""

    feature_std: float  # 1 for latents that satisfy SIGReg, 0 at collapse
    effective_rank: float  # between 1 and the width
    mean_cosine: float  # in [-1, 1]; 1 when all inputs look alike
    sigreg_over_floor: float  # 1 for Gaussian latents, 0.382 N at collapse
    alarm: str | None  # one line that says what has collapsed, or None

    def numbers(self) -> dict[str, float]:
        """The four numbers by name, for a log."""
        return {k: v for k, v in dataclasses.asdict(self).items() if k != "alarm"}


def diagnose(features: Tensor) -> Diagnosis:
    """All diagnostics of latents `... b d`, with the alarm.

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
        "mean_cosine": mean_cosine(features),
        "sigreg_over_floor": sigreg_over_floor(features),
    }
    b, d = features.shape[-2:]
    most = min(d, features[..., 0].numel() - features[..., 0, 0].numel())
    return Diagnosis(**numbers, alarm=alarm(**numbers, batch=b, max_rank=most))


def alarm(
    *,
    feature_std: float,
    effective_rank: float,
    mean_cosine: float,
    sigreg_over_floor: float,
    batch: int,
    max_rank: int,
) -> str | None:
    """One line that names every number that is where only collapsed latents are, or None.

    Args:
        feature_std: see `Diagnosis`, as the next three.
        effective_rank: see `Diagnosis`.
        mean_cosine: see `Diagnosis`.
        sigreg_over_floor: see `Diagnosis`.
        batch: samples at each position.
        max_rank: the highest rank that the latents could have: their width, or fewer samples.
    """
    floor = null_floor()
    discrepancy = (sigreg_over_floor - 1) * floor / batch
    # Written so that a number that is not finite raises the alarm too.
    found = [
        (feature_std >= MIN_STD, f"standard deviation {feature_std:.3g} < {MIN_STD}"),
        (
            effective_rank >= MIN_RANK_SHARE * max_rank,
            f"effective rank {effective_rank:.3g} of {max_rank}",
        ),
        (mean_cosine <= MAX_COSINE, f"mean cosine {mean_cosine:.3g} > {MAX_COSINE}"),
        (
            discrepancy <= MAX_DISCREPANCY,
            f"SIGReg {sigreg_over_floor:.3g} times its floor at batch {batch}",
        ),
    ]
    wrong = [words for healthy, words in found if not healthy]
    return f"latents have collapsed: {', '.join(wrong)}" if wrong else None


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
    features = features.double()
    if not features.isfinite().all():
        return math.nan
    centred = features - features.mean(-2, keepdim=True)
    if centred.norm() <= 1e-6 * features.norm():  # what is left is rounding, of full rank
        return 1.0
    rows = rearrange(centred, "... b d -> (... b) d")
    values = torch.linalg.eigvalsh(rows.T @ rows).clamp(min=0).sqrt()
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
