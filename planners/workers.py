"""Episodes spread over processes; the results do not depend on how many there are.

Each worker is a fresh interpreter (spawned, so that no renderer or thread pool is shared) that
computes on one thread. Knows nothing of what the work is.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from multiprocessing import util
from typing import Any, TypeVar

import torch

from worldmodel.errors import ConfigError

Item = TypeVar("Item")
Result = TypeVar("Result")
OpenWork = Callable[[], AbstractContextManager[Callable[[Item], Result]]]


def spread(open_work: OpenWork, items: Sequence[Item], *, workers: int) -> Iterator[Result]:
    """The work's results for `items`, in their order, as they become ready.

    Args:
        open_work: called once in each process. Returns a context whose value does one item; what
            must not be made anew for each (environments, models) is made when it is entered and
            closed when it is left. Must be picklable where `workers > 1`.
        items: what is worked on; each by itself, so that their order cannot matter.
        workers: number of processes; 1 works in this process.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if not items:
        return
    if min(workers, len(items)) == 1:
        with _one_thread(), open_work() as work:
            yield from map(work, items)
        return
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(min(workers, len(items)), context, _start_worker, (open_work,))
    try:
        yield from pool.map(_run_in_worker, items)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _one_thread() -> Iterator[None]:
    # Sums over several threads round differently: with one, every number of workers agrees.
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


class _Worker:
    """What one worker process holds.

    The work is opened with the first item, so that an error in opening it reaches the parent as
    itself and not as a broken pool.
    """

    open_work: OpenWork | None = None
    work: Callable[[Any], Any] | None = None


def _start_worker(open_work: OpenWork) -> None:
    # Ctrl-C reaches all processes of a terminal; the parent is the one that says so and stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _Worker.open_work = open_work


def _run_in_worker(item: Any) -> Any:
    if _Worker.work is None:
        assert _Worker.open_work is not None
        stack = ExitStack()
        _Worker.work = stack.enter_context(_Worker.open_work())
        util.Finalize(None, stack.close, exitpriority=10)
    return _Worker.work(item)
