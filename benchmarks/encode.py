"""Encoding a clip with a ViT-L of V-JEPA 2's shape: 16 frames of 256 x 256 pixels."""

from typing import Any

import torch
from torch import Generator

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.peers import installed
from benchmarks.pretrain import SETTINGS
from benchmarks.steps import Setting
from benchmarks.table import Row, Table
from worldmodel.nn.encoder import VideoViT

FRAMES, SIZE = 16, 256
SHAPE: dict[str, Any] = {"width": 1024, "depth": 24, "heads": 16}  # of a ViT-L
ROUNDS, HF_ROUNDS = 3, 15  # a clip of a ViT-L takes seconds
CLIPS = 4
HF_BARS = {"vit_tiny64": 1.3, "vit_small112": 1.1}


def bench(*, repeats: int = ROUNDS, device: str = "cpu") -> Table:
    """Time and memory of one clip, whole and with its second half dropped before the encoder."""
    torch.manual_seed(0)
    encoder = VideoViT(**SHAPE, patch=16, pixels="imagenet", rope="vjepa2", norm_eps=1e-6)
    encoder = encoder.to(device).eval()
    frames = torch.rand(1, FRAMES, 3, SIZE, SIZE, generator=Generator().manual_seed(0))
    frames = frames.to(device)
    t, h, w = encoder.grid(frames)
    first_half = torch.arange(t * h * w // 2, device=device)[None]
    with torch.inference_mode():
        seconds = time_alternately(
            {"whole": lambda: encoder(frames), "half": lambda: encoder(frames, keep=first_half)},
            repeats=repeats,
            device=device,
        )
        memory = peak_tensor_bytes(lambda: encoder(frames)) / 2**20
    name = f"vitl.{SIZE}x{SIZE}x{FRAMES}"
    rows = [
        Row.median(f"{name}.seconds", seconds["whole"]),
        Row.median(f"{name}.half_dropped_seconds", seconds["half"]),
        Row.exact(f"{name}.mib", memory),
    ]
    for name, setting in SETTINGS.items():
        rows += _beside_transformers(name, setting, repeats=max(repeats, HF_ROUNDS), device=device)
    protocol = {
        "model": encoder.spec,
        "weights": "random, float32",
        "tokens": t * h * w,
        "measured": "one clip, already in memory; half: the later time steps dropped, as where "
        "they are to be predicted; memory without weights",
        "hf_speed": f"seconds of transformers' VJEPA2Model without predictor / ours, {CLIPS} "
        "clips, float32, the same sizes, calls alternate",
    }
    return Table("speed-encode", "python -m benchmarks encode", protocol, rows)


def _beside_transformers(name: str, setting: Setting, *, repeats: int, device: str) -> list[Row]:
    """Our encoder beside that of the package transformers; unmeasured where that is missing."""
    if not installed("transformers"):
        why = "transformers is not installed: pip install 'worldmodel[peers]'"
        return [Row.unmeasured(f"{name}.hf_speed", why)]
    from transformers import VJEPA2Config, VJEPA2Model

    ours = VideoViT(
        setting.width, setting.depth, heads=setting.heads, patch=16, pixels="imagenet",
        rope="vjepa2", norm_eps=1e-6,
    )  # fmt: skip
    theirs = VJEPA2Model(
        VJEPA2Config(
            crop_size=setting.size, frames_per_clip=FRAMES, hidden_size=setting.width,
            num_attention_heads=setting.heads, num_hidden_layers=setting.depth, mlp_ratio=4,
            pred_num_hidden_layers=1,
        )
    )  # fmt: skip
    ours, theirs = ours.to(device).eval(), theirs.to(device).eval()
    frames = torch.rand(CLIPS, FRAMES, 3, setting.size, setting.size).to(device)
    with torch.inference_mode():
        seconds = time_alternately(
            {"ours": lambda: ours(frames), "hf": lambda: theirs(frames, skip_predictor=True)},
            repeats=repeats, device=device,
        )  # fmt: skip
    ratios = [a / b for a, b in zip(seconds["hf"], seconds["ours"], strict=True)]
    return [
        Row.median(f"{name}.clips_per_second", [CLIPS / s for s in seconds["ours"]]),
        Row.median(f"{name}.hf_speed", ratios, bar=HF_BARS[name]),
    ]
