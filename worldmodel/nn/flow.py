"""Optical flow from each time step to the next, coarse to fine, out of an encoder's tokens.

A vision transformer has tokens of one scale only. Here each scale of a pyramid is read from them by
one linear layer, which gives a token as many cells as the scale has in a patch. From the coarsest
scale to the finest, the later map is moved back by the flow so far, compared with the earlier one
within a few cells, and a small network, the same at every scale, corrects the flow (PWC-Net: Sun et
al. 2018, arXiv:1709.02371; within a joint-embedding architecture: Bardes et al. 2023,
arXiv:2307.12698).

Knows nothing about losses: `worldmodel.objectives.motion` does.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.blocks import arguments
from worldmodel.nn.encoder import Encoder


def warp(maps: Tensor, flow: Tensor) -> tuple[Tensor, Tensor]:
    """Maps, each cell of which is fetched from where the flow leads: `maps(p + flow(p))`.

    With the flow from the first of two time steps to the second, the maps of the second look like
    those of the first. Values between cells are bilinear.

    Args:
        maps: b c h w.
        flow: b 2 h w, in cells, x to the right and y down.

    Returns:
        The moved maps, b c h w, and where they are known: b 1 h w, bool, False where the flow leads
        out of the frame (there the nearest cell of the border is taken).
    """
    h, w = maps.shape[-2:]
    x = torch.arange(w, device=maps.device) + flow[:, 0]
    y = torch.arange(h, device=maps.device)[:, None] + flow[:, 1]
    # In grid_sample's units the frame reaches from -1 to 1, outer edges of cells included.
    places = torch.stack([(2 * x + 1) / w - 1, (2 * y + 1) / h - 1], dim=-1)
    moved = F.grid_sample(maps, places, padding_mode="border", align_corners=False)
    is_inside = (x > -0.5) & (x < w - 0.5) & (y > -0.5) & (y < h - 0.5)
    return moved, is_inside[:, None]


def correlation(first: Tensor, second: Tensor, reach: int) -> Tensor:
    """How alike each cell of the first map is to the cells around it in the second.

    Args:
        first: b c h w.
        second: b c h w; beyond its border there are zeros.
        reach: cells to each side.

    Returns:
        b k h w, the mean product over channels, for each of the k = (2 reach + 1)² offsets, row by
        row.
    """
    h, w = first.shape[-2:]
    wide = F.pad(second, (reach,) * 4)
    offsets = range(2 * reach + 1)
    # One by one: all shifted copies at once would take k times the memory.
    likeness = [(first * wide[..., i : i + h, j : j + w]).mean(1) for i in offsets for j in offsets]
    return torch.stack(likeness, dim=1)


def resized(flow: Tensor, height: int, width: int) -> Tensor:
    """A flow (b 2 h w, in cells) on a map of another size, in that map's cells."""
    h, w = flow.shape[-2:]
    scale = flow.new_tensor([width / w, height / h])[:, None, None]
    size = (height, width)
    return F.interpolate(flow, size=size, mode="bilinear", align_corners=False) * scale


class FlowHead(nn.Module):
    """A pyramid of feature maps from the tokens of a time step, and the flow between two pyramids.

    An untrained one says that nothing moves.

    Args:
        token_width: dimension of a token.
        levels: scales, each twice as fine as the one before; the first has a cell for each token.
        width: channels of the feature maps.
        hidden: channels of the network that corrects the flow.
        reach: cells to each side within which two maps are compared.

    Raises:
        ConfigError: there is no level, or nothing to compare.
    """

    def __init__(
        self, token_width: int, *, levels: int = 3, width: int = 16, hidden: int = 32,
        reach: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.spec = arguments(locals())
        if min(levels, width, hidden, reach) < 1:
            raise ConfigError(
                f"a flow head's levels, width, hidden and reach are at least 1, got {levels}, "
                f"{width}, {hidden} and {reach}"
            )
        self.reach = reach
        self.scales = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(token_width, width * 4**level, 1),
                nn.PixelShuffle(2**level),
                nn.GELU(),
                nn.Conv2d(width, width, 3, padding=1),  # across the borders of patches
                nn.InstanceNorm2d(width),
            )
            for level in range(levels)
        )
        seen = (2 * reach + 1) ** 2 + width + 2
        self.correct = nn.Sequential(
            nn.Conv2d(seen, hidden, 3, padding=1), nn.GELU(),
            nn.Conv2d(hidden, hidden, 3, padding=1), nn.GELU(),
            nn.Conv2d(hidden, 2, 3, padding=1),
        )  # fmt: skip
        for weights in self.correct[-1].parameters():
            nn.init.zeros_(weights)

    def pyramids(self, encoder: Encoder, frames: Tensor) -> list[Tensor]:
        """The feature maps of each time step seen alone, from coarse to fine.

        Alone, because a map that knew the next time step would need no comparison with it.

        Args:
            encoder: makes the tokens.
            frames: b (t i) c h w in [0, 1].

        Returns:
            For each scale b t c h w.

        Raises:
            ShapeError: the frames do not divide into time steps, or there is one only.
        """
        i, length = encoder.tubelet_frames, frames.shape[1]
        if length % i or length < 2 * i:
            raise ShapeError(
                f"flow leads from one time step of {i} frame{'s' * (i > 1)} to the next: a clip "
                f"needs {2 * i}, {3 * i} or more frames, a multiple of {i}, got {length}"
            )
        tubes = rearrange(frames, "b (t i) c h w -> (b t) i c h w", i=i)
        _, h, _ = encoder.grid(tubes)
        tokens = rearrange(encoder(tubes), "b (h w) d -> b d h w", h=h)
        b = len(frames)
        return [rearrange(scale(tokens), "(b t) c h w -> b t c h w", b=b) for scale in self.scales]

    def forward(self, first: Sequence[Tensor], second: Sequence[Tensor]) -> list[Tensor]:
        """The flow from the first of two pyramids (b c h w each) to the second.

        Returns:
            For each scale b 2 h w, in its cells, x to the right and y down.
        """
        flow = first[0].new_zeros(len(first[0]), 2, *first[0].shape[-2:])
        flows = []
        for one, other in zip(first, second, strict=True):
            flow = resized(flow, *one.shape[-2:])
            costs = correlation(one, warp(other, flow)[0], self.reach)
            flow = flow + self.correct(torch.cat([costs, one, flow], dim=1))
            flows.append(flow)
        return flows

    def flow(self, encoder: Encoder, frames: Tensor) -> Tensor:
        """Where each pixel goes, from the last frame of each time step to that of the next.

        Args:
            encoder: makes the tokens.
            frames: b (t i) c h w in [0, 1].

        Returns:
            b t-1 2 h w, pixels per frame, x to the right and y down.

        Raises:
            ShapeError: see `pyramids`.
        """
        maps = self.pyramids(encoder, frames)
        before, after = ([x[:, part].flatten(0, 1) for x in maps] for part in EARLIER_LATER)
        over_a_step = resized(self(before, after)[-1], *frames.shape[-2:])
        flow = over_a_step / encoder.tubelet_frames
        return rearrange(flow, "(b t) x h w -> b t x h w", b=len(frames))


EARLIER_LATER = (slice(None, -1), slice(1, None))
"""Of the time steps of a clip, those that have a next one and those that have one before."""
