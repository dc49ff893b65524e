"""Files of other people that are pickles, read without running anything that is in them.

`.pt` and `.pth` go through PyTorch's restricted unpickler (`weights_only=True`), which builds
tensors and plain values alone. Other pickles are not unpickled at all.
"""

import io
import pickletools
import warnings
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from worldmodel.errors import WorldModelError
from worldmodel.storage.files import require_file
from worldmodel.storage.pickled_tuples import largest_tuple

# What PyTorch says of a pickle that asks for anything but tensors and plain values.
_OTHER_THAN_WEIGHTS = ("GLOBAL", "allowlisted", "Unsupported class", "unrecognized function")
# What a pickled list of whole numbers consists of, beside the numbers.
_OF_A_LIST = frozenset(
    "PROTO FRAME MARK EMPTY_LIST LIST MEMOIZE PUT BINPUT LONG_BINPUT APPEND APPENDS STOP".split()
)
_WHOLE = frozenset("BININT BININT1 BININT2 INT LONG LONG1".split())
_MOST_BYTES = 2**26  # of such a list
_MOST_PARTS = 10**5  # of a tuple; those of weights hold shapes


def read_torch(path: Path, what: str, error: type[WorldModelError]) -> Any:
    """What `torch.save` wrote; tensors stay on disk until they are used.

    Args:
        path: The file.
        what: Its name in messages, for example "checkpoint".
        error: The class to raise.

    Raises:
        WorldModelError: of class `error`: it is missing, truncated, of another kind, or would run
            code.
    """
    require_file(path, what, error)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd pickles, which are refused here anyway
            # Files of before 2020 are no zip archives and cannot be mapped.
            zipped = zipfile.is_zipfile(path)
            if zipped and _packed(path):
                raise error(
                    f"{path}: is a compressed archive, which PyTorch does not write; fetch it again"
                )
            if _largest_tuple(path, zipped) > _MOST_PARTS:
                raise error(
                    f"{path}: holds a tuple of more than {_MOST_PARTS} parts, which no weights "
                    "need; it was not built"
                )
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except error:
        raise
    except Exception as cause:  # a damaged pickle ends in any exception that there is
        reason = " ".join(str(cause).split())
        if any(words in reason for words in _OTHER_THAN_WEIGHTS):
            raise error(
                f"{path}: holds more than tensors and plain values; it was not executed; have who "
                "made it save tensors alone, of a model its state dictionary"
            ) from cause
        raise error(
            f"{path}: not a whole PyTorch file ({type(cause).__name__}): truncated, or of another "
            "kind; fetch it again"
        ) from cause


def is_dense(value: Any) -> TypeGuard[Tensor]:
    """Whether it is a tensor whose numbers lie in memory, or in the file."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu


def is_held(tensor: Tensor, size: int) -> bool:
    """Whether a file of `size` bytes can hold all that a dense tensor from it claims."""
    claimed = tensor.numel() * tensor.element_size()
    return claimed <= min(size, tensor.untyped_storage().nbytes())


def read_list(path: Path, what: str, error: type[WorldModelError]) -> list[int]:
    """A pickled list of whole numbers, looked at and never unpickled.

    Raises:
        WorldModelError: of class `error`: it is missing, damaged, or anything else.
    """
    require_file(path, what, error)
    if path.stat().st_size > _MOST_BYTES:
        raise error(f"{path}: is larger than {_MOST_BYTES >> 20} MiB, too much for a {what}")
    found, lists = [], 0
    try:
        for step, value, _ in pickletools.genops(path.read_bytes()):
            if step.name in _WHOLE and type(value) is int:
                found.append(value)
            elif step.name not in _OF_A_LIST:
                raise error(
                    f"{path}: is a pickle of something else than a list of whole numbers; it was "
                    f"not executed; save such a {what} with torch.save, as {path.stem}.pth"
                )
            lists += step.name in ("EMPTY_LIST", "LIST")
    except error:
        raise
    except Exception as cause:  # a damaged pickle ends in any exception that there is
        raise error(
            f"{path}: not a whole pickle ({type(cause).__name__}): truncated, or of another kind; "
            "fetch it again"
        ) from cause
    if lists != 1:
        raise error(f"{path}: holds {lists} lists, where one {what} belongs; fetch it again")
    return found


def _packed(path: Path) -> bool:
    """Whether a member of an archive is compressed: it may become any size, and is not mapped."""
    with zipfile.ZipFile(path) as archive:
        return any(member.compress_type != zipfile.ZIP_STORED for member in archive.infolist())


def _largest_tuple(path: Path, zipped: bool) -> int:
    """The parts of the largest tuple in the pickles of a file, up to where it is damaged.

    Before it was an archive it was five pickles one after the other, and then the numbers.
    """
    found = [0]
    with suppress(Exception):  # what is damaged is told by who reads it
        if zipped:
            with zipfile.ZipFile(path) as archive:
                for name in archive.namelist():
                    if name.endswith("data.pkl"):
                        with archive.open(name) as file:
                            found.append(largest_tuple(io.BytesIO(file.read()), most=_MOST_PARTS))
        else:
            with path.open("rb") as file:
                for _ in range(5):
                    found.append(largest_tuple(file, most=_MOST_PARTS))
    return max(found)
