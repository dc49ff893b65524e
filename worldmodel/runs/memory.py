"""The peak memory of this process and its workers, sampled while a run is open.

On Linux it reads `/proc`; elsewhere it knows the peak of this process only.
"""

import os
import resource
import sys
import threading
from contextlib import suppress
from pathlib import Path

_PAGE = os.sysconf("SC_PAGE_SIZE")
_GIB = 2**30


class MemoryWatch:
    """Samples resident memory in a daemon thread until `stop`.

    Pages that workers share with their parent count once.

    Args:
        every_seconds: Time between two samples.
    """

    def __init__(self, every_seconds: float = 0.5) -> None:
        self._every = every_seconds
        self._done = threading.Event()
        self._lock = threading.Lock()
        self._peak = 0  # bytes
        self._thread = threading.Thread(target=self._watch, name="memory-watch", daemon=True)
        self._thread.start()

    @property
    def peak_gib(self) -> float:
        """The largest sample so far, in GiB."""
        self._sample()
        return self._peak / _GIB

    def stop(self) -> None:
        """Take a last sample and end the thread."""
        self._sample()
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        now = resident_bytes()
        with self._lock:  # two threads sample: the smaller number must not come last
            self._peak = max(self._peak, now)

    def _watch(self) -> None:
        while not self._done.wait(self._every):
            self._sample()


def resident_bytes() -> int:
    """Resident memory of this process, plus what its descendants hold for themselves."""
    own = _statm(os.getpid())
    if own is None:
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return peak if sys.platform == "darwin" else peak * 1024
    resident, _ = own
    for child in _descendants(os.getpid()):
        pages = _statm(child)
        if pages is not None:
            resident += pages[0] - pages[1]
    return resident * _PAGE


def _statm(pid: int) -> tuple[int, int] | None:
    """Resident and shared pages of a process, or None when it is gone."""
    try:
        fields = Path(f"/proc/{pid}/statm").read_text().split()
    except OSError:
        return None
    return int(fields[1]), int(fields[2])


def _descendants(pid: int) -> list[int]:
    found: list[int] = []
    # A process or a thread may end while we look; what is gone holds nothing.
    with suppress(OSError):
        for task in os.listdir(f"/proc/{pid}/task"):
            with suppress(OSError):
                children = Path(f"/proc/{pid}/task/{task}/children").read_text().split()
                for child in map(int, children):
                    found += [child, *_descendants(child)]
    return found
