"""The EMA teacher: a copy of encoder and head that follows them slowly and makes the targets."""

import copy

import torch
from torch import Tensor, nn

from worldmodel.nn.encoder import Encoder
from worldmodel.nn.heads import Head, time_step_latents


class EMATeacher(nn.Module):
    """An exponential moving average of an encoder and its head (BYOL, arXiv:2006.07733).

    Args:
        encoder, head: the students, which it starts as a copy of; head is None where there is none.
        momentum: share of itself that it keeps at each step.
    """

    def __init__(self, encoder: Encoder, head: Head | None, *, momentum: float) -> None:
        super().__init__()
        self.encoder, self.head = copy.deepcopy((encoder, head))
        self.momentum = momentum
        self.requires_grad_(False)

    @torch.no_grad()
    def forward(self, frames: Tensor) -> Tensor:
        """Its latents of each time step seen alone: frames b t c h w -> b t m d."""
        assert self.head is not None
        return time_step_latents(self.encoder, self.head, frames)

    @torch.no_grad()
    def follow(self, encoder: Encoder, head: Head | None) -> None:
        """Move towards the students, after the optimiser has stepped."""
        for teacher, student in ((self.encoder, encoder), (self.head, head)):
            if teacher is None or student is None:
                continue
            values = student.state_dict()
            for name, slow in teacher.state_dict().items():
                if slow.is_floating_point():
                    slow.lerp_(values[name], 1 - self.momentum)
                else:
                    slow.copy_(values[name])
