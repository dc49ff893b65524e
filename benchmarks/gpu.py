"""A ViT-L on a GPU: how much of the matrix rate a training step reaches, and V-JEPA 2's beside it.

python -m benchmarks gpu                             writes docs/results/speed-gpu.json
python -m benchmarks gpu --vjepa2 REPOSITORY         beside theirs

Installs nothing and ends within ten minutes on a recent GPU. With `--device cpu` it runs at a size
at which nothing but the script itself is tried out.
"""

import time
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.measure import synchronize, time_alternately
from benchmarks.steps import LENGTH, PATCH, PREDICTOR, Setting, objectives, our_step, vjepa2_step
from benchmarks.table import Row, Table
from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import Block
from worldmodel.objectives.epps_pulley import KNOTS
from worldmodel.objectives.sigreg import sigreg

RATE_BAR, SPEED_BAR = 0.5, 1.2
MINUTES = 8  # after which no further part is begun


def bench(*, repeats: int = 10, device: str = "cuda", vjepa2: Path | None = None) -> Table:
    """Matrix products, then training steps in bfloat16, then SIGReg.

    Args:
        repeats: rounds; in each, every form has its turn.
        device: where it is computed.
        vjepa2: its authors' repository, to be measured too.
    """
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError("there is no CUDA device here; --device cpu tries the script out")
    small = device == "cpu"
    setting = Setting(64, 24, 2, 2, 2, device) if small else Setting(224, 1024, 16, 24, 8, device)
    setting = Setting(**{**vars(setting), "half": True})
    begun, rows = time.monotonic(), []
    rate = matrix_rate(256 if small else 8192, device=device, repeats=repeats)
    rows.append(Row.median("matrix_tflops", rate))
    steps = {}
    for name, objective in objectives(setting).items():
        objective = objective.to(device)
        for block in objective.modules():
            if isinstance(block, Block) and not small:
                block.compile()
        steps[name] = our_step(objective, setting.frames(), setting.autocast())
    if vjepa2 is not None:
        steps["theirs"] = vjepa2_step(vjepa2, setting, compiled=not small)
    flops = {}
    for name, step in steps.items():
        with FlopCounterMode(display=False) as counter:
            step()
        flops[name] = counter.get_total_flops()
    times = time_alternately(steps, repeats=repeats, device=device)
    peak = Row.median("matrix", rate).value or 1.0
    for name, seconds in times.items():
        shares = [flops[name] / s / 1e12 / peak for s in seconds]
        bar = RATE_BAR if name == "vjepa2" else None
        rows.append(Row.median(f"vitl.{name}.share_of_matrix_rate", shares, bar=bar))
        rows.append(
            Row.median(f"vitl.{name}.clips_per_second", [setting.clips / s for s in seconds])
        )
        if "theirs" in times and name != "theirs":
            ratios = [a / b for a, b in zip(times["theirs"], seconds, strict=True)]
            bar = SPEED_BAR if name == "vjepa2" else None
            rows.append(Row.median(f"vitl.{name}.speed", ratios, bar=bar))
    if time.monotonic() - begun < 60 * MINUTES:
        rows += _sigreg(device, repeats=repeats)
    protocol = {
        "model": f"width {setting.width}, depth {setting.depth}, predictor {PREDICTOR}",
        "clips": f"{setting.clips} of {LENGTH} frames of {setting.size}, patch {PATCH}",
        "measured": "forward, backward and AdamW in bfloat16 (autocast), compiled (our "
        "blocks; their networks, as in their training); "
        "two masks in every step, the same in all; rate: floating-point operations that PyTorch "
        "counts, by seconds, over those of a square matrix product",
        "seconds": round(time.monotonic() - begun),
    }
    words = " --vjepa2 REPOSITORY" if vjepa2 else ""
    return Table("speed-gpu", f"python -m benchmarks gpu{words}", protocol, rows)


def matrix_rate(side: int, *, device: str, repeats: int) -> list[float]:
    """10^12 floating-point operations a second of a bfloat16 product, round by round."""
    a, b = (torch.randn(side, side, device=device, dtype=torch.bfloat16) for _ in range(2))
    synchronize(device)
    seconds = time_alternately({"product": lambda: a @ b}, repeats=repeats, device=device)
    return [2 * side**3 / s / 1e12 for s in seconds["product"]]


def _sigreg(device: str, *, repeats: int) -> list[Row]:
    features = torch.randn(512, 384, device=device, requires_grad=True)

    def step() -> None:
        features.grad = None
        sigreg(features, step=3).backward()

    seconds = time_alternately({"step": step}, repeats=repeats, device=device)["step"]
    return [Row.median(f"sigreg.n512.d384.m1024.k{KNOTS}_ms", [1e3 * s for s in seconds])]
