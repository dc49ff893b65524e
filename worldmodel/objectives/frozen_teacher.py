"""A frozen teacher: any encoder that can be loaded, whose tokens are the targets."""

from pathlib import Path

import torch
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.nn.patches import Grid


class FrozenTeacher(nn.Module):
    """The encoder of a finished model; it never learns, and is always in evaluation mode.

    SALT (arXiv:2509.24317) takes one that was trained on pixels.

    Args:
        path: whatever `wm.load` reads.
    """

    def __init__(self, path: str | Path) -> None:
        super().__init__()
        self.path, self.encoder = str(path), load(path).encoder
        self.requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stay in evaluation mode."""
        return super().train(False)

    @torch.no_grad()
    def forward(self, frames: Tensor, grid: Grid) -> Tensor:
        """Its tokens of frames b t c h w: b n d.

        Raises:
            ConfigError: its tokens do not lie on the student's grid.
        """
        own = self.encoder.grid(frames)
        if own != grid:
            raise ConfigError(
                f"{self.path}: has tokens on a grid t h w = {own} where the model that learns has "
                f"{grid}; give model.encoder the patch and tubelet_frames of the teacher"
            )
        return self.encoder(frames)
