"""Training steps of two recipes, and V-JEPA 2's own beside them: same clips, masks and sizes."""

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from benchmarks.peers import imported_from
from worldmodel.architecture import Architecture
from worldmodel.nn.encoder import VideoViT
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import MaskMixture, Tubes
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.types import Mask

Step = Callable[[], None]

LENGTH, PATCH = 16, 16  # frames of a clip, pixels
PREDICTOR = {"width": 384, "depth": 12, "heads": 12}
MOMENTUM = 0.99925


@dataclass(frozen=True)
class Setting:
    """What a step is of.

    Attributes:
        size: side of the frames in pixels.
        width, depth, heads: of the encoder.
        clips: in a batch.
        device: where it is computed.
        half: matrix products in bfloat16.
    """

    size: int
    width: int
    heads: int
    depth: int = 12
    clips: int = 4
    device: str = "cpu"
    half: bool = False

    def autocast(self) -> torch.autocast:
        """The precision of the forward pass."""
        return torch.autocast(torch.device(self.device).type, torch.bfloat16, enabled=self.half)

    def masks(self) -> list[Mask]:
        """V-JEPA's: eight short tubes, and two long ones."""
        side, generator = self.size // PATCH, Generator().manual_seed(0)
        return [
            MaskMixture([kind], [1]).tokens(kind, self.clips, (LENGTH // 2, side, side), generator)
            for kind in (Tubes(8, 0.15), Tubes(2, 0.7))
        ]

    def frames(self) -> Tensor:
        """Noise, b t c h w."""
        shape = (self.clips, LENGTH, 3, self.size, self.size)
        return torch.rand(shape, generator=Generator().manual_seed(1)).to(self.device)


class Fixed(MaskMixture):
    """Masks that are the same in every step."""

    def __init__(self, masks: Sequence[Mask]) -> None:
        super().__init__([Tubes() for _ in masks], [1] * len(masks))
        self.fixed = masks

    def apart(self, kind: Any, *_: Any) -> list[Mask]:
        """The mask of this kind."""
        return [self.fixed[self.kinds.index(kind)]]


def objectives(setting: Setting) -> dict[str, MaskedTokens]:
    """Those of the recipes `vjepa2` and `tube_sigreg`, both under two masks in each step."""
    encoder = partial(
        VideoViT, setting.width, setting.depth, heads=setting.heads, patch=PATCH,
        pixels="imagenet", rope="vjepa2", norm_eps=1e-6,
    )  # fmt: skip
    common: dict[str, Any] = {f"predictor_{k}": v for k, v in PREDICTOR.items()}
    common |= {"masks": Fixed(setting.masks()), "every_mask": True}
    return {
        "vjepa2": MaskedTokens(
            Architecture(encoder=encoder(), size=setting.size), regulariser=NoRegulariser(),
            targets="ema", target_norm="layernorm", centre="none", momentum=MOMENTUM, **common,
        ),
        "tube_sigreg": MaskedTokens(
            Architecture(encoder=encoder(), size=setting.size, latent_per_token=True),
            regulariser=SIGReg(num_slices=256), distance="l2", target_context="tube", **common,
        ),
    }  # fmt: skip


def our_step(objective: Objective, frames: Tensor, autocast: torch.autocast) -> Step:
    """Forward, backward and AdamW of an objective, and what follows a step."""
    optimiser = torch.optim.AdamW(objective.parameters())
    generator = Generator().manual_seed(0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        with autocast:
            losses = objective(frames, step=0, generator=generator)
        losses.total.backward()
        optimiser.step()
        objective.after_step(0.0)

    return step


def vjepa2_step(repository: Path, setting: Setting, *, compiled: bool = False) -> Step:
    """A step of V-JEPA 2's own modules, put together, or compiled too, as in its training."""
    with imported_from(repository, "src/models/vision_transformer.py"):
        from src.masks.utils import apply_masks
        from src.models.predictor import vit_predictor
        from src.models.vision_transformer import VisionTransformer
        from src.utils.wrappers import MultiSeqWrapper, PredictorMultiSeqWrapper
    for module in [m for m in sys.modules if m == "src" or m.startswith("src.")]:
        del sys.modules[module]  # other repositories call their code so too
    shape = {
        "img_size": setting.size, "patch_size": PATCH, "num_frames": LENGTH, "tubelet_size": 2,
        "uniform_power": True, "use_rope": True, "use_sdpa": True,
    }  # fmt: skip

    def vit() -> nn.Module:
        made = VisionTransformer(
            embed_dim=setting.width, depth=setting.depth, num_heads=setting.heads, mlp_ratio=4,
            qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6), **shape,
        )  # fmt: skip
        wrapped: nn.Module = MultiSeqWrapper(made).to(setting.device)
        return wrapped

    masks, frames = setting.masks(), setting.frames()
    encoder, target = vit(), vit()
    predictor = PredictorMultiSeqWrapper(
        vit_predictor(
            embed_dim=setting.width, predictor_embed_dim=PREDICTOR["width"],
            depth=PREDICTOR["depth"], num_heads=PREDICTOR["heads"], use_mask_tokens=True,
            num_mask_tokens=len(masks), **shape,
        )
    ).to(setting.device)  # fmt: skip
    for network in (encoder, target, predictor) if compiled else ():
        network.compile()
    optimiser = torch.optim.AdamW([*encoder.parameters(), *predictor.parameters()])
    clips = [frames.transpose(1, 2).contiguous()]
    seen, hidden = ([[getattr(mask, part).to(setting.device) for mask in masks]]
                    for part in ("context", "targets"))  # fmt: skip

    def loss() -> Tensor:
        with torch.no_grad():
            whole = [F.layer_norm(h, (h.shape[-1],)) for h in target(clips)]
        predicted = predictor(encoder(clips, seen), seen, hidden)
        wanted = [apply_masks(h, ids, concat=False) for h, ids in zip(whole, hidden, strict=True)]
        errors = [
            (a - b).abs().mean()
            for left, right in zip(predicted, wanted, strict=True)
            for a, b in zip(left, right, strict=True)
        ]
        return torch.stack(errors).mean()

    def step() -> None:
        with setting.autocast():
            error = loss()
        error.backward()
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            followers, leaders = list(target.parameters()), list(encoder.parameters())
            torch._foreach_mul_(followers, MOMENTUM)
            torch._foreach_add_(followers, leaders, alpha=1 - MOMENTUM)

    return step
