"""The objective `masked_tokens`: hidden tokens, predicted from visible ones by a transformer.

The visible tokens alone go through the encoder; a narrow transformer with one mask token for each
hidden position fills in the rest; targets are made of the whole clip (V-JEPA: Bardes et al. 2024,
arXiv:2404.08471; Assran et al. 2025, arXiv:2506.09985).
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError, nearest
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import take
from worldmodel.nn.heads import token_latents
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.distances import Distance, check_distance, distances
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.frozen_teacher import FrozenTeacher
from worldmodel.objectives.masks import MaskMixture
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.predicted_latents import PredictedLatents
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets

TargetNorm = Literal["none", "layernorm"]


class MaskedTokens(PredictedLatents):
    """Masked prediction by tokens: see some tokens of a clip, predict the others.

    Where the model makes a latent of each token (`model.latent_per_token`), latents are predicted
    and regularised, which a run without a teacher needs: its head ends in batch normalisation.
    Otherwise the encoder's own tokens are, as in V-JEPA. The regulariser's sample is the batch at
    one position.

    Args:
        model: sizes of the networks that learn.
        masks: what is hidden.
        regulariser: keeps what is predicted from collapsing.
        targets: `live` (with gradient), `stopgrad`, `ema` (of an EMA teacher), or `frozen` (of a
            finished model).
        teacher: the finished model, where targets are `frozen`: whatever `wm.load` reads.
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        distance: of a prediction to its target.
        target_norm: `layernorm` norms each target, as V-JEPA does.
        every_mask: predict under every kind of mask in every step, instead of drawing one; targets
            are made once.
        momentum: of the EMA teacher; or two, of the first and of the last step.
        predictor_width, predictor_depth, predictor_heads: of the transformer that predicts.
    """

    masks: MaskMixture

    def __init__(
        self, model: Architecture, *, masks: MaskMixture, regulariser: Regulariser,
        targets: Targets | Literal["frozen"] = "live", teacher: str | None = None,
        centre: Centre = "episode", distance: Distance = "l1",
        target_norm: TargetNorm = "none", every_mask: bool = False, momentum: Momentum = 0.996,
        predictor_width: int = 96, predictor_depth: int = 2, predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        check_distance(distance)
        check_targets(targets, "frozen")
        if (targets == "frozen") != (teacher is not None):
            raise ConfigError(
                "targets=frozen are those of a finished model, and a teacher makes frozen targets: "
                "say both, objective.targets=frozen objective.teacher=runs/pretrain/NAME"
            )
        if target_norm not in (norms := get_args(TargetNorm)):
            raise ConfigError(f"no target_norm '{target_norm}': {nearest(target_norm, norms)}")
        super().__init__(
            model.encoder, model.head() if model.latent_per_token else None,
            regulariser=regulariser, targets=targets, centre=centre, momentum=momentum,
        )  # fmt: skip
        self.frozen = None if teacher is None else FrozenTeacher(teacher)
        target_width = self.predicted if self.frozen is None else self.frozen.encoder.width
        self.predictor: TokenPredictor = TokenPredictor(
            self.encoder.width, width=predictor_width, depth=predictor_depth,
            heads=predictor_heads, rope="default", mask_tokens=len(masks.kinds),
            target_width=target_width,
        )  # fmt: skip
        self.masks, self.every_mask = masks, every_mask
        self.distance: Distance = distance
        self.target_norm = target_norm

    def forward(
        self, frames: Tensor, *, step: int, generator: Generator, clips_per_video: int = 1
    ) -> Losses:
        """The predictions' loss and the regulariser's; masks come from `generator`."""
        latents = None
        if (self.teacher is None and self.frozen is None) or self.regulariser.acts:
            latents = self._whole(frames)  # b n d
        targets = self._targets(frames, latents)
        grid = self.encoder.grid(frames)
        kinds = self.masks.kinds if self.every_mask else [self.masks.draw(generator)]
        errors = []
        for kind in kinds:
            mask = self.masks.tokens(kind, len(frames), grid, generator).to(frames.device)
            predicted = self.predictor(
                self.encoder(frames, keep=mask.context), mask.context, mask.targets, grid,
                mask_token=self.masks.kinds.index(kind),
            )  # fmt: skip
            errors.append(distances(predicted, take(targets, mask.targets), self.distance).mean())
        features = targets if latents is None else latents
        features = rearrange(features, "b (t m) d -> b t m d", t=grid[0])
        error = torch.stack(errors).mean()
        return self.losses(error, features, step=step, clips_per_video=clips_per_video)

    def _whole(self, frames: Tensor) -> Tensor:
        """What is predicted of each token of the whole clip: b n d."""
        return token_latents(self.encoder, self.head, frames)

    def _targets(self, frames: Tensor, latents: Tensor | None) -> Tensor:
        """What predictions are compared with: b n d."""
        if self.frozen is not None:
            targets = self.frozen(frames, self.encoder.grid(frames))
        elif self.teacher is not None:
            with torch.no_grad():
                targets = token_latents(self.teacher.encoder, self.teacher.head, frames)
        else:
            assert latents is not None
            targets = self.own_targets(latents)
        if self.target_norm == "layernorm":
            targets = F.layer_norm(targets, targets.shape[-1:])
        return targets

    def latents(self, frames: Tensor) -> Tensor:
        """What is predicted of each token: frames b t c h w -> t m b d."""
        t = self.encoder.grid(frames)[0]
        return rearrange(self._whole(frames), "b (t m) d -> t m b d", t=t)

    def world_model(self, size: int) -> WorldModel:
        """Encoder, head and predictor; teachers are not kept, nor what predicts a frozen one."""
        if self.frozen is not None:
            return WorldModel(self.encoder, size=size, head=self.head)
        return super().world_model(size)
