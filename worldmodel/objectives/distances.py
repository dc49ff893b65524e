"""How far predictions are from their targets: one number for each pair of vectors."""

from typing import Literal, get_args

import torch.nn.functional as F
from torch import Tensor

from worldmodel.errors import ConfigError, nearest

Distance = Literal["l1", "l2", "smooth_l1", "cosine"]


def check_distance(distance: str) -> None:
    """Refuse a distance that there is not.

    Raises:
        ConfigError: with those that there are.
    """
    if distance not in get_args(Distance):
        raise ConfigError(f"no distance '{distance}': {nearest(distance, get_args(Distance))}")


def distances(predicted: Tensor, targets: Tensor, distance: Distance) -> Tensor:
    """The distance of each prediction `... d` to its target: `...`.

    Means over the dimensions, so that none depends on the width: of absolute differences (`l1`, as
    V-JEPA, arXiv:2404.08471), of squares (`l2`), of squares below one and absolute differences
    above (`smooth_l1`, as I-JEPA's code), or one minus the cosine.
    """
    if distance == "cosine":
        return 1 - F.cosine_similarity(predicted, targets, dim=-1)
    loss = {"l1": F.l1_loss, "l2": F.mse_loss, "smooth_l1": F.smooth_l1_loss}[distance]
    return loss(predicted, targets, reduction="none").mean(-1)
