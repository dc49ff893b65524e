"""What tells a right optical flow from a wrong one without labels: terms of `motion`'s loss.

Batches of flows here go both ways: the first half from earlier time steps to later ones, the second
half back, in the same order. Flows are in cells of their map, x to the right and y down.
"""

import torch.nn.functional as F
from einops import reduce
from torch import Tensor

from worldmodel.nn.flow import warp


def shrunk(images: Tensor, after: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Images (b c h w) at the size of a flow's map.

    Large motions are found in small images: where things moved further than their texture is
    coarse, the error does not say in which direction it would fall.
    """
    small, small_after = (F.interpolate(x, flow.shape[-2:], mode="area") for x in (images, after))
    return small, small_after


def image_error(images: Tensor, after: Tensor, flow: Tensor) -> Tensor:
    """How unlike images (b c h w in [0, 1]) are to those after them, moved back by the flow.

    A mix of structural dissimilarity in windows of 3 x 3 pixels (Wang et al. 2004) and absolute
    difference, as in unsupervised flow (ARFlow: Liu et al. 2020, arXiv:2003.13045, section 3.1),
    over the pixels that the flow keeps in the frame.
    """
    moved, is_inside = warp(after, flow)
    structure = dissimilarity(images, moved).mean(1, keepdim=True)
    difference = (images - moved).abs().mean(1, keepdim=True)
    return _mean_where(0.85 * structure + 0.15 * difference, is_inside)


def dissimilarity(first: Tensor, second: Tensor) -> Tensor:
    """(1 - SSIM) / 2 of two images (b c h w in [0, 1]), 0 where they are alike: b c h w."""

    def local_mean(x: Tensor) -> Tensor:
        return F.avg_pool2d(F.pad(x, (1, 1, 1, 1), mode="replicate"), 3, stride=1)

    mean_1, mean_2 = local_mean(first), local_mean(second)
    variances = local_mean(first**2) - mean_1**2 + local_mean(second**2) - mean_2**2
    covariance = local_mean(first * second) - mean_1 * mean_2
    c1, c2 = 0.01**2, 0.03**2
    means = (2 * mean_1 * mean_2 + c1) / (mean_1**2 + mean_2**2 + c1)
    return ((1 - means * (2 * covariance + c2) / (variances + c2)) / 2).clamp(0, 1)


def feature_error(maps: Tensor, after: Tensor, flow: Tensor) -> Tensor:
    """Squared difference of maps (b c h w) and those after them, moved back by the flow."""
    moved, is_inside = warp(after, flow)
    return _mean_where((maps - moved).square().mean(1, keepdim=True), is_inside)


def cycle_error(maps: Tensor, flow: Tensor) -> Tensor:
    """Squared difference of maps (b c h w) and themselves, moved along the flow there and back.

    The two flows are joined before the maps are moved: moving twice would blur twice, and flows
    that are each other's inverse would not be free.
    """
    back, is_inside = warp(flow.roll(len(flow) // 2, dims=0), flow)
    moved, _ = warp(maps, flow + back)
    return _mean_where((maps - moved).square().mean(1, keepdim=True), is_inside)


def roughness(images: Tensor, flow: Tensor, *, edge: float = 10.0) -> Tensor:
    """How much the flow (b 2 h w) changes between neighbours where images (b c h w) do not.

    The flow's absolute differences in x and y, each times exp(-edge |difference of the image|).
    """
    total = flow.new_zeros(())
    for axis in (-2, -1):
        change = reduce(images.diff(dim=axis).abs(), "b c h w -> b 1 h w", "mean")
        total = total + ((-edge * change).exp() * flow.diff(dim=axis).abs()).mean()
    return total


def _mean_where(values: Tensor, is_counted: Tensor) -> Tensor:
    """The mean of the values that count; 0 where none does."""
    return (values * is_counted).sum() / is_counted.sum().clamp(min=1)
