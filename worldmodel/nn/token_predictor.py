"""V-JEPA's masked predictor: hidden tokens from visible ones.

Made of the same blocks as the encoder. The caller chooses which tokens are hidden.
"""

import math
from collections.abc import Iterator
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError, ShapeError, nearest
from worldmodel.nn.blocks import Block, arguments, check_heads
from worldmodel.nn.encoder import Encoder, VideoViT, grid_from, require_positions, take
from worldmodel.nn.heads import Head
from worldmodel.nn.patches import Grid
from worldmodel.nn.positions import Rotary3D, SinCos3D
from worldmodel.nn.predictor import Prediction, Predictor, on_sphere

Context = Literal["dropped", "masked_after"]
Kind = Literal["video", "image"]
TargetNorm = Literal["none", "layernorm"]
TargetContext = Literal["clip", "tube"]


class TokenPredictor(Predictor):
    """A narrow transformer over visible tokens and one learned mask token for each hidden position.

    As V-JEPA's predictor (Bardes et al. 2024, arXiv:2404.08471; Assran et al. 2025,
    arXiv:2506.09985). Every token sees every other. The predictions at the hidden positions are
    compared with the tokens of the whole clip, normed as they were in training.

    Args:
        token_width: dimension of a token of the encoder.
        width, depth, heads: of the transformer.
        levels: how many of the encoder's levels it sees and predicts side by side.
        mlp_width: of the hidden layer of a block's network; four times the width if None.
        norm_eps: added to a variance by the norms.
        rope: which rotary positions; see `VideoViT`.
        sincos_grid: the grid in training of fixed positions that are added instead; see
            `VideoViT` and `SinCos3D`.
        mask_tokens: how many mask tokens there are; training used one for each kind of mask.
        kinds: a learned vector marks each token as one of a video or of an image (V-JEPA 2.1).
        window: time steps that are looked at together when a clip is scored.
        seen: how many of them, from the first, are seen; the others are predicted.
        target_width: dimension of what is predicted of a token, where that is a head's latent; by
            default the encoder's levels side by side.
        target_norm: how targets were normed in training: `layernorm` each level of a token, as in
            V-JEPA, or `none`.
        target_context: what a target knows: the whole `clip`, or its own `tube` alone, that is what
            goes into the encoder's first block.
        cosine: predictions were trained by their cosine with the target, and are scored by it;
            otherwise by absolute differences.
    """

    def __init__(
        self, token_width: int, *, width: int = 384, depth: int = 12, heads: int = 12,
        levels: int = 1, mlp_width: int | None = None, norm_eps: float = 1e-6,
        rope: str = "vjepa2", sincos_grid: list[int] | None = None, mask_tokens: int = 10,
        kinds: bool = False, window: int = 8, seen: int = 4, target_width: int | None = None,
        target_norm: TargetNorm = "layernorm", cosine: bool = False,
        target_context: TargetContext = "clip",
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a token predictor", width, heads, rotary=True)
        if mask_tokens < 1 or levels < 1:
            raise ConfigError(
                "a token predictor has at least one level and one mask token, got "
                f"{levels} and {mask_tokens}"
            )
        self.spec, self.power = arguments(locals()), 2 if cosine else 1
        self.target_norm, self.scored = target_norm, on_sphere if cosine else nn.Identity()
        if target_norm not in get_args(TargetNorm):
            choices = nearest(target_norm, get_args(TargetNorm))
            raise ConfigError(f"no target_norm '{target_norm}': {choices}")
        if target_context not in get_args(TargetContext):
            choices = nearest(target_context, get_args(TargetContext))
            raise ConfigError(f"no target_context '{target_context}': {choices}")
        self.target_context = target_context
        self.token_width, self.levels = token_width, levels
        self.set_window(window, seen)
        self.embed: nn.Module = nn.Linear(token_width, width)
        if levels > 1:
            self.embed = nn.Sequential(
                nn.Linear(levels * token_width, token_width),
                nn.GELU(),
                nn.Linear(token_width, width),
            )
        self.mask_tokens = nn.Parameter(torch.zeros(mask_tokens, width))
        names = ("video", "image") if kinds else ()
        self.kind = nn.ParameterDict({name: nn.Parameter(torch.zeros(width)) for name in names})
        self.positions = None
        if sincos_grid is not None:
            self.positions = SinCos3D(width, grid_from(sincos_grid), counted=True)
        self.rotary = Rotary3D(width // heads, rope) if sincos_grid is None else None
        self.blocks = nn.ModuleList(
            Block(width, heads, mlp_width=mlp_width, norm_eps=norm_eps) for _ in range(depth)
        )
        self.norm = nn.LayerNorm(width, norm_eps)
        self.project = nn.Linear(width, target_width or levels * token_width)

    def set_window(self, window: int, seen: int) -> None:
        """Score clips by windows of so many time steps, of which the first `seen` are seen.

        Raises:
            ConfigError: nothing would be seen, or nothing predicted.
        """
        if not 0 < seen < window:
            raise ConfigError(
                f"of a window of {window} time steps, seen={seen} leaves nothing to see or nothing "
                "to predict: set it between 1 and the window less one"
            )
        self.window, self.seen = window, seen
        self.spec |= {"window": window, "seen": seen}

    def forward(
        self, visible: Tensor, context: Tensor, targets: Tensor, grid: Grid, *,
        mask_token: int = 1, kind: Kind = "video",
    ) -> Tensor:  # fmt: skip
        """Predict the tokens at the hidden positions.

        Args:
            visible: b m d, the encoder's tokens at the positions `context`.
            context: b m, ids on the grid.
            targets: b q, ids of the positions to predict.
            grid: t h w.
            mask_token: which of the mask tokens; counted round where there are fewer.
            kind: of the clip, where tokens are marked.

        Returns:
            b q d.
        """
        tokens = self.run(visible, context, targets, grid, mask_token=mask_token, kind=kind)
        return self.project(tokens[:, context.shape[1] :])

    def run(
        self, visible: Tensor, context: Tensor, targets: Tensor, grid: Grid, *,
        mask_token: int = 1, kind: Kind = "video",
    ) -> Tensor:  # fmt: skip
        """Its own normed tokens, of visible and then of hidden positions: b (m + q) width.

        The arguments are those of `forward`.
        """
        mask = self.mask_tokens[mask_token % len(self.mask_tokens)]
        hidden = mask.expand(*targets.shape, -1)
        tokens = torch.cat([self.embed(visible), hidden], dim=1)
        ids = torch.cat([context, targets], dim=1)
        if self.positions is not None:
            tokens = tokens + self.positions(grid, ids, tokens.device)
        if self.kind:
            tokens = tokens + self.kind[kind]
        rotation = None if self.rotary is None else self.rotary(grid, ids, tokens.device)
        for block in self.blocks:
            tokens = block(tokens, rotation)
        return self.norm(tokens)

    def fill_in(
        self, encoder: Encoder, frames: Tensor, context: Tensor, targets: Tensor, *,
        how: Context = "dropped",
    ) -> Tensor:  # fmt: skip
        """Predict the tokens at hidden positions of a clip from those at visible ones.

        Args:
            encoder: of the model.
            frames: b t c h w in [0, 1].
            context: b m, ids of the visible positions; one row holds for all clips.
            targets: b q, ids of the hidden positions; likewise.
            how: `dropped` shows the encoder the visible positions only, as in training;
                `masked_after` shows it the whole clip and takes its tokens at the visible
                positions, which then know the hidden ones, as Hugging Face's `context_mask` does.

        Returns:
            b q d.

        Raises:
            ConfigError: `how` is neither of these.
            ShapeError: the ids are not positions on the grid, or of another number of clips.
        """
        choices = get_args(Context)
        if how not in choices:
            raise ConfigError(f"no context '{how}': {nearest(how, choices)}")
        grid, b = encoder.grid(frames), len(frames)
        context, targets = (_of_each(ids, b, grid) for ids in (context, targets))
        if how == "dropped":
            visible = self.features(encoder, frames, keep=context)
        else:
            visible = take(self.features(encoder, frames), context)
        kind: Kind = "image" if encoder.is_image(frames.shape[1]) else "video"
        return self(visible, context, targets, grid, kind=kind)

    def features(self, encoder: Encoder, frames: Tensor, keep: Tensor | None = None) -> Tensor:
        """The features that it takes: the encoder's levels side by side, or its tokens."""
        see = encoder.features if self.levels > 1 else encoder
        return see(frames, keep)

    def latents(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Tensor:
        """What is predicted of each token of a clip, before it is normed: b n d."""
        if self.target_context == "tube":
            assert isinstance(encoder, VideoViT)
            whole = encoder.tubes(frames)
        else:
            whole = self.features(encoder, frames)
        return whole if head is None else head(whole)

    def normed(self, latents: Tensor) -> Tensor:
        """Targets b n (l d) as they were normed in training: each level of a token by itself."""
        if self.target_norm == "none":
            return latents
        levels = rearrange(latents, "b n (l d) -> b n l d", l=self.levels)
        return rearrange(F.layer_norm(levels, levels.shape[-1:]), "b n l d -> b n (l d)")

    def predictions(
        self, encoder: Encoder, head: Head | None, frames: Tensor
    ) -> Iterator[Prediction]:
        """Predict the end of every window of the clip from its beginning; a step is a window.

        As in Garrido et al. 2025 (arXiv:2502.11831), windows slide by one time step; the encoder
        sees their first `seen` time steps alone, the predictor fills in the rest, and the targets
        are those of the training, of the whole window. A clip shorter than a window is one window.
        """
        t = encoder.grid(frames)[0]
        if t < 2:
            raise ShapeError(f"a clip of {t} time step leaves nothing to predict: take two")
        return self._windows(encoder, head, frames)

    def _windows(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Iterator[Prediction]:
        """One window at a time: at the published widths the tokens of all would fill the memory."""
        i = encoder.tubelet_frames
        t, h, w = encoder.grid(frames)
        window, seen = (self.window, self.seen) if t >= self.window else (t, (t + 1) // 2)
        for start in range(t - window + 1):
            part = frames[:, start * i : (start + window) * i]
            whole = self.observed(encoder, head, part)
            predicted = self.ahead(encoder, head, part[:, : seen * i], window - seen)
            # Persistence: each hidden time step is as the last visible one.
            last = whole[:, seen - 1 : seen].expand_as(predicted)
            end = torch.tensor([(start + window) * i - 1])
            predicted, observed, last = (
                rearrange(x, "b t n d -> b 1 (t n) d") for x in (predicted, whole[:, seen:], last)
            )
            yield Prediction(predicted, observed, last, end, power=self.power)

    def ahead(self, encoder: Encoder, head: Head | None, frames: Tensor, steps: int) -> Tensor:
        """Predict the tokens of the time steps after a clip: b s n d."""
        # What comes is hidden, so it may be anything: positions alone matter.
        longer = F.pad(frames, (0, 0, 0, 0, 0, 0, 0, steps * encoder.tubelet_frames))
        t, h, w = encoder.grid(longer)
        ids = torch.arange(t * h * w, device=frames.device).expand(len(frames), -1)
        context, targets = ids.split([(t - steps) * h * w, steps * h * w], dim=1)
        predicted = self.fill_in(encoder, longer, context, targets)
        return self.scored(rearrange(predicted, "b (s n) d -> b s n d", s=steps))

    def observed(self, encoder: Encoder, head: Head | None, frames: Tensor) -> Tensor:
        """The targets of every token of a clip, each of which may know all of it: b t n d."""
        targets = self.scored(self.normed(self.latents(encoder, head, frames)))
        return rearrange(targets, "b (t n) d -> b t n d", t=encoder.grid(frames)[0])


def _of_each(ids: Tensor, batch: int, grid: Grid) -> Tensor:
    """The ids of each clip of a batch: b m; one row holds for all of them."""
    ids = ids.expand(batch, -1) if ids.ndim == 2 and len(ids) == 1 else ids
    require_positions(ids.cpu(), batch, math.prod(grid))
    return ids
