"""The objective `views`: crops of a clip should have latents alike, and those of clips differ.

LeJEPA (Balestriero and LeCun 2025, arXiv:2511.08544, Alg. 2) on single frames, LeVJEPA
(arXiv:2608.27395) on clips of which most tokens are dropped. Nothing is predicted: all views go
through one encoder, and nothing is masked, stopped or averaged over time.
"""

from typing import Literal

import torch
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.model import WorldModel
from worldmodel.nn.across_ranks import own_rows
from worldmodel.nn.encoder import Encoder, VideoViT
from worldmodel.nn.heads import TokenHead
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.objective import Losses, Objective
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.runs.processes import world

Group = Literal["global_views", "local_views"]

LOCAL_SHARE = 3 / 7
"""Side of a local crop over that of a global one: 96 of 224 pixels in LeVJEPA, 98 in LeJEPA."""


class Views(Objective):
    """Invariance: the latent of each view is drawn to the mean of those of the global views.

    A view is a crop of all frames of a clip, at one place. The mean of its tokens goes through a
    projector, whose batch statistics are of all views together. The regulariser's sample is the
    batch in one view; it keeps the latents of different clips apart.

    There is no `centre`, unlike in objectives that predict: a view has one latent for the whole
    clip, in which nothing changes over time, and what all views share is what it is to hold. So it
    may be of the background alone (see docs/pretraining.md).

    Args:
        model: sizes of the encoder, and the width of a latent.
        regulariser: keeps the latents from collapsing.
        global_views: large crops. Their size is by default the model's.
        local_views: small ones. Their size is by default 3/7 of the model's in whole patches for a
            `VideoViT`, and the model's for other encoders, many of which take one size only.
        drop: share of the tokens of each view that are dropped at random before the encoder's first
            block (LeVJEPA drops .95).
        projector_width: of the hidden layer between encoder and latents.

    Raises:
        ConfigError: there is nothing to compare, or crops are larger than the frames, or the
            encoder cannot take them.
    """

    def __init__(
        self, model: Architecture, *, regulariser: Regulariser, global_views: Crops,
        local_views: Crops, drop: float = 0.0, projector_width: int = 512,
    ) -> None:  # fmt: skip
        super().__init__()
        if global_views.number < 1 or global_views.number + local_views.number < 2:
            raise ConfigError(
                "objective=views compares views with global ones: it needs one of these and another"
                f" view, got objective.global_views.number={global_views.number} and "
                f"objective.local_views.number={local_views.number}"
            )
        if not 0 <= drop < 1:
            raise ConfigError(
                f"objective.drop must lie in [0, 1), got {drop}: nothing would be seen"
            )
        self.encoder, self.size, self.drop = model.encoder, model.size, drop
        self.groups: dict[Group, Crops] = {
            "global_views": global_views, "local_views": local_views
        }  # fmt: skip
        self.sides = {name: self._side(name) for name, crops in self.groups.items() if crops.number}
        self.head = TokenHead(self.encoder.width, dim=model.latent_width, hidden=projector_width)
        self.regulariser, self.predicted = regulariser, model.latent_width
        self.wants_gaussian = regulariser.wants_gaussian

    def _side(self, name: Group) -> int:
        """The side of the crops of a group in pixels."""
        side, setting = self.groups[name].size, f"objective.{name}.size"
        if side is None:
            side = local_side(self.encoder, self.size) if name == "local_views" else self.size
        if side > self.size:
            raise ConfigError(
                f"{setting}={side}: crops would be larger than the frames, which have "
                f"{self.size} x {self.size} pixels; say {self.size} or less, or a larger model.size"
            )
        try:
            self.encoder.grid_of(self.encoder.tubelet_frames, side, side)
        except ShapeError as cause:
            raise ConfigError(
                f"{setting}={side}: the encoder cannot take such crops "
                f"({str(cause).partition(';')[0]}); {remedy(self.encoder, self.size)}"
            ) from cause
        return side

    def check(self, num_frames: int) -> None:
        """Refuse clips of which `drop` would leave a view no token."""
        for name, side in self.sides.items():
            self._kept(name, self.encoder.grid_of(num_frames, side, side))

    def _kept(self, name: Group, grid: tuple[int, int, int]) -> int:
        """How many tokens of a view are not dropped."""
        t, h, w = grid
        kept = round(t * h * w * (1 - self.drop))
        if not kept:
            raise ConfigError(
                f"objective.drop={self.drop} leaves no token of {name.replace('_', ' ')}, whose "
                f"grid is t h w = {grid}; drop less, take longer clips, or say a larger "
                f"objective.{name}.size"
            )
        return kept

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The views' distance from the mean of the global ones, and the regulariser's penalty.

        Crops and dropped tokens come from `generator`.
        """
        pooled = [self._pooled(name, frames, generator) for name in self.sides]
        latents = self._projected(torch.cat(pooled), clips=len(frames))  # v b d
        middle = latents[: self.groups["global_views"].number].mean(0)
        regularisation = self.regulariser(latents, step=step)
        return Losses(
            terms={
                "invariance": (latents - middle).square().mean(),
                "regulariser": regularisation.loss,
            },
            features=rearrange(latents.detach(), "v b d -> v 1 b d"),
            numbers={"sigreg_over_floor": regularisation.over_floor},
        )

    def _pooled(self, name: Group, frames: Tensor, generator: Generator) -> Tensor:
        """The mean of the tokens of each view of a group: (v b) d."""
        views = self.groups[name].cut(frames, self.sides[name], generator)
        if not self.drop:
            return self.encoder(views).mean(1)
        t, h, w = grid = self.encoder.grid(views)
        drawn = torch.rand(len(views) * world(), t * h * w, generator=generator)
        order = own_rows(drawn, groups=self.groups[name].number).argsort(1)
        keep = order[:, : self._kept(name, grid)].sort(1).values
        return self.encoder(views, keep=keep.to(frames.device)).mean(1)

    def _projected(self, pooled: Tensor, *, clips: int) -> Tensor:
        """Mean tokens (v b) d -> latents v b d."""
        return rearrange(self.head(pooled[:, None]), "(v b) 1 d -> v b d", b=clips)

    def latents(self, frames: Tensor) -> Tensor:
        """The latent of each clip as a whole, neither cropped nor thinned: b t c h w -> 1 1 b d."""
        return self._projected(self.encoder(frames).mean(1), clips=len(frames))[:, None]

    def energies(self, frames: Tensor, seen: int) -> Tensor:
        """How far the latent of the first `seen` time steps is from that of the others: b.

        A joint embedding without a predictor: both are views of one clip, whole in space.
        """
        first = seen * self.encoder.tubelet_frames
        parts = (self.latents(part)[0, 0] for part in (frames[:, :first], frames[:, first:]))
        beginning, end = parts
        return (beginning - end).square().mean(-1)

    def world_model(self, size: int) -> WorldModel:
        """The encoder alone; the projector is not kept, as in LeJEPA."""
        return WorldModel(self.encoder, size=size)


def local_side(encoder: Encoder, size: int) -> int:
    """The side of local crops where none is said: of frames of `size`, as an encoder takes them."""
    if not isinstance(encoder, VideoViT):
        return size
    patch = encoder.tubelets.patch
    return max(1, round(size * LOCAL_SHARE / patch)) * patch


def remedy(encoder: Encoder, size: int) -> str:
    """What to say instead of a size that an encoder cannot take."""
    if isinstance(encoder, VideoViT):
        return f"say a multiple of model.encoder.patch={encoder.tubelets.patch}"
    return f"leave it out, and crops have the frames' size, {size}"
