"""Scores that rank trainings without labels: how well a probe will do, guessed from what is free.

`loss_over_lambda` needs the log alone; RankMe and LiDAR look at features of clips. How well each
orders trainings was measured by `benchmarks/select.py`. Knows nothing of runs and files.
"""

import math

import scipy.linalg
import torch
from einops import rearrange
from scipy.stats import spearmanr
from torch import Generator, Tensor

from worldmodel.errors import ShapeError
from worldmodel.nn.encoder import Encoder

ALPHA = 0.4
"""The power of lambda that LeJEPA found best (arXiv:2511.08544, figure 11), over its own runs."""

_DELTA, _EPSILON = 1e-4, 1e-7  # LiDAR's ridge; what keeps the logarithm of a share finite


def loss_over_lambda(
    loss: float, *, weight: float | None, batch: int, alpha: float = ALPHA
) -> float:
    """Training loss over lambda to the power alpha (LeJEPA, arXiv:2511.08544, eq. 8); low is good.

    The paper weighs two terms, `(1 - lambda) prediction + lambda T` with `T = N t`: N samples, `t`
    the discrepancy of one. Here the loss is `prediction + weight t`, so that
    `lambda = weight / (weight + N)`, and the paper's loss is `1 - lambda` times ours.

    Args:
        loss: as it is logged.
        weight: of SIGReg; None where nothing has a weight: it is the loss itself then.
        batch: N.
        alpha: 0 is the loss itself, in the paper's units.
    """
    if weight is None:
        return loss
    return (1 - lambda_of(weight, batch)) * loss / lambda_of(weight, batch) ** alpha


def lambda_of(weight: float, batch: int) -> float:
    """LeJEPA's lambda of a batch-free weight of SIGReg; see `loss_over_lambda`."""
    return weight / (weight + batch)


@torch.no_grad()
def rankme(features: Tensor) -> float:
    """RankMe (Garrido et al. 2023, arXiv:2210.02885, eq. 1): the effective rank; high is good.

    The exponential of the entropy of the singular values of the features, which are not centred.

    Args:
        features: n d; n should be several times d.

    Returns:
        Between 1 and the smaller of n and d; nan where a feature is not finite.

    Raises:
        ShapeError: they are not n d.
    """
    if features.ndim != 2:
        raise ShapeError(f"RankMe takes features n d, got {tuple(features.shape)}")
    if not features.isfinite().all():
        return math.nan
    return _rank(torch.linalg.svdvals(features.double()))


@torch.no_grad()
def lidar(features: Tensor) -> float:
    """LiDAR (Thilak et al. 2023, arXiv:2312.04000): rank of what tells clips apart; high is good.

    Each clip is a class, its samples are views of it. Where RankMe counts every direction in which
    features vary, this counts those in which clips differ by more than views of one clip do: the
    effective rank of the eigenvalues of linear discriminant analysis.

    Args:
        features: n q d, of q views of each of n clips.

    Returns:
        Between 1 and the smaller of n - 1 and d; nan where a feature is not finite.

    Raises:
        ShapeError: they are not n q d with at least two clips and two views.
    """
    if features.ndim != 3 or min(features.shape[:2]) < 2:
        raise ShapeError(
            f"LiDAR takes features n q d of two clips and two views at least, got "
            f"{tuple(features.shape)}"
        )
    if not features.isfinite().all():
        return math.nan
    features = features.double()
    n, q, d = features.shape
    means = features.mean(dim=1)
    within = rearrange(features - means[:, None], "n q d -> (n q) d")
    between = means - means.mean(dim=0)
    ridge = _DELTA * torch.eye(d, dtype=torch.float64)
    values = scipy.linalg.eigvalsh(
        (between.T @ between / n).numpy(), (within.T @ within / (n * q) + ridge).numpy()
    )
    return _rank(torch.from_numpy(values).clamp(min=0))


def _rank(values: Tensor) -> float:
    total = values.sum()
    if total <= 0:  # nothing varies
        return 1.0
    shares = values / total + _EPSILON
    return float(torch.special.entr(shares).sum().exp())


@torch.inference_mode()
def mean_tokens(encoder: Encoder, frames: Tensor) -> Tensor:
    """The mean of the tokens of each time step of frames b t c h w in [0, 1]: b t d."""
    t = encoder.grid(frames)[0]
    return rearrange(encoder(frames), "b (t n) d -> b t n d", t=t).mean(dim=2).cpu()


@torch.inference_mode()
def views(encoder: Encoder, frames: Tensor, *, count: int, generator: Generator) -> Tensor:
    """The mean token of each clip, when the encoder sees a random half of its tubes: b q d.

    Masks are the one way of changing a clip that all objectives here share, so they make the views
    that LiDAR compares.

    Args:
        encoder: in evaluation mode.
        frames: b t c h w in [0, 1].
        count: q, views of each clip.
        generator: of the masks.

    Raises:
        ShapeError: a clip has one token only.
    """
    n = math.prod(encoder.grid(frames))
    if n < 2:
        raise ShapeError("views hide half of a clip's tokens, and these clips have one token")
    found = []
    for _ in range(count):
        order = torch.rand(len(frames), n, generator=generator).argsort(dim=1)
        keep = order[:, : n // 2].sort(dim=1).values
        found.append(encoder(frames, keep=keep.to(frames.device)).mean(dim=1).cpu())
    return torch.stack(found, dim=1)


def spearman(a: list[float], b: list[float]) -> float:
    """Spearman's rank correlation; nan where one of the two does not vary."""
    if len(a) < 2 or len(set(a)) < 2 or len(set(b)) < 2:
        return math.nan
    return float(spearmanr(a, b, nan_policy="omit").statistic)
