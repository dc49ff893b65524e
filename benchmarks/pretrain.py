"""Training steps: the quickstart's, and those of two recipes beside V-JEPA 2's own."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Generator, Tensor, nn

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.peers import imported_from
from benchmarks.table import Row, Table
from worldmodel.architecture import Architecture
from worldmodel.nn.encoder import VideoViT
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import Future, MaskMixture, Tubes
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.types import Mask

SIZE = 64  # pixels of a side
FRAMES = 4
BATCH = 64

# Beside V-JEPA 2: its tiny and small encoder, its predictor, 16 frames, four clips.
VITS: dict[str, dict[str, Any]] = {
    "vit_tiny64": {"size": 64, "width": 192, "heads": 3},
    "vit_small112": {"size": 112, "width": 384, "heads": 6},
}
CLIPS, LENGTH, DEPTH = 4, 16, 12
PREDICTOR = {"width": 384, "depth": 12, "heads": 12}
MOMENTUM = 0.99925
BARS = {
    ("vit_tiny64", "vjepa2"): 1.4, ("vit_small112", "vjepa2"): 1.15,
    ("vit_tiny64", "tube_sigreg"): 1.4, ("vit_small112", "tube_sigreg"): 1.4,
}  # fmt: skip
MEMORY_BARS = {"vjepa2": 1.0, "tube_sigreg": 0.8}


def bench(*, repeats: int = 25, device: str = "cpu", vjepa2: Path | None = None) -> Table:
    """Time and memory of forward, backward and AdamW; reading video is not in it.

    Args:
        repeats: rounds; in each, every kind of step has its turn.
        device: where it is computed.
        vjepa2: its authors' repository, to be measured too.
    """
    objective = _objective().to(device)
    frames = torch.rand(BATCH, FRAMES, 3, SIZE, SIZE, generator=Generator().manual_seed(0))
    step = _step(objective, frames.to(device))
    seconds = time_alternately({"step": step}, repeats=repeats, device=device)["step"]
    rows = [
        Row.median("pretrain.step_ms", [1e3 * s for s in seconds]),
        Row.median("pretrain.clips_per_second", [BATCH / s for s in seconds]),
        Row.exact("pretrain.step_mib", peak_tensor_bytes(step) / 2**20),
    ]
    protocol = {
        "model": objective.encoder.spec,
        "batch": BATCH,
        "frames": FRAMES,
        "size": SIZE,
        "measured": "forward + backward + AdamW on random frames; memory without weights",
    }
    if vjepa2 is not None:
        protocol["beside_vjepa2"] = (
            f"{CLIPS} clips of {LENGTH} frames, patch 16, float32, the same two masks in every "
            f"step, predictor {PREDICTOR}, steps alternate; speed is "
            "theirs / ours in seconds, median and quartiles over rounds"
        )
        for name in VITS:
            rows += _beside_vjepa2(name, vjepa2, repeats=repeats, device=device)
    words = " --vjepa2 REPOSITORY" if vjepa2 else ""
    return Table("speed-pretrain", f"python -m benchmarks pretrain{words}", protocol, rows)


def _objective() -> TimeSteps:
    return TimeSteps(
        Architecture(size=SIZE),
        masks=MaskMixture([Tubes(), Future()], [1, 1]),
        regulariser=SIGReg(num_slices=256),
    )


def _step(objective: Objective, frames: Tensor) -> Callable[[], None]:
    """A step of ours."""
    optimiser = torch.optim.AdamW(objective.parameters())
    generator = Generator().manual_seed(0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        objective(frames, step=0, generator=generator).total.backward()
        optimiser.step()
        objective.after_step(0.0)

    return step


class Fixed(MaskMixture):
    """Masks that are the same in every step."""

    def __init__(self, masks: Sequence[Mask]) -> None:
        super().__init__([Tubes() for _ in masks], [1] * len(masks))
        self.fixed = masks

    def apart(self, kind: Any, *_: Any) -> list[Mask]:
        """The mask of this kind."""
        return [self.fixed[self.kinds.index(kind)]]


def _beside_vjepa2(name: str, repository: Path, *, repeats: int, device: str) -> list[Row]:
    """Steps of ours and of theirs at one size."""
    vit = VITS[name]
    side = vit["size"] // 16
    grid, generator = (LENGTH // 2, side, side), Generator().manual_seed(0)
    blocks = [Tubes(8, 0.15), Tubes(2, 0.7)]
    masks = [MaskMixture([kind], [1]).tokens(kind, CLIPS, grid, generator) for kind in blocks]
    frames = torch.rand(CLIPS, LENGTH, 3, vit["size"], vit["size"], generator=generator)
    frames = frames.to(device)
    encoder = partial(
        VideoViT, width=vit["width"], depth=DEPTH, heads=vit["heads"], patch=16,
        pixels="imagenet", rope="vjepa2", norm_eps=1e-6,
    )  # fmt: skip
    predictor = {f"predictor_{k}": v for k, v in PREDICTOR.items()}
    ours = {
        "vjepa2": MaskedTokens(
            Architecture(encoder=encoder(), size=vit["size"]), masks=Fixed(masks),
            regulariser=NoRegulariser(), targets="ema", target_norm="layernorm", every_mask=True,
            centre="none", momentum=MOMENTUM, **predictor,
        ),
        "tube_sigreg": MaskedTokens(
            Architecture(encoder=encoder(), size=vit["size"], latent_per_token=True),
            masks=Fixed(masks), regulariser=SIGReg(num_slices=256), distance="l2", every_mask=True,
                        target_context="tube", **predictor,
        ),
    }  # fmt: skip
    steps = {k: _step(objective.to(device), frames) for k, objective in ours.items()}
    steps["theirs"] = _their_step(repository, vit, masks, frames)
    times = time_alternately(steps, repeats=repeats, device=device)
    memory = {k: peak_tensor_bytes(step) / 2**20 for k, step in steps.items()}
    rows = [
        Row.median(f"{name}.{k}.clips_per_second", [CLIPS / s for s in v]) for k, v in times.items()
    ]
    for k in ours:
        ratios = [a / b for a, b in zip(times["theirs"], times[k], strict=True)]
        rows.append(Row.median(f"{name}.{k}.speed", ratios, bar=BARS[name, k]))
    rows += [Row.exact(f"{name}.{k}.mib", mib) for k, mib in memory.items()]
    return rows + [
        Row.exact(f"{name}.{k}.memory_share", memory[k] / memory["theirs"], at_most=MEMORY_BARS[k])
        for k in ours
    ]


def _their_step(
    repository: Path, vit: dict[str, Any], masks: Sequence[Mask], frames: Tensor
) -> Callable[[], None]:
    """A step of V-JEPA 2's own modules, put together as in its training."""
    with imported_from(repository, "src/models/vision_transformer.py"):
        from src.masks.utils import apply_masks
        from src.models.predictor import vit_predictor
        from src.models.vision_transformer import VisionTransformer
        from src.utils.wrappers import MultiSeqWrapper, PredictorMultiSeqWrapper
    for module in [m for m in sys.modules if m == "src" or m.startswith("src.")]:
        del sys.modules[module]  # other repositories call their code so too
    shape = {
        "img_size": vit["size"], "patch_size": 16, "num_frames": LENGTH, "tubelet_size": 2,
        "uniform_power": True, "use_rope": True, "use_sdpa": True,
    }  # fmt: skip
    made = [
        MultiSeqWrapper(
            VisionTransformer(
                embed_dim=vit["width"], depth=DEPTH, num_heads=vit["heads"], mlp_ratio=4,
                qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6), **shape,
            )
        )
        for _ in range(2)
    ]  # fmt: skip
    encoder, target = (network.to(frames.device) for network in made)
    predictor = PredictorMultiSeqWrapper(
        vit_predictor(
            embed_dim=vit["width"], predictor_embed_dim=PREDICTOR["width"],
            depth=PREDICTOR["depth"], num_heads=PREDICTOR["heads"], use_mask_tokens=True,
            num_mask_tokens=len(masks), **shape,
        )
    ).to(frames.device)  # fmt: skip
    optimiser = torch.optim.AdamW([*encoder.parameters(), *predictor.parameters()])
    clips = [frames.transpose(1, 2).contiguous()]
    seen, hidden = (
        [[getattr(m, k).to(frames.device) for m in masks]] for k in ("context", "targets")
    )

    def step() -> None:
        with torch.no_grad():
            whole = [F.layer_norm(h, (h.shape[-1],)) for h in target(clips)]
        predicted = predictor(encoder(clips, seen), seen, hidden)
        wanted = [apply_masks(h, ids, concat=False) for h, ids in zip(whole, hidden, strict=True)]
        errors = [
            (a - b).abs().mean()
            for left, right in zip(predicted, wanted, strict=True)
            for a, b in zip(left, right, strict=True)
        ]
        (sum(errors) / len(errors)).backward()
        optimiser.step()
        optimiser.zero_grad()
        with torch.no_grad():
            followers, leaders = list(target.parameters()), list(encoder.parameters())
            torch._foreach_mul_(followers, MOMENTUM)
            torch._foreach_add_(followers, leaders, alpha=1 - MOMENTUM)

    return step
