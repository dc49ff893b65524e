"""How long, how fast and how to train: the settings `optimisation.*`, and the optimiser."""

import math
from dataclasses import dataclass
from typing import Literal, get_args

import torch
from torch import nn

from worldmodel.errors import ConfigError, nearest

Schedule = Literal["cosine", "constant"]
Precision = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class Optimisation:
    """How long and how fast to train. The schedule follows the share of the training that is done.

    Attributes:
        steps: optimiser steps, at most. A finished run goes on when it is opened with more; the
            schedule then follows the share of the new total.
        seconds: stop after so many, or None. With it, results depend on the machine's speed.
        learning_rate: after warm-up.
        weight_decay: of AdamW, on matrices only.
        final_weight_decay: what it has risen to at the end, along half a cosine; None: as it was.
        warmup: share of the training in which the rate rises from zero.
        beta2: how slowly AdamW forgets the squares of gradients.
        schedule: `cosine` falls to a fiftieth at the end, `constant` stays.
        clip: largest norm of the gradient.
        accumulate: batches whose gradients are averaged in one step. Whatever is a statistic of the
            batch (SIGReg, VICReg, batch normalisation) is one of each batch by itself.
        precision: of products of matrices; `bfloat16` is autocast. Weights, moments and
            regularisers are float32 in both.
        compile: let PyTorch compile the blocks of the networks; the first steps take long.
        activation_checkpointing: keep only the inputs of an encoder's blocks for the gradient and
            compute the rest again: less memory, a third more work.
        log_every, save_seconds: how often to log (steps) and to checkpoint (seconds).
    """

    steps: int
    seconds: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    final_weight_decay: float | None = None
    warmup: float = 0.05
    beta2: float = 0.95
    schedule: Schedule = "cosine"
    clip: float = 1.0
    accumulate: int = 1
    precision: Precision = "float32"
    compile: bool = False
    activation_checkpointing: bool = False
    log_every: int = 10
    save_seconds: float = 30.0

    def __post_init__(self) -> None:
        for name, kind in (("schedule", Schedule), ("precision", Precision)):
            value, choices = getattr(self, name), get_args(kind)
            if value not in choices:
                raise ConfigError(f"no {name} '{value}': {nearest(value, choices)}")
        if self.steps < 1 or self.learning_rate <= 0 or not 0 <= self.warmup < 1:
            raise ConfigError(
                "a training needs steps >= 1, learning_rate > 0 and 0 <= warmup < 1, got "
                f"{self.steps}, {self.learning_rate}, {self.warmup}"
            )
        if self.accumulate < 1 or self.log_every < 1:
            raise ConfigError(
                "optimisation.accumulate and log_every count batches and steps, from 1 on; got "
                f"{self.accumulate} and {self.log_every}"
            )

    def progress(self, step: int, elapsed: float) -> float:
        """The share of the training that is done after so many steps and seconds; 1 at the end."""
        return max(step / self.steps, elapsed / self.seconds if self.seconds else 0)

    def rate(self, progress: float) -> float:
        """The learning rate when the share `progress` (0 to 1) of the training is done."""
        if progress < self.warmup:
            return self.learning_rate * progress / self.warmup + self.learning_rate * 1e-3
        if self.schedule == "constant":
            return self.learning_rate
        done = (progress - self.warmup) / (1 - self.warmup)
        return self.learning_rate * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(done, 1))))

    def decay(self, progress: float) -> float:
        """The weight decay when the share `progress` (0 to 1) of the training is done."""
        if self.final_weight_decay is None:
            return self.weight_decay
        left = 0.5 * (1 + math.cos(math.pi * min(progress, 1)))
        return self.final_weight_decay + (self.weight_decay - self.final_weight_decay) * left


def adamw(learner: nn.Module, o: Optimisation) -> torch.optim.Optimizer:
    """AdamW on what is trained; biases, norms and single tokens are not decayed.

    On CUDA it is the fused one. On a CPU that rounds differently, so runs would not be repeated.
    """
    trained = [p for p in learner.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": o.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    on_cuda = bool(trained) and all(p.is_cuda for p in trained)
    return torch.optim.AdamW(
        groups, lr=o.learning_rate, betas=(0.9, o.beta2), fused=on_cuda or None
    )


def set_rates(optimiser: torch.optim.Optimizer, o: Optimisation, progress: float) -> None:
    """Give the optimiser the rate and decay of this share of the training."""
    for group in optimiser.param_groups:
        group["lr"] = o.rate(progress)
        if group["weight_decay"]:
            group["weight_decay"] = o.decay(progress)
