"""Verbs small enough to see through, for tests of the command line."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from worldmodel.errors import ConfigError, VideoError
from worldmodel.runs.run import Run

CALLS: list[str] = []


@dataclass(frozen=True)
class Size:
    width: int = 4
    depth: int = 1

    def __post_init__(self) -> None:
        if self.width < 1:
            raise ConfigError(f"width must be at least 1, got {self.width}")


def toy(
    run: Run,
    *,
    size: Size,
    path: str,
    steps: int = 3,
    rate: float = 0.5,
    mode: Literal["fast", "slow"] = "fast",
    options: Mapping[str, Any] | None = None,
    seed: int,
) -> dict[str, float]:
    """Do nothing, visibly.

    Args:
        size: How wide.
        path: A file; `missing` is one that is not there,
            `interrupt` and `broken` end the run half-way.
        steps: How often.
        rate: How fast.
        mode: How.
        options: Anything.
        seed: Of the run.
    """
    CALLS.append(path)
    if path == "missing":
        raise VideoError("missing: no such video; check the path")
    with run.progress(steps, "toy") as bar:
        for step in range(steps):
            run.log(step, loss=1.0 / (step + 1))
            bar.advance(loss=1.0)
            if path == "interrupt":
                raise KeyboardInterrupt
            if path == "broken":
                raise RuntimeError("a defect")
    return {
        "rate": rate,
        "rate.n": 10,
        "rate.low": 0.2,
        "rate.high": 0.8,
        "area": size.width * size.depth,
        "options": len(options or {}),
        "problems": float(path == "bad"),
        "seed": seed,
    }


def other(run: Run, *, size: str) -> dict[str, float]:
    """Take a name where the other verb takes a choice."""
    return {"letters": len(size)}
