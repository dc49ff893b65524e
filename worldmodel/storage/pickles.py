"""Third-party pickles, read without running anything that is in them.

`.pt` and `.pth` go through PyTorch's restricted unpickler (`weights_only=True`), which builds only
tensors and plain values. Other pickles are not unpickled at all.
"""

import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from worldmodel.errors import CheckpointError, WorldModelError
from worldmodel.storage.files import require_file

# What PyTorch says of a pickle that asks for anything but tensors and plain values.
_OTHER_THAN_WEIGHTS = ("GLOBAL", "allowlisted", "Unsupported class", "unrecognized function")
# What a pickled list of whole numbers consists of, beside the numbers.
_OF_A_LIST = frozenset(
    "PROTO FRAME MARK EMPTY_LIST LIST MEMOIZE PUT BINPUT LONG_BINPUT APPEND APPENDS STOP".split()
)
_WHOLE = frozenset("BININT BININT1 BININT2 INT LONG LONG1".split())
_MOST_BYTES = 2**26  # of such a list


def read_torch(path: Path, what: str, error: type[WorldModelError]) -> Any:
    """The content of a file of `torch.save`; tensors stay on disk until they are used.

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
            # Files from before 2020 are not zip archives and cannot be mapped.
            zipped = zipfile.is_zipfile(path)
            if zipped:
                _require_plain(path, error)
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped)
    except error:
        raise
    except Exception as cause:  # a damaged pickle may raise anything
        reason = " ".join(str(cause).split())
        if any(words in reason for words in _OTHER_THAN_WEIGHTS):
            raise error(
                f"{path}: holds more than tensors and plain values; it was not executed; ask its "
                "author to save tensors only: for a model, its state dictionary"
            ) from cause
        raise error(
            f"{path}: not a complete PyTorch file ({type(cause).__name__}): truncated, or of "
            "another kind; fetch it again"
        ) from cause


def is_dense(value: Any) -> TypeGuard[Tensor]:
    """True for a dense tensor in memory, or in the file."""
    return isinstance(value, Tensor) and value.layout == torch.strided and value.is_cpu


def is_held(tensor: Tensor, size: int) -> bool:
    """True if a file of `size` bytes can hold all that a dense tensor from it claims."""
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
    except Exception as cause:  # a damaged pickle may raise anything
        raise error(
            f"{path}: not a complete pickle ({type(cause).__name__}): truncated, or of another "
            "kind; fetch it again"
        ) from cause
    if lists != 1:
        raise error(f"{path}: holds {lists} lists, where one {what} belongs; fetch it again")
    return found


def read_pickle(path: Path) -> Mapping[str, Any]:
    """The dictionary in a `.pt` file; its tensors stay on disk until they are used.

    Raises:
        CheckpointError: see `read_torch`, or it holds something else.
    """
    held = read_torch(path, "checkpoint", CheckpointError)
    if not isinstance(held, Mapping):
        raise CheckpointError(
            f"{path}: holds {type(held).__name__}, not a dictionary of weights; name a checkpoint"
        )
    return held


def weights_of(held: Mapping[Any, Any], path: Path) -> dict[str, Tensor]:
    """A state dictionary out of a file, without the prefixes that training wrappers leave.

    Raises:
        CheckpointError: a value is not a tensor, two keys become the same, or the tensors claim
            more than the file holds.
    """
    found: dict[str, Tensor] = {}
    size, claimed = path.stat().st_size, 0
    for key, value in held.items():
        if not isinstance(key, str) or not is_dense(value):
            raise CheckpointError(
                f"{path}: {key} holds {type(value).__name__}, not a dense tensor; it is not a "
                "state dictionary"
            )
        claimed += value.numel() * value.element_size()
        if claimed > size:  # some share their numbers, which would be copied for each
            raise CheckpointError(
                f"{path}: its tensors claim {claimed} bytes or more, the file has {size}: it gives "
                "some numbers several times, or more than the file holds; save a state dictionary "
                "of tensors of their own, or fetch it again"
            )
        name = key
        while name.startswith(("module.", "backbone.")):
            name = name.partition(".")[2]
        if name in found:
            raise CheckpointError(f"{path}: holds {name} twice; it is not of one model")
        found[name] = value
    return found


def _require_plain(path: Path, error: type[WorldModelError]) -> None:
    """Refuse an archive with a compressed member, which may become any size, or with a program."""
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.filename.endswith("/constants.pkl") for member in members):
        raise error(
            f"{path}: is a TorchScript program, which is not run; save the model's state "
            "dictionary with torch.save instead"
        )
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise error(
            f"{path}: is a compressed archive, which PyTorch does not write; fetch it again"
        )
