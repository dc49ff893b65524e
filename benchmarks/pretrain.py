"""A step of masked latent prediction with SIGReg, at the size of the quickstart."""

import torch
from torch import Generator

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.table import Row, Table
from worldmodel.architecture import Architecture
from worldmodel.objectives.masks import Future, MaskMixture, Tubes
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps

SIZE = 64  # pixels of a side
FRAMES = 4
BATCH = 64


def bench(*, repeats: int = 25, device: str = "cpu") -> Table:
    """Time and memory of forward, backward and AdamW; reading video is not in it."""
    objective = _objective().to(device)
    optimiser = torch.optim.AdamW(objective.parameters())
    frames = torch.rand(BATCH, FRAMES, 3, SIZE, SIZE, generator=Generator().manual_seed(0))
    frames = frames.to(device)
    generator = Generator().manual_seed(0)

    def step() -> None:
        optimiser.zero_grad(set_to_none=True)
        objective(frames, step=0, generator=generator).total.backward()
        optimiser.step()

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
    return Table("speed-pretrain", "python -m benchmarks pretrain", protocol, rows)


def _objective() -> TimeSteps:
    return TimeSteps(
        Architecture(size=SIZE),
        masks=MaskMixture([Tubes(), Future()], [1, 1]),
        regulariser=SIGReg(num_slices=256),
    )
