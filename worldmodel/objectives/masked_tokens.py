"""The objective `masked_tokens`: hidden tokens, predicted from visible ones by a transformer.

The visible tokens alone go through the encoder; a narrow transformer with one mask token for each
hidden position fills in the rest; targets are made of the whole clip (V-JEPA: Bardes et al. 2024,
arXiv:2404.08471; Assran et al. 2025, arXiv:2506.09985).
"""

from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Generator, Tensor, nn

from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT, take
from worldmodel.nn.patches import Grid
from worldmodel.nn.token_predictor import TargetContext, TargetNorm, TokenPredictor
from worldmodel.objectives.centre import Centre
from worldmodel.objectives.distances import Distance, check_distance, distances
from worldmodel.objectives.ema_teacher import Momentum
from worldmodel.objectives.frozen_teacher import FrozenTeacher
from worldmodel.objectives.masks import MaskMixture, distance_to_hidden
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.predicted_latents import PredictedLatents
from worldmodel.objectives.regularisers import Regulariser
from worldmodel.objectives.targets import Targets, check_targets
from worldmodel.types import Mask


class MaskedTokens(PredictedLatents):
    """Masked prediction by tokens: see some tokens of a clip, predict the others.

    Where the model makes a latent of each token (`model.latent_per_token`), latents are predicted
    and regularised, which a run without a teacher needs: its head ends in batch normalisation.
    Otherwise the encoder's own tokens are, as in V-JEPA, or its levels side by side where it has
    some, as in V-JEPA 2.1 (arXiv:2603.14482). The regulariser's sample is the batch at one
    position. The rotary positions of the predictor are those of the encoder.

    Args:
        model: sizes of the networks that learn.
        masks: what is hidden.
        regulariser: keeps what is predicted from collapsing.
        targets: `live` (with gradient), `stopgrad`, `ema` (of an EMA teacher), or `frozen` (of a
            finished model).
        teacher: the finished model, where targets are `frozen`: whatever `wm.load` reads.
        centre: what is subtracted before the regulariser looks; see `centre.py`.
        target_context: what a target knows: the whole `clip`, as in V-JEPA, or its own `tube`.
            Without a teacher, tokens that know the clip come to share what is the same in all of
            it, which is easy to predict; those of tubes cannot (docs/pretraining.md).
        distance: of a prediction to its target.
        target_norm: `layernorm` norms each level of each target, as V-JEPA does.
        visible_weight: of a second loss, on the visible tokens, each divided by the root of its
            distance to the nearest hidden one (V-JEPA 2.1 takes 0.5 for videos, 0.7 for images);
            0 leaves it out.
        every_mask: predict under every kind of mask in every step, instead of drawing one; targets
            are made once.
        momentum: of the EMA teacher; or two, of the first and of the last step.
        predictor_width, predictor_depth, predictor_heads: of the transformer that predicts.
    """

    masks: MaskMixture

    def __init__(
        self, model: Architecture, *, masks: MaskMixture, regulariser: Regulariser,
        targets: Targets | Literal["frozen"] = "live", teacher: str | None = None,
        centre: Centre = "episode", target_context: TargetContext = "clip",
        distance: Distance = "l1",
        target_norm: TargetNorm = "none", visible_weight: float = 0.0, every_mask: bool = False,
        momentum: Momentum = 0.996, predictor_width: int = 96, predictor_depth: int = 2,
        predictor_heads: int = 4,
    ) -> None:  # fmt: skip
        check_distance(distance)
        check_targets(targets, "frozen")
        if visible_weight < 0:
            raise ConfigError(f"objective.visible_weight must be >= 0, got {visible_weight}")
        if model.encoder.levels and model.latent_per_token:
            raise ConfigError(
                "model.encoder.levels are predicted side by side, and model.latent_per_token makes "
                "one latent of a token; leave one of the two out"
            )
        if (targets == "frozen") != (teacher is not None):
            raise ConfigError(
                "targets=frozen are those of a finished model, and a teacher makes frozen targets: "
                "say both, objective.targets=frozen objective.teacher=runs/pretrain/NAME"
            )
        if target_context == "tube" and not (
            model.latent_per_token and isinstance(model.encoder, VideoViT) and teacher is None
        ):
            raise ConfigError(
                "objective.target_context=tube predicts latents of single tubes: it takes a "
                "VideoViT, model.latent_per_token=true and no objective.teacher"
            )
        super().__init__(
            model.encoder, model.head() if model.latent_per_token else None,
            regulariser=regulariser, targets=targets, centre=centre, momentum=momentum,
        )  # fmt: skip
        self.frozen = None if teacher is None else FrozenTeacher(teacher)
        levels = len(self.encoder.levels) or 1
        self.predicted *= levels
        target_width = self.predicted if self.frozen is None else self.frozen.encoder.width
        self.predictor: TokenPredictor = TokenPredictor(
            self.encoder.width, width=predictor_width, depth=predictor_depth,
            heads=predictor_heads, levels=levels, rope=self.encoder.spec.get("rope", "default"),
            mask_tokens=len(masks.kinds), target_width=target_width, target_norm=target_norm,
            cosine=distance == "cosine", target_context=target_context,
        )  # fmt: skip
        self.project_visible: nn.Linear | None = None
        if visible_weight:
            self.project_visible = nn.Linear(predictor_width, target_width)
        self.masks, self.every_mask, self.size = masks, every_mask, model.size
        self.distance, self.visible_weight = distance, visible_weight

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
            masks = self.masks.apart(kind, len(frames), grid, generator)
            number = self.masks.kinds.index(kind)
            errors += self._errors(frames, targets, masks, grid, mask_token=number)
        features = targets if latents is None else latents
        features = rearrange(features, "b (t m) d -> b t m d", t=grid[0])
        error = torch.stack(errors).mean()
        return self.losses(error, features, step=step, clips_per_video=clips_per_video)

    def _errors(
        self, frames: Tensor, targets: Tensor, masks: Sequence[Mask], grid: Grid, *, mask_token: int
    ) -> list[Tensor]:
        """The mean error under each of several masks, which show the same tokens."""
        context = masks[0].context.to(frames.device)
        visible = self.predictor.features(self.encoder, frames, keep=context)
        errors = []
        for mask in masks:
            hidden = mask.targets.to(frames.device)
            tokens = self.predictor.run(visible, context, hidden, grid, mask_token=mask_token)
            seen, filled_in = tokens.split([context.shape[1], hidden.shape[1]], dim=1)
            predicted = self.predictor.project(filled_in)
            error = distances(predicted, take(targets, hidden), self.distance).mean()
            if self.project_visible is not None:
                own = distances(self.project_visible(seen), take(targets, context), self.distance)
                far = distance_to_hidden(mask, grid).to(frames.device)
                error = error + self.visible_weight * (own / far.sqrt()).mean()
            errors.append(error)
        return errors

    def _whole(self, frames: Tensor) -> Tensor:
        """What is predicted of each token of the whole clip: b n d."""
        return self.predictor.latents(self.encoder, self.head, frames)

    def _targets(self, frames: Tensor, latents: Tensor | None) -> Tensor:
        """What predictions are compared with: b n d."""
        if self.frozen is not None:
            targets = self.frozen(frames, self.encoder.grid(frames))
            plain = self.predictor.target_norm == "none"
            return targets if plain else F.layer_norm(targets, targets.shape[-1:])
        if self.teacher is not None:
            with torch.no_grad():
                teacher = self.teacher
                targets = self.predictor.latents(teacher.encoder, teacher.head, frames)
        else:
            assert latents is not None
            targets = self.own_targets(latents)
        return self.predictor.normed(targets)

    def targets_of(self, frames: Tensor) -> Tensor:
        """The targets of every token, each of which may know the whole clip: b t m d."""
        has_teacher = self.teacher is not None or self.frozen is not None
        targets = self._targets(frames, None if has_teacher else self._whole(frames))
        return rearrange(targets, "b (t m) d -> b t m d", t=self.encoder.grid(frames)[0])

    def check(self, num_frames: int) -> None:
        """Refuse clips that a mask would leave nothing to see or to predict of."""
        self.masks.check(self.encoder.grid_of(num_frames, self.size, self.size))

    def latents(self, frames: Tensor) -> Tensor:
        """What is predicted of each token: frames b t c h w -> t m b d."""
        t = self.encoder.grid(frames)[0]
        return rearrange(self._whole(frames), "b (t m) d -> t m b d", t=t)

    def world_model(self, size: int) -> WorldModel:
        """Encoder, head and predictor; teachers are not kept, nor what predicts a frozen one."""
        if self.frozen is not None:
            return WorldModel(self.encoder, size=size, head=self.head)
        return super().world_model(size)
