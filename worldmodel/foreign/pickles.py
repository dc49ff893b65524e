"""Reading `.pt` files of others: tensors in dictionaries, and nothing that could run.

PyTorch's restricted unpickler (`weights_only=True`) builds tensors and plain values alone; any
other name in the file is refused by it.
"""

import os
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.data.files import require_file
from worldmodel.errors import CheckpointError

# What PyTorch says of a pickle that asks for anything but tensors and plain values.
_OTHER_THAN_WEIGHTS = ("Unsupported global", "Unsupported class", "unrecognized function")


def read_pickle(path: Path) -> Mapping[str, Any]:
    """The dictionary that a `.pt` file holds; its tensors stay on disk until they are used.

    Raises:
        CheckpointError: the file is missing, truncated, of another kind, or would run code.
    """
    require_file(path, "checkpoint", CheckpointError)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, which are refused here anyway
            # Files of before 2020 are no zip archives and cannot be mapped.
            zipped = zipfile.is_zipfile(path)
            if zipped and _packed(path):
                raise CheckpointError(
                    f"{path}: is a compressed archive, which PyTorch does not write; fetch it again"
                )
            held = torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except CheckpointError:
        raise
    except Exception as cause:  # a damaged pickle ends in any exception that there is
        reason = " ".join(str(cause).split())
        if any(words in reason for words in _OTHER_THAN_WEIGHTS):
            raise CheckpointError(
                f"{path}: holds more than tensors and plain values; it was not executed; take a "
                "checkpoint of tensors, or have who made it save the state dictionary alone"
            ) from cause
        raise CheckpointError(
            f"{path}: not a whole PyTorch file ({type(cause).__name__}): truncated, or of another "
            "kind; fetch it again"
        ) from cause
    if not isinstance(held, Mapping):
        raise CheckpointError(
            f"{path}: holds {type(held).__name__}, not a dictionary of weights; name a checkpoint"
        )
    return held


def _packed(path: Path) -> bool:
    """Whether a member of an archive is compressed: it may become any size, and is not mapped."""
    with zipfile.ZipFile(path) as archive:
        return any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())


def weights_of(held: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """A state dictionary, without the prefixes that wrappers in training leave.

    Raises:
        CheckpointError: something in it is no tensor, or two keys become the same.
    """
    found: dict[str, Tensor] = {}
    size = os.path.getsize(path)
    for key, value in held.items():
        if not isinstance(key, str) or not isinstance(value, Tensor) or not _is_plain(value):
            raise CheckpointError(
                f"{path}: {str(key)[:120]} holds {type(value).__name__}, not a dense tensor; "
                "it is not a state dictionary"
            )
        if value.numel() * value.element_size() > min(size, value.untyped_storage().nbytes()):
            raise CheckpointError(
                f"{path}: {key[:120]} claims {value.numel()} numbers, more than the file holds; "
                "fetch it again"
            )
        name = key
        while name.startswith(("module.", "backbone.")):
            name = name.partition(".")[2]
        if name in found:
            raise CheckpointError(f"{path}: holds {name[:120]} twice; it is not of one model")
        found[name] = value
    return found


def _is_plain(tensor: Tensor) -> bool:
    return tensor.layout == torch.strided and tensor.device.type == "cpu"
