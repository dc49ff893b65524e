"""Training steps: the quickstart's, and those of two recipes beside V-JEPA 2's own."""

from pathlib import Path

import torch
from torch import Generator

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.steps import LENGTH, PATCH, PREDICTOR, Setting, objectives, our_step, vjepa2_step
from benchmarks.table import Row, Table
from worldmodel.architecture import Architecture
from worldmodel.objectives.masks import Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps

SIZE = 64  # pixels of a side
FRAMES = 4
BATCH = 64

SETTINGS = {"vit_tiny64": Setting(64, 192, 3), "vit_small112": Setting(112, 384, 6)}
BARS = {
    ("vit_tiny64", "vjepa2"): 1.4, ("vit_small112", "vjepa2"): 1.15,
    ("vit_tiny64", "tube_sigreg"): 1.4, ("vit_small112", "tube_sigreg"): 1.4,
}  # fmt: skip
MEMORY_BARS = {"vjepa2": 1.0, "tube_sigreg": 0.8}


def bench(*, repeats: int = 11, device: str = "cpu", vjepa2: Path | None = None) -> Table:
    """Time and memory of forward, backward and AdamW; reading video is not in it.

    Args:
        repeats: rounds; in each, every kind of step has its turn.
        device: where it is computed.
        vjepa2: its authors' repository, to be measured too.
    """
    objective = _objective().to(device)
    frames = torch.rand(BATCH, FRAMES, 3, SIZE, SIZE, generator=Generator().manual_seed(0))
    step = our_step(objective, frames.to(device), torch.autocast("cpu", enabled=False))
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
            f"{LENGTH} frames, patch {PATCH}, float32, the same two masks in every step, "
            f"predictor {PREDICTOR}, steps alternate; speed is theirs / ours in seconds, median "
            "and quartiles over rounds"
        )
        for name, setting in SETTINGS.items():
            rows += beside_vjepa2(name, setting, vjepa2, repeats=repeats)
    words = " --vjepa2 REPOSITORY" if vjepa2 else ""
    return Table("speed-pretrain", f"python -m benchmarks pretrain{words}", protocol, rows)


def _objective() -> TimeSteps:
    return TimeSteps(
        Architecture(size=SIZE),
        masks=MaskMixture([Tubes(), Future()], [1, 1]),
        regulariser=SIGReg(num_slices=256),
    )


def beside_vjepa2(name: str, setting: Setting, repository: Path, *, repeats: int) -> list[Row]:
    """Steps of ours and of theirs in one setting."""
    ours = objectives(setting)
    steps = {
        k: our_step(objective.to(setting.device), setting.frames(), setting.autocast())
        for k, objective in ours.items()
    }
    steps["theirs"] = vjepa2_step(repository, setting)
    times = time_alternately(steps, repeats=repeats, device=setting.device)
    memory = {k: peak_tensor_bytes(step) / 2**20 for k, step in steps.items()}
    rows = [
        Row.median(f"{name}.{k}.clips_per_second", [setting.clips / s for s in v])
        for k, v in times.items()
    ]
    for k in ours:
        ratios = [a / b for a, b in zip(times["theirs"], times[k], strict=True)]
        rows.append(Row.median(f"{name}.{k}.speed", ratios, bar=BARS.get((name, k))))
    rows += [Row.exact(f"{name}.{k}.mib", mib) for k, mib in memory.items()]
    return rows + [
        Row.exact(f"{name}.{k}.memory_share", memory[k] / memory["theirs"], at_most=MEMORY_BARS[k])
        for k in ours
    ]
