"""Files of tensors: written whole or not at all, read without ever executing what they say."""

from pathlib import Path

from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.storage.files import require_access, whole_file
from worldmodel.storage.write_tensors import write_safetensors

FORMAT_VERSION = 2
_REMEDY = "train the model again or convert it"


def save_tensors(tensors: dict[str, Tensor], header: dict[str, str], path: Path) -> None:
    """Write tensors and a header of strings as one file, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as temporary:
        write_safetensors(tensors, temporary, {"format_version": str(FORMAT_VERSION), **header})


def read_tensors(path: Path, *, remedy: str = _REMEDY) -> dict[str, Tensor]:
    """The tensors of a safetensors file.

    Args:
        path: The file.
        remedy: What to do where it is damaged.

    Raises:
        CheckpointError: the file is missing, truncated or of another kind.
    """
    return read_tensors_and_header(path, remedy=remedy)[0]


def read_tensors_and_header(
    path: Path, *, remedy: str = _REMEDY
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors and the header of a safetensors file; see `read_tensors`."""
    require_access(path, CheckpointError)
    if not path.is_file():
        raise CheckpointError(f"{path}: no such file; check the path, or {remedy}")
    try:
        with safe_open(path, framework="pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}
            return tensors, dict(file.metadata() or {})
    except (SafetensorError, OSError) as cause:
        if _is_pointer(path):
            raise CheckpointError(
                f"{path}: is a pointer of Git LFS, not the weights; run git lfs pull beside it"
            ) from cause
        raise CheckpointError(
            f"{path}: not a whole safetensors file ({cause}): truncated, or of another kind such "
            f"as a pickle; {remedy}"
        ) from cause


def _is_pointer(path: Path) -> bool:
    """Whether it is what Git leaves in place of a large file that it has not fetched."""
    start = b"version https://git-lfs"
    try:
        with path.open("rb") as file:
            return file.read(len(start)) == start
    except OSError:
        return False
