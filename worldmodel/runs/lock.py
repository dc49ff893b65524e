"""One process at a time writes a folder.

The system takes the lock back when the process ends, however it ends.
"""

import fcntl
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from worldmodel.errors import RunError

LOCK = ".lock"  # in the folder, while it is written; says which process writes
_held: dict[Path, tuple[int, int]] = {}  # file descriptor, and how often this process holds it


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder while the block runs."""
    hold(folder)
    try:
        yield
    finally:
        release(folder)


def hold(folder: Path) -> None:
    """Keep other processes from writing a folder, which is made if need be, until `release`.

    The process that holds it may hold it again.

    Raises:
        RunError: another process holds it.
        OSError: the folder cannot be made or written.
    """
    key = Path(os.path.realpath(folder))
    path = key / LOCK
    if key in _held:
        descriptor, count = _held[key]
        if _is_same_file(descriptor, path):
            _held[key] = (descriptor, count + 1)
            return
        os.close(descriptor)  # the folder was removed meanwhile
    while True:
        key.mkdir(parents=True, exist_ok=True)
        # Not `flock`: forked workers inherit that one, and may outlive a killed run.
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        try:
            fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError) as cause:
            holder = os.read(descriptor, 1000).decode(errors="replace") or "another process"
            os.close(descriptor)
            raise RunError(
                f"{folder}: is being written by {holder}; wait until it ends, or name another"
            ) from cause
        if _is_same_file(descriptor, path):
            break
        os.close(descriptor)  # its last holder let go of it and removed it in between
    os.ftruncate(descriptor, 0)
    os.write(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode())
    _held[key] = (descriptor, 1)


def release(folder: Path) -> None:
    """Let go of a folder that this process holds; does nothing if it does not."""
    key = Path(os.path.realpath(folder))
    descriptor, count = _held.pop(key, (-1, 0))
    if count > 1:
        _held[key] = (descriptor, count - 1)
    elif count == 1:
        # Removed while it is still locked: whoever opened it sees that it is not there any more.
        (key / LOCK).unlink(missing_ok=True)
        os.close(descriptor)


def _is_same_file(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False
