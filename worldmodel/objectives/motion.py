"""The objective `motion`: optical flow beside any other objective, on one encoder (MC-JEPA).

A content objective makes the encoder tell what is there; to find the flow as well, its tokens must
tell where each part is and where it goes. Nobody labels flow: the right one makes the next time
step, moved back by it, look like this one, in feature maps and in pixels (Bardes, Ponce, LeCun
2023, arXiv:2307.12698, section 3).
"""

from collections.abc import Callable
from dataclasses import dataclass, fields

import torch
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.across_ranks import total
from worldmodel.nn.encoder import Encoder
from worldmodel.nn.flow import EARLIER_LATER, FlowHead, resized
from worldmodel.nn.patches import Grid
from worldmodel.objectives.flow_losses import (
    cycle_error,
    feature_error,
    image_error,
    roughness,
    shrunk,
)
from worldmodel.objectives.masks import MaskExample
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.objectives.regularisers import VICReg


@dataclass(frozen=True)
class FlowWeights:
    """How much each term of the flow counts, beside the content's losses as they are.

    Attributes:
        pixels: the next frame, moved back by the flow, looks like this one.
        features: so do its feature maps, at each scale.
        smoothness: neighbouring pixels of like colour move alike.
        cycle: there and back again leads to where one was.
        spread: feature maps differ between clips and their channels from each other: what keeps
            `features` from making them all alike.
    """

    pixels: float = 10.0
    features: float = 0.2
    smoothness: float = 0.1
    cycle: float = 0.2
    spread: float = 0.5

    def __post_init__(self) -> None:
        for field in fields(self):
            if not getattr(self, field.name) >= 0:
                raise ConfigError(
                    f"objective.weights.{field.name} must be 0 or more, got "
                    f"{getattr(self, field.name)}"
                )


class Motion(Objective):
    """Optical flow between neighbouring time steps, and a content objective.

    Where the paper takes a convolutional network's own scales, here they are made from the tokens
    of each time step (see `FlowHead`). The flow runs both ways, between the last frames of the time
    steps. Both objectives see the same clips.

    Args:
        model: sizes of the networks that learn.
        content: makes the other objective, of the same sizes.
        weights: of the terms of the flow.
        levels: scales of feature maps.
        width: channels of the feature maps.
        reach: cells to each side within which maps are compared, at each scale.

    Raises:
        ConfigError: a time step has one token only, or a size makes no sense.
    """

    encoder: Encoder

    def __init__(
        self, model: Architecture, *, content: Callable[[Architecture], Objective],
        weights: FlowWeights | None = None, levels: int = 3, width: int = 16, reach: int = 1,
    ) -> None:  # fmt: skip
        super().__init__()
        if model.tokens < 2:
            raise ConfigError(
                f"objective=motion compares the tokens of a time step with those around them, and "
                f"{type(model.encoder).__name__} makes one of {model.size} x {model.size} pixels; "
                "say a larger model.size, a smaller model.encoder.patch or an earlier stage"
            )
        self.content = content(model)
        self.predicted, self.wants_gaussian = self.content.predicted, self.content.wants_gaussian
        # Not registered as a part: it is one of the content's, and saved with it.
        vars(self)["encoder"] = model.encoder
        self.weights = weights or FlowWeights()
        self.flow_head = FlowHead(model.encoder.width, levels=levels, width=width, reach=reach)
        self.spread = VICReg(variance=1.0, covariance=0.04)

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The content's losses, and those of the flow.

        Raises:
            ShapeError: the clips have one time step only.
        """
        found = self.content(
            frames, step=step, generator=generator, clips_per_video=clips_per_video
        )
        maps = self.flow_head.pyramids(self.encoder, frames)
        i = self.encoder.tubelet_frames
        last = frames[:, i - 1 :: i]
        # Once from each time step to the next and once back, in one batch.
        (images, after), *pairs = (there_and_back(x) for x in (last, *maps))
        flows = self.flow_head([one for one, _ in pairs], [other for _, other in pairs])
        finest = resized(flows[-1], *images.shape[-2:])
        moved = image_error(images, after, finest)
        pixels, features, cycle = [moved], [], []
        for pair, flow in zip(pairs, flows, strict=True):
            pixels.append(image_error(*shrunk(images, after, flow), flow))
            features.append(feature_error(*pair, flow))
            cycle.append(cycle_error(pair[0], flow))
        terms = {
            "pixels": torch.stack(pixels).mean(),
            "features": torch.stack(features).mean(),
            "smoothness": roughness(images, finest),
            "cycle": torch.stack(cycle).mean(),
            "spread": torch.stack([self._spread(x, step) for x in maps]).mean(),
        }
        weighted = {f"flow_{name}": getattr(self.weights, name) * x for name, x in terms.items()}
        with torch.no_grad():
            still = image_error(images, after, torch.zeros_like(finest))
        return Losses(
            terms={**found.terms, **weighted},
            features=found.features,
            numbers={
                **found.numbers,
                "flow_error_over_still": total(moved.detach()) / total(still),
            },
        )

    def energies(self, frames: Tensor, seen: int) -> Tensor:
        """Those of the content objective: flow needs the end of a clip to be seen."""
        return self.content.energies(frames, seen)

    def mask_examples(self, grid: Grid, generator: Generator) -> list[MaskExample]:
        """Those of the content objective: the flow is found from all that there is."""
        return self.content.mask_examples(grid, generator)

    def check(self, num_frames: int) -> None:
        """Refuse clips of one time step, and those that the content objective refuses."""
        if num_frames < 2 * (i := self.encoder.tubelet_frames):
            raise ConfigError(
                f"objective=motion finds the flow from one time step of {i} frames to the next, "
                f"and num_frames={num_frames} is one alone; say num_frames={2 * i} or more"
            )
        self.content.check(num_frames)

    def _spread(self, maps: Tensor, step: int) -> Tensor:
        """VICReg's variance and covariance of maps b t c h w; the sample is the batch at a cell."""
        return self.spread(rearrange(maps, "b t c h w -> (t h w) b c"), step=step).loss

    def latents(self, frames: Tensor) -> Tensor:
        """The content's latents: frames b t c h w -> t m b d."""
        return self.content.latents(frames)

    def world_model(self, size: int) -> WorldModel:
        """The content's model, which can tell the flow of a clip too."""
        model = self.content.world_model(size)
        model.flow_head = self.flow_head
        return model

    def after_step(self, progress: float) -> None:
        """Tell the content objective, which may have an EMA teacher to move."""
        self.content.after_step(progress)


def there_and_back(maps: Tensor) -> tuple[Tensor, Tensor]:
    """Neighbouring time steps of b t c h w as two batches: the first half earlier to later."""
    before, after = (maps[:, part].flatten(0, 1) for part in EARLIER_LATER)
    return torch.cat([before, after]), torch.cat([after, before])
