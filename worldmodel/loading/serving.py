"""What a worker process does: tasks, until its parent is gone; `workers.py` is the other side."""

import contextlib
import faulthandler
import os
import signal
import threading
from collections.abc import Callable
from multiprocessing import connection, parent_process
from typing import Any

from worldmodel.errors import VideoError, WorldModelError

WATCHDOG_EXIT = 1  # the exit code that faulthandler gives
_GRACE = 10.0  # seconds after its time that a process ends by itself, if nobody ended it


def serve(pipe: connection.Connection, work: Callable[[Any], Any], seconds: float) -> None:
    """Do the tasks that come through a pipe, one after the other.

    Args:
        pipe: Brings tasks and takes (whether it went well, result or error).
        work: Does one.
        seconds: Longest time that one may take.
    """
    # Ctrl-C reaches all processes of a terminal; the parent is the one that says so and stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    import torch

    torch.set_num_threads(1)
    quiet = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while True:
            task = pipe.recv()
            # A watchdog in C, for a decoder that hangs with the interpreter's lock while nobody
            # is left to end it.
            faulthandler.dump_traceback_later(seconds + _GRACE, exit=True, file=quiet)
            answer = _do(work, task)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(answer)


def _do(work: Callable[[Any], Any], task: Any) -> tuple[bool, Any]:
    try:
        return True, work(task)
    except WorldModelError as error:
        return False, type(error)(str(error))
    except MemoryError:
        return False, VideoError(
            f"{task.name}: there is not enough memory to read it; leave it out, or read it smaller"
        )
    except Exception as error:
        text = f"{task.name}: {type(error).__name__} in a decoder process: {error}"
        return False, RuntimeError(text)


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
