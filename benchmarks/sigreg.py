"""SIGReg against the form that is usually written, sines and cosines at every knot, and peers."""

import itertools
from collections.abc import Callable, Mapping
from pathlib import Path

import torch
from torch import Tensor

from benchmarks.measure import peak_tensor_bytes, time_alternately
from benchmarks.peers import imported_from, installed
from benchmarks.table import Row, Table
from worldmodel.errors import ConfigError
from worldmodel.objectives.compiled import compiled
from worldmodel.objectives.epps_pulley import EAGER, KNOTS, LAST_KNOT, Powers
from worldmodel.objectives.sigreg import directions, sigreg

SIZES = ((128, 192), (512, 384), (2048, 768))  # batch and width
SLICES = 1024
BARS = {(128, 192): 3.0, (512, 384): 3.5}  # of the compiled kernel's speed over others'
EAGER_BAR = 1.8
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


def bench(*, repeats: int = 25, device: str = "cpu", lejepa: Path | None = None) -> Table:
    """Forward and backward of ours and of others, directions included, at three sizes.

    Args:
        repeats: rounds; in each, every form has its turn.
        device: where it is computed.
        lejepa: its authors' repository, to be measured too.
    """
    others = {"autograd": by_autograd_of_step_3, **_others(lejepa)}
    ours = {"eager": EAGER}
    rows: list[Row] = []
    if device == "cpu":
        try:
            ours["compiled"] = compiled(KNOTS)
        except ConfigError as cause:  # a machine without a compiler
            rows.append(Row.unmeasured("compiled", str(cause)))
    for batch, width in SIZES:
        rows += _rows(batch, width, ours, others, repeats=repeats, device=device)
    protocol = {
        "knots": KNOTS,
        "slices": SLICES,
        "measured": "forward + backward, drawing directions included; calls alternate",
        "autograd": "the formula in plain PyTorch; " + ", ".join(list(others)[1:]),
        "speedup": "median over rounds of theirs / ours; quartiles of the ratio",
        "memory": "most bytes that tensors held at once",
    }
    words = " --lejepa REPOSITORY" if lejepa else ""
    return Table("speed-sigreg", f"python -m benchmarks sigreg{words}", protocol, rows)


def by_autograd_of_step_3(features: Tensor) -> Tensor:
    """The formula, with the directions of step 3."""
    return by_autograd(features, step=3, num_slices=SLICES)


def _others(lejepa: Path | None) -> dict[str, Callable[[Tensor], Tensor]]:
    """SIGReg of `b d` of installed packages, and of the repository."""
    found: dict[str, Callable[[Tensor], Tensor]] = {}
    if installed("lightly"):
        from lightly.loss.lejepa_loss import SIGReg

        found["lightly"] = SIGReg(knots=KNOTS, t_max=LAST_KNOT, num_vectors=SLICES)
    if lejepa is not None:
        with imported_from(lejepa, "lejepa/univariate/epps_pulley.py"):
            from lejepa.multivariate import SlicingUnivariateTest
            from lejepa.univariate import EppsPulley

        found["lejepa"] = SlicingUnivariateTest(EppsPulley(LAST_KNOT, KNOTS), num_slices=SLICES)
    return found


def _rows(
    batch: int, width: int, ours: Mapping[str, Powers],
    others: Mapping[str, Callable[[Tensor], Tensor]], *, repeats: int, device: str,
) -> list[Row]:  # fmt: skip
    features = torch.randn(batch, width, generator=torch.Generator().manual_seed(7))
    features = features.to(device).requires_grad_()

    def by(powers: Powers) -> Tensor:
        return sigreg(features, step=3, num_slices=SLICES, powers=powers)

    # Of narrow latents, of which all directions tell the same: do all measure the same thing?
    narrow = 0.1 * features.detach()
    expected = sigreg(narrow, step=3, num_slices=SLICES)
    for name, other in others.items():
        if not torch.isclose(other(narrow), expected, rtol=0.01):
            raise ConfigError(f"{name}'s SIGReg is another than ours: its value differs")
    forms: dict[str, Callable[[], None]] = {
        **{k: lambda v=v: _descend(v(features), features) for k, v in others.items()},
        **{k: lambda v=v: _descend(by(v), features) for k, v in ours.items()},
    }
    times = time_alternately(forms, repeats=repeats, device=device)
    memory = {name: peak_tensor_bytes(form) / 2**20 for name, form in forms.items()}
    size = f"n{batch}.d{width}.m{SLICES}"
    rows = [Row.median(f"{size}.{k}_ms", [1e3 * s for s in v]) for k, v in times.items()]
    for mine, theirs in itertools.product(ours, others):
        ratios = [a / b for a, b in zip(times[theirs], times[mine], strict=True)]
        bar = BARS.get((batch, width)) if mine == "compiled" else EAGER_BAR
        rows.append(Row.median(f"{size}.{mine}_over_{theirs}", ratios, bar=bar))
    rows += [Row.exact(f"{size}.{name}_mib", mib) for name, mib in memory.items()]
    share = memory["eager"] / memory["autograd"]
    return [*rows, Row.exact(f"{size}.memory_share", share, at_most=MEMORY_BAR)]


def _descend(loss: Tensor, features: Tensor) -> None:
    features.grad = None
    loss.backward()
