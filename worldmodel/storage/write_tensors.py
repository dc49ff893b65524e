"""Writing safetensors, whose own errors say of a full disk that a file could not be serialised."""

import os
import re
from collections.abc import Mapping
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor


def write_safetensors(
    tensors: Mapping[str, Tensor], path: Path, metadata: dict[str, str] | None = None
) -> None:
    """Write a safetensors file in place.

    Raises:
        OSError: it cannot be written, for example because the disk is full.
    """
    # In main memory, without gradients or gaps.
    whole = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    try:
        save_file(whole, path, metadata)
    except SafetensorError as cause:
        found = re.search(r"\(os error (\d+)\)", str(cause))
        if found is None:
            raise
        number = int(found[1])
        raise OSError(number, os.strerror(number), str(path)) from cause
