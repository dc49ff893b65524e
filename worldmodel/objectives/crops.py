"""Crops of clips: rectangles of the frame, resized, mirrored and recoloured; each clip its own.

They are cut on the device that the frames are on, all clips of a batch at once; what is drawn is
drawn from a generator on the CPU, so that it is the same on every device.
"""

from dataclasses import dataclass

import torch
from einops import rearrange, reduce
from torch import Generator, Tensor
from torchvision.ops import roi_align
from torchvision.transforms.v2.functional import rgb_to_grayscale

from worldmodel.errors import ConfigError
from worldmodel.nn.across_ranks import own_rows
from worldmodel.runs.processes import world


@dataclass(frozen=True)
class Crops:
    """How many crops there are of a clip, and which; a crop shows the same place in all frames.

    Attributes:
        number: of crops of each clip.
        scale: least and greatest share of the frame's area.
        size: side of the crops in pixels, to which they are resized; None leaves it to who asks.
        ratio: least and greatest width over height.
        flip: share of crops that are mirrored left to right.
        jitter: strength of changes of brightness, contrast and saturation; 0 leaves colours alone.

    Raises:
        ConfigError: a number is out of its range.
    """

    number: int
    scale: tuple[float, float]
    size: int | None = None
    ratio: tuple[float, float] = (3 / 4, 4 / 3)
    flip: float = 0.5
    jitter: float = 0.0

    def __post_init__(self) -> None:
        if self.number < 0 or (self.size is not None and self.size < 1):
            raise ConfigError(
                f"crops have a number of at least 0 and a size of at least 1, got {self.number} "
                f"and {self.size}"
            )
        low, high = self.scale
        if not 0 < low <= high <= 1:
            raise ConfigError(
                "the scale of crops is the least and the greatest share of the frame, between 0 "
                f"and 1: none is larger than the frame; got {tuple(self.scale)}"
            )
        if not 0 < self.ratio[0] <= self.ratio[1]:
            raise ConfigError(
                f"the ratio of crops is positive, the smaller first, got {tuple(self.ratio)}"
            )
        if not 0 <= self.flip <= 1 or not 0 <= self.jitter <= 1:
            raise ConfigError(
                f"flip and jitter of crops lie in [0, 1], got {self.flip} and {self.jitter}"
            )

    def cut(self, frames: Tensor, size: int, generator: Generator) -> Tensor:
        """Crops of frames b t c h w, resized to `size`: (v b) t c size size.

        Bilinear, and the mean of several points where a crop is shrunk (RoIAlign, He et al. 2017,
        arXiv:1703.06870).
        """
        b, t = frames.shape[:2]
        boxes = self.boxes(b, *frames.shape[-2:], generator=generator)  # (v b) 4
        clips = torch.arange(b).repeat(self.number)[:, None]
        crops = roi_align(
            rearrange(frames, "b t c h w -> b (t c) h w"),
            torch.cat([clips, boxes], dim=1).to(frames.device, frames.dtype), size, aligned=True,
        )  # fmt: skip
        crops = rearrange(crops, "n (t c) h w -> n t c h w", t=t)
        mirrored = self._drawn(1, b, generator)[0] < self.flip
        crops = torch.where(_each(mirrored, crops), crops.flip(-1), crops)
        if not self.jitter:
            return crops
        factors = 1 + self.jitter * (2 * self._drawn(3, b, generator) - 1)
        return _recoloured(crops, factors.to(crops.dtype))

    def _drawn(self, count: int, batch: int, generator: Generator) -> Tensor:
        """Numbers in [0, 1) for each crop, of those of all processes: count (v b)."""
        whole = torch.rand(count, self.number * batch * world(), generator=generator)
        return own_rows(whole.T, groups=self.number).T

    def boxes(self, batch: int, height: int, width: int, *, generator: Generator) -> Tensor:
        """Left, top, right and bottom of each crop in pixels of the frame: (v b) 4.

        Area and the logarithm of the ratio are drawn evenly; a side is never longer than the
        frame's.
        """
        share, ratio, x, y = self._drawn(4, batch, generator)
        low, high = self.scale
        area = (low + (high - low) * share) * height * width
        narrow, wide = torch.tensor(self.ratio).log()
        ratio = (narrow + (wide - narrow) * ratio).exp()
        w = (area * ratio).sqrt().clamp(max=width)
        h = (area / ratio).sqrt().clamp(max=height)
        left, top = x * (width - w), y * (height - h)
        return torch.stack([left, top, left + w, top + h], dim=1)


def _recoloured(clips: Tensor, factors: Tensor) -> Tensor:
    """Brightness, contrast and saturation of clips n t c h w times factors 3 n."""
    brightness, contrast, saturation = (_each(factor, clips) for factor in factors)
    clips = clips * brightness
    grey = reduce(rgb_to_grayscale(clips), "n t 1 h w -> n 1 1 1 1", "mean")
    clips = grey.lerp(clips, contrast)
    return rgb_to_grayscale(clips).lerp(clips, saturation).clamp(0, 1)


def _each(values: Tensor, clips: Tensor) -> Tensor:
    """One value for each of clips n t c h w, on their device: n 1 1 1 1."""
    return rearrange(values, "n -> n 1 1 1 1").to(clips.device)
