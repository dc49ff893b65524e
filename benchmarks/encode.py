"""Encoding a clip with a ViT-L of V-JEPA 2's shape: 16 frames of 256 x 256 pixels."""

from typing import Any

import torch
from torch import Generator

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.table import Row, Table
from worldmodel.nn.encoder import VideoViT

FRAMES, SIZE = 16, 256
SHAPE: dict[str, Any] = {"width": 1024, "depth": 24, "heads": 16}  # of a ViT-L
ROUNDS = 3  # a clip takes seconds


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
    protocol = {
        "model": encoder.spec,
        "weights": "random, float32",
        "tokens": t * h * w,
        "measured": "one clip, already in memory; half: the later time steps dropped, as where "
        "they are to be predicted; memory without weights",
    }
    return Table("speed-encode", "python -m benchmarks encode", protocol, rows)
