"""Augmentations of batches of clips before a model sees them, on the device that they are on.

All frames of a clip are changed alike, each clip in its own way. The changes are a function of
`(seed, step)`, so an interrupted training goes on with the same images.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from worldmodel.errors import ConfigError

_STREAM = 4  # keeps these draws apart from others of the same seed


class Transforms(ABC):
    """From clips as they are read to clips as they are learnt from."""

    def frame_size(self, size: int) -> int:
        """Side of the square frames that it takes to make frames of `size`."""
        return size

    @abstractmethod
    def __call__(
        self, frames: Tensor, *, size: int, seed: int, step: int, before: int = 0
    ) -> Tensor:
        """Frames `b t c h w` in [0, 1] -> `b t c size size` in [0, 1], on the same device.

        Args:
            frames: of a batch, or of the part of it that a process has.
            size: side of the frames that are made.
            seed: decides what is drawn, with the step.
            step: of the training.
            before: so many clips of the batch, before these, are with other processes.
        """


@dataclass(frozen=True)
class Plain(Transforms):
    """Clips as they are read: a random square and a flip, drawn where the data are read."""

    def __call__(
        self, frames: Tensor, *, size: int, seed: int, step: int, before: int = 0
    ) -> Tensor:
        """The frames themselves."""
        return frames


@dataclass(frozen=True)
class VJEPA(Transforms):
    """Random resized crops, as V-JEPA pretrains (Bardes et al. 2024, appendix), and a flip.

    Theirs crops the whole frame; here the crop is out of the random square that was read.

    Attributes:
        scale: least and greatest share of the square's area.
        ratio: least and greatest width over height of the crop.
        flip: share of clips that are mirrored left to right.
        jitter: strength of changes of brightness, contrast and saturation, a quarter of it for
            hue; 0 (as V-JEPA has it) leaves colours alone.
        oversize: the square is read at so many times the size, so that small crops stay sharp.
    """

    scale: tuple[float, float] = (0.3, 1.0)
    ratio: tuple[float, float] = (0.75, 1.35)
    flip: float = 0.5
    jitter: float = 0.0
    oversize: float = 1.0

    def __post_init__(self) -> None:
        low, high = self.scale
        if not 0 < low <= high <= 1 or not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(
                f"scale must lie in (0, 1] and ratio be positive, smaller numbers first, got "
                f"{tuple(self.scale)} and {tuple(self.ratio)}"
            )
        if not 0 <= self.flip <= 1 or not 0 <= self.jitter <= 1 or self.oversize < 1:
            raise ConfigError(
                f"flip and jitter must lie in [0, 1] and oversize be at least 1, got {self.flip}, "
                f"{self.jitter} and {self.oversize}"
            )

    def frame_size(self, size: int) -> int:
        """The size times `oversize`."""
        return round(size * self.oversize)

    def __call__(
        self, frames: Tensor, *, size: int, seed: int, step: int, before: int = 0
    ) -> Tensor:
        """Each clip through its own crop, flip and colours."""
        crop = v2.RandomResizedCrop(size, scale=tuple(self.scale), ratio=tuple(self.ratio))
        flip = v2.RandomHorizontalFlip(self.flip)
        jitter = v2.ColorJitter(self.jitter, self.jitter, self.jitter, self.jitter / 4)
        change = v2.Compose([crop, flip, *([jitter] if self.jitter else [])])
        state = np.random.SeedSequence((seed, step, _STREAM)).generate_state(1, np.uint64)
        # torchvision draws from torch's own generator of the CPU, whatever the frames are on.
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(int(state[0]))
            nothing = torch.empty(frames.shape[-3:], device="meta")
            for _ in range(before):  # draw what those clips draw
                crop.make_params([nothing])
                flip(nothing)
                if self.jitter:
                    jitter.make_params([nothing])
            return torch.stack([change(clip) for clip in frames]).clamp(0, 1)
