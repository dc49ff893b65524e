"""Checks of a file before it is opened, and writing one completely or not at all.

Knows nothing of the content of files.
"""

import csv
import errno
import glob
import hashlib
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError, WorldModelError

_LONGEST_NAME = 255  # bytes, on nearly every file system


def require_file(path: Path, what: str, error: type[WorldModelError]) -> None:
    """Refuse a path that is not a readable, non-empty regular file, before anything opens it.

    Opening a FIFO or a device blocks for ever, so this looks at the kind of file first.

    Args:
        path: The file.
        what: Its name in the message, for example "video".
        error: The class to raise.

    Raises:
        WorldModelError: of class `error`, naming the file, what is wrong and what to do.
    """
    try:
        status = path.stat()
    except (OSError, ValueError) as cause:  # no file can have a zero byte in its name
        reason = getattr(cause, "strerror", None) or cause
        raise error(f"{path}: no such {what} ({reason}); check the path") from cause
    if stat.S_ISDIR(status.st_mode):
        raise error(f"{path}: is a folder, not a {what}; name a file")
    if not stat.S_ISREG(status.st_mode):
        raise error(f"{path}: is a pipe, socket or device, not a {what}; name a regular file")
    if status.st_size == 0:
        raise error(f"{path}: is empty (0 bytes); fetch or make the {what} again, or remove it")
    if not os.access(path, os.R_OK):
        raise error(f"{path}: may not be read; check its permissions")


def require_access(path: Path, error: type[WorldModelError], *inside: str) -> None:
    """Refuse a path that may not be looked at or into, or whose parts `inside` may not.

    A path that does not exist passes.

    Raises:
        WorldModelError: of class `error`: it may not be looked at, or no file can have its name.
    """
    try:
        for name in (path, path / "anything", *(path / part / "anything" for part in inside)):
            with suppress(FileNotFoundError, NotADirectoryError):
                os.stat(name)
    except (OSError, ValueError) as cause:
        if getattr(cause, "errno", None) == errno.ELOOP:
            return  # a link to itself is as good as nothing
        reason = getattr(cause, "strerror", None) or cause
        raise error(
            f"{str(path)[:200]}: cannot be looked at ({reason}); check the path and its permissions"
        ) from cause


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """Write to the yielded temporary name; it becomes `path` when the block succeeds.

    A block that fails leaves neither the temporary file nor a half-written `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _temporary(path)
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def remove_unfinished(path: Path) -> None:
    """Remove what processes that were killed while they wrote `path` have left beside it.

    Nobody may be writing it.
    """
    for left in path.parent.glob(f".{glob.escape(path.stem)}.*.tmp{path.suffix}"):
        left.unlink(missing_ok=True)


def _temporary(path: Path) -> Path:
    """A hidden name beside a file, no longer than a name may be."""
    # The real ending stays last: some writers choose the format by it.
    mark = f"{os.getpid()}.tmp{path.suffix}"
    name = f".{path.stem}.{mark}"
    if len(os.fsencode(name)) > _LONGEST_NAME:
        name = f".{hashlib.sha256(os.fsencode(path.name)).hexdigest()[:32]}.{mark}"
    return path.with_name(name)


@contextmanager
def writing_output(output: str) -> Iterator[None]:
    """Turn what keeps files from being written into one line."""
    try:
        yield
    except OSError as cause:
        reason = os.strerror(cause.errno) if cause.errno else str(cause)
        where = f": {cause.filename}" if cause.filename else ""
        raise ConfigError(
            f"output={output}: cannot be written ({reason}{where}); make room or correct "
            f"its permissions and run again, or name another folder"
        ) from cause


def write_table(path: Path, of: type, rows: Sequence[Any]) -> None:
    """Write instances of the dataclass `of` as CSV, one line each below their field names.

    Names of files need not be text: their bytes are written as they are.
    """
    with whole_file(path) as temporary:
        file = temporary.open("w", newline="", encoding="utf-8", errors="surrogateescape")
        with file:
            writer = csv.DictWriter(file, [field.name for field in fields(of)])
            writer.writeheader()
            writer.writerows(asdict(row) for row in rows)
