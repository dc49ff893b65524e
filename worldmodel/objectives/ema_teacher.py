"""The EMA teacher: a copy of encoder and head that follows them slowly and makes the targets."""

import copy

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents

Momentum = float | tuple[float, float]


class EMATeacher(nn.Module):
    """An exponential moving average of an encoder and its head (BYOL, arXiv:2006.07733).

    Args:
        encoder, head: the students, which it starts as a copy of; head is None where there is none.
        momentum: share of itself that it keeps at each step; or two, of the first and of the last
            step, between which it rises evenly (V-JEPA, arXiv:2404.08471).

    Raises:
        ConfigError: it is not between 0 and 1.
    """

    def __init__(self, encoder: Encoder, head: Head | None, *, momentum: Momentum) -> None:
        super().__init__()
        self.encoder, self.head = copy.deepcopy((encoder, head))
        self.first, self.last = (
            (momentum, momentum) if isinstance(momentum, int | float) else momentum
        )
        if not 0 <= min(self.first, self.last) <= max(self.first, self.last) <= 1:
            raise ConfigError(f"momentum lies between 0 and 1, got {momentum}")
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Its latents of each time step seen alone: frames b t c h w -> b t m d."""
        assert self.head is not None
        return time_step_latents(self.encoder, self.head, frames)

    @torch.no_grad()
    def follow(self, encoder: Encoder, head: Head | None, progress: float = 0.0) -> None:
        """Move towards the students, after the optimiser has stepped.

        Args:
            encoder: of the students.
            head: of the students.
            progress: share of the training that is done.
        """
        momentum = self.first + (self.last - self.first) * min(progress, 1)
        for teacher, student in ((self.encoder, encoder), (self.head, head)):
            if teacher is None or student is None:
                continue
            values = student.state_dict()
            for name, slow in teacher.state_dict().items():
                if slow.is_floating_point():
                    slow.lerp_(values[name], 1 - momentum)
                else:
                    slow.copy_(values[name])
