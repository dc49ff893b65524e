"""The objective `masked_pixels`: the pixels of hidden tubes, from visible tokens (VideoMAE)."""

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT, take
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.objectives.masks import MaskMixture
from worldmodel.objectives.objective import Losses, Objective


class MaskedPixels(Objective):
    """Generative masked prediction: see some tokens of a clip, draw the pixels of the others.

    The visible tokens alone go through the encoder; a narrow transformer draws each hidden tube,
    whose pixels are normed, with squared errors (VideoMAE: Tong et al. 2022, arXiv:2203.12602).
    Nothing can collapse, as targets are given. The baseline for every claim that to predict in
    representation space is better; the transformer that draws is thrown away in the end.

    Args:
        model: sizes of the encoder, a `VideoViT`.
        masks: what is hidden.
        predictor_width, predictor_depth, predictor_heads: of the transformer that draws.

    Raises:
        ConfigError: the encoder has no tubes of pixels.
    """

    masks: MaskMixture

    def __init__(
        self, model: Architecture, *, masks: MaskMixture, predictor_width: int = 96,
        predictor_depth: int = 2, predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        super().__init__()
        if not isinstance(model.encoder, VideoViT):
            raise ConfigError(
                f"objective=masked_pixels draws the tubes of a VideoViT, and model.encoder is "
                f"{type(model.encoder).__name__}; say model=tiny, or another objective"
            )
        self.encoder: VideoViT = model.encoder
        tubes = self.encoder.tubelets
        self.predictor = TokenPredictor(
            self.encoder.width, width=predictor_width, depth=predictor_depth,
            heads=predictor_heads, rope="default", mask_tokens=len(masks.kinds),
            target_width=tubes.tubelet_frames * tubes.patch**2 * 3,
        )  # fmt: skip
        self.masks, self.predicted, self.size = masks, self.encoder.width, model.size

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The mean squared error of the normed pixels that are hidden."""
        grid, kind = self.encoder.grid(frames), self.masks.draw(generator)
        mask = self.masks.tokens(kind, len(frames), grid, generator).to(frames.device)
        visible = self.encoder(frames, keep=mask.context)
        drawn = self.predictor(
            visible, mask.context, mask.targets, grid, mask_token=self.masks.kinds.index(kind)
        )
        error = F.mse_loss(drawn, take(self.normed_tubes(frames), mask.targets))
        return Losses(terms={"pixels": error}, features=None, numbers={})

    def energies(self, frames: Tensor, seen: int) -> Tensor:
        """The error of the pixels that are drawn after the first `seen` time steps: b."""
        t, h, w = self.encoder.grid(frames)
        ids = torch.arange(t * h * w, device=frames.device)[None]
        context, targets = ids.split([seen * h * w, (t - seen) * h * w], dim=1)
        drawn = self.predictor.fill_in(self.encoder, frames, context, targets)
        return (drawn - self.normed_tubes(frames)[:, seen * h * w :]).square().mean((1, 2))

    def normed_tubes(self, frames: Tensor) -> Tensor:
        """The pixels of every tube, of mean 0 and variance 1 in each: b n p."""
        i, j = self.encoder.tubelet_frames, self.encoder.tubelets.patch
        tubes = rearrange(frames, "b (t i) c (h j) (w k) -> b (t h w) (i j k c)", i=i, j=j, k=j)
        return F.layer_norm(tubes, tubes.shape[-1:], eps=1e-4)

    def check(self, num_frames: int) -> None:
        """Refuse clips that a mask would leave nothing to see or to predict of."""
        self.masks.check(self.encoder.grid_of(num_frames, self.size, self.size))

    def latents(self, frames: Tensor) -> Tensor:
        """The encoder's tokens: frames b t c h w -> t m b d."""
        t = self.encoder.grid(frames)[0]
        return rearrange(self.encoder(frames), "b (t m) d -> t m b d", t=t)

    def world_model(self, size: int) -> WorldModel:
        """The encoder alone."""
        return WorldModel(self.encoder, size=size)
