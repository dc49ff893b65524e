"""SIGReg against the form that is usually written: sines and cosines at every knot, autograd."""

from collections.abc import Callable

import torch
from torch import Tensor

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.table import Row, Table
from worldmodel.objectives.epps_pulley import KNOTS, LAST_KNOT
from worldmodel.objectives.sigreg import directions, sigreg

SIZES = ((128, 192), (512, 384), (2048, 768))  # batch and width
SLICES = 1024
SPEEDUP_BAR = 1.8
MEMORY_BAR = 0.1


def by_autograd(features: Tensor, *, step: int, num_slices: int) -> Tensor:
    """SIGReg of `b d` from its formula; see `objectives.epps_pulley` for the fast way."""
    device, spacing = features.device, LAST_KNOT / (KNOTS - 1)
    columns = directions(
        step, seed=0, width=features.shape[1], num_slices=num_slices, device=device
    )
    t = torch.linspace(0, LAST_KNOT, KNOTS, device=device)
    weights = torch.full_like(t, 2 * spacing)
    weights[[0, -1]] = spacing
    gaussian = torch.exp(-t.square() / 2)
    angles = (features @ columns).unsqueeze(-1) * t  # b m knots
    error = (angles.cos().mean(0) - gaussian).square() + angles.sin().mean(0).square()
    return len(features) * (error @ (weights * gaussian)).mean()


def bench(*, repeats: int = 25, device: str = "cpu") -> Table:
    """Forward and backward of both forms, directions included, at three sizes."""
    rows: list[Row] = []
    for batch, width in SIZES:
        rows += _rows(batch, width, repeats=repeats, device=device)
    protocol = {
        "knots": KNOTS,
        "slices": SLICES,
        "measured": "forward + backward, drawing directions included; calls alternate",
        "speedup": "median over rounds of autograd's seconds / these; quartiles of the ratio",
        "memory": "most bytes that tensors held at once",
    }
    return Table("speed-sigreg", "python -m benchmarks sigreg", protocol, rows)


def _rows(batch: int, width: int, *, repeats: int, device: str) -> list[Row]:
    features = torch.randn(batch, width, generator=torch.Generator().manual_seed(7))
    features = features.to(device).requires_grad_()
    forms: dict[str, Callable[[], None]] = {
        "autograd": lambda: _descend(by_autograd(features, step=3, num_slices=SLICES), features),
        "powers": lambda: _descend(sigreg(features, step=3, num_slices=SLICES), features),
    }
    times = time_alternately(forms, repeats=repeats, device=device)
    memory = {name: peak_tensor_bytes(form) / 2**20 for name, form in forms.items()}
    size = f"n{batch}.d{width}.m{SLICES}"
    ratios = [a / b for a, b in zip(times["autograd"], times["powers"], strict=True)]
    return [
        *(Row.median(f"{size}.{k}_ms", [1e3 * s for s in v]) for k, v in times.items()),
        Row.median(f"{size}.speedup", ratios, bar=SPEEDUP_BAR),
        *(Row.exact(f"{size}.{name}_mib", mib) for name, mib in memory.items()),
        Row.exact(
            f"{size}.memory_share", memory["powers"] / memory["autograd"], at_most=MEMORY_BAR
        ),
    ]


def _descend(loss: Tensor, features: Tensor) -> None:
    features.grad = None
    loss.backward()
