"""`load`: read a model from our folders, V-JEPA's files or Hugging Face's folders."""

from pathlib import Path

import torch

from worldmodel.checkpoint import is_own, load_own, placed
from worldmodel.errors import CheckpointError
from worldmodel.interop import Hints, KeyReport, recognise, vjepa_probe
from worldmodel.model import WorldModel
from worldmodel.storage.files import require_access


def load(
    path: Path | str, *, device: torch.device | str = "cpu", family: str | None = None,
    heads: int | None = None, predictor_heads: int | None = None, size: int | None = None,
    classifier: str | Path | None = None,
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
        classifier: an attentive probe of V-JEPA, a `.pt` file, that becomes the model's classifier;
            `file.pt::3` is number 3 (from 0) of several.

    Returns:
        The model, ready to use (evaluation mode).

    Raises:
        CheckpointError: there is no model, it is of another version, truncated, third-party, or its
            keys do not fit; or a hint is given for a model of ours, which needs none.
        ConfigError: there is no such device here.
    """
    hints = Hints(family, heads, predictor_heads, size)
    model, _ = load_with_report(Path(path), hints)
    if classifier is not None:
        model, _ = vjepa_probe.with_classifier(model, str(classifier))
    return placed(model, device)


def load_with_report(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport | None]:
    """A model, and the report on its keys if it is a third-party one; see `load`."""
    require_access(path, CheckpointError, "model")
    if is_own(path) and hints != Hints():
        raise CheckpointError(
            f"{path}: is a model of ours: leave out family, heads and size, it says them itself"
        )
    reader = None if is_own(path) else recognise(path)
    return (load_own(path), None) if reader is None else reader(path, hints)
