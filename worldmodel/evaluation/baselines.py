"""Baselines of judging: what a number is without a model, or with one that has learned nothing.

An untrained model has the weights it starts with; pixels are the frames themselves. Persistence,
which says that nothing changes, is in `surprise.py`; the baselines of acting, random actions and
doing nothing, are in `worldmodel.planners`.
"""

import torch
from torch import Tensor, nn

from worldmodel import checkpoint
from worldmodel.model import WorldModel


def untrained(model: WorldModel, *, seed: int) -> WorldModel:
    """The same networks with the weights that they start with."""
    with torch.random.fork_rng(devices=[]):  # the caller's random numbers stay as they are
        torch.manual_seed(seed)
        return checkpoint.rebuild(model.spec()).to(model.device).eval()


def pixel_features(time_steps: Tensor) -> Tensor:
    """The frames themselves, averaged to 16 x 16 pixels: b i c h w -> b d."""
    return nn.functional.adaptive_avg_pool2d(time_steps.flatten(1, 2), 16).flatten(1)


def pixel_change(frames: Tensor) -> Tensor:
    """Mean absolute difference of consecutive frames: t c h w -> t-1."""
    return (frames[1:] - frames[:-1]).abs().mean(dim=(1, 2, 3))
