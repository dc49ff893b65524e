"""Checkpoints of others in `.pt` files: dictionaries of tensors."""

import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.storage.pickles import is_dense, is_held, read_torch


def read_pickle(path: Path) -> Mapping[str, Any]:
    """The dictionary that a `.pt` file holds; its tensors stay on disk until they are used.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind, or would run code.
    """
    try:
        held = read_torch(path, "checkpoint", CheckpointError)
    except CheckpointError as cause:
        if _is_torchscript(path):
            raise CheckpointError(
                f"{path}: is a TorchScript program, which is not run; save the model's state "
                "dictionary with torch.save instead"
            ) from cause
        raise
    if not isinstance(held, Mapping):
        raise CheckpointError(
            f"{path}: holds {type(held).__name__}, not a dictionary of weights; name a checkpoint"
        )
    return held


def weights_of(held: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """A state dictionary, without the prefixes that wrappers in training leave.

    Raises:
        CheckpointError: something in it is no tensor, or two keys become the same.
    """
    found: dict[str, Tensor] = {}
    size, claimed = os.path.getsize(path), 0
    for key, value in held.items():
        if not isinstance(key, str) or not is_dense(value):
            raise CheckpointError(
                f"{path}: {str(key)[:120]} holds {type(value).__name__}, not a dense tensor; "
                "it is not a state dictionary"
            )
        if not is_held(value, size):
            raise CheckpointError(
                f"{path}: {key[:120]} claims {value.numel()} numbers, more than the file holds; "
                "fetch it again"
            )
        claimed += value.numel() * value.element_size()
        if claimed > size:  # some are the same numbers, which would be copied for each
            raise CheckpointError(
                f"{path}: its tensors claim {claimed} bytes and more, the file has {size}: it says "
                "some numbers several times; save a state dictionary of tensors of their own"
            )
        name = key
        while name.startswith(("module.", "backbone.")):
            name = name.partition(".")[2]
        if name in found:
            raise CheckpointError(f"{path}: holds {name[:120]} twice; it is not of one model")
        found[name] = value
    return found


def _is_torchscript(path: Path) -> bool:
    """Whether it is an archive with code beside its tensors, as `torch.jit.save` writes them."""
    try:
        if not path.is_file():  # a pipe would be waited for
            return False
        with zipfile.ZipFile(path) as archive:
            return any(name.endswith("/constants.pkl") for name in archive.namelist())
    except Exception:  # a damaged archive ends in any exception that there is
        return False
