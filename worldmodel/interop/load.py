"""`load`: read a model from our folders, V-JEPA's files or Hugging Face's folders."""

from pathlib import Path

import torch

from worldmodel.checkpoint import is_own, load_own, placed
from worldmodel.errors import CheckpointError
from worldmodel.interop import Hints, KeyReport, recognise
from worldmodel.model import WorldModel
from worldmodel.storage.files import require_access


def load(
    path: Path | str, *, device: torch.device | str = "cpu", family: str | None = None,
    heads: int | None = None, predictor_heads: int | None = None, size: int | None = None,
) -> WorldModel:  # fmt: skip
    """Read a model from its folder, from the folder of the run that made it, or its JSON file.

    V-JEPA's `.pt` files and Hugging Face's V-JEPA 2 folders are read too; see docs/weights.md.

    Args:
        path: for example `runs/quickstart`.
        device: where the weights go.
        family: of a third-party `.pt` file, if its keys leave it open: `vjepa`, `vjepa2`,
            `vjepa2.1` or `vjepa2-ac`.
        heads: attention heads of its encoder, if its width is not a published one.
        predictor_heads: attention heads of its predictor, likewise.
        size: side of its frames in pixels, if not the published one.

    Returns:
        The model, ready to use (evaluation mode).

    Raises:
        CheckpointError: there is no model, it is of another version, truncated, third-party, or its
            keys do not fit; or a hint is given for a model of ours, which needs none.
        ConfigError: there is no such device here.
    """
    hints = Hints(family, heads, predictor_heads, size)
    return placed(load_with_report(Path(path), hints)[0], device)


def load_with_report(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport | None]:
    """A model, and the report on its keys if it is a third-party one; see `load`."""
    require_access(path, CheckpointError, "model")
    if is_own(path) and hints != Hints():
        raise CheckpointError(
            f"{path}: is a model of ours: leave out family, heads and size, it says them itself"
        )
    reader = None if is_own(path) else recognise(path)
    return (load_own(path), None) if reader is None else reader(path, hints)
