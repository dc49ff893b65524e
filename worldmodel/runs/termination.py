"""SIGTERM, by which a scheduler or a machine that shuts down asks a process to end soon."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Request:
    """Has the process been asked to end?"""

    made: bool = False


@contextmanager
def requests_to_end() -> Iterator[Request]:
    """While the block runs, SIGTERM only marks the request that is yielded.

    Only the main thread may set how a signal is handled; in others, SIGTERM does what it did.
    """
    request = Request()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def mark(*_: object) -> None:
        request.made = True

    before = signal.signal(signal.SIGTERM, mark)
    try:
        yield request
    finally:
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)
