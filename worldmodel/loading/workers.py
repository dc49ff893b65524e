"""Work in processes that can be replaced: decoding strangers' files, running episodes.

A decoder is C code on bytes from anywhere: it can loop for ever or take its process down, and so
can a simulator. Each task therefore bears a name: an error says which one its process was busy
with, and all other tasks go on. This is code of our own because what exists cannot say which task
it was: torch's `DataLoader` ends with "worker exited unexpectedly" and times out on whole batches,
and `concurrent.futures` loses all tasks when one process dies. Knows nothing of videos or
episodes.
"""

import contextlib
import faulthandler
import itertools
import os
import signal
import threading
import time
import traceback
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent import futures
from concurrent.futures import CancelledError, Future, InvalidStateError
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, parent_process, resource_tracker, util
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, Protocol, TypeVar

import torch

from worldmodel.errors import ConfigError, VideoError, WorldModelError

WATCHDOG_EXIT = 1  # the exit code that faulthandler gives
_GRACE = 10.0  # seconds after its time, or after it was asked, that a process ends by itself
_AHEAD = 2  # tasks that a process is given at a time, so that it need not wait for the next one
_SMALL = 2**15  # bytes of a task that a pipe holds for sure, beside another that is being done
_STARTING = 120.0  # seconds that a process may take to start: it imports torch


class Named(Protocol):
    """Something to do that can say what it is about."""

    @property
    def name(self) -> str:
        """For messages."""


@dataclass(frozen=True)
class Blame:
    """The error for a task that its process could not do."""

    error: type[WorldModelError] = VideoError
    crash: str = "the decoder crashed ({how}); leave it out, or encode it again"
    memory: str = "there is not enough memory to read it; leave it out, or read it smaller"
    late: str = "reading it took longer than {seconds:g} s; leave it out, or raise limits.seconds"
    alone: str = "workers=0"  # does the work without processes


Task = TypeVar("Task", bound=Named)
Result = TypeVar("Result")


class WorkerPool(Generic[Task, Result]):
    """Processes that do tasks, each on one thread; each result comes as a `Future`.

    A task that takes too long or takes its process down fails with an error that names it; the
    process is replaced and nothing else is lost. Workers end when the pool is closed or forgotten,
    and when this process dies, however it dies.

    Args:
        work: Does one task; picklable, copied into each process. Tensors in it that are in shared
            memory stay shared.
        workers: Number of processes; 0 does the work here, unguarded, when it is submitted.
        seconds: Longest time that one task may take; infinite where it may take any.
        ahead: Tasks that a process is given at a time.
        blame: What is said of a task that fails with its process.
    """

    def __init__(
        self, work: Callable[[Task], Result], *, workers: int, seconds: float,
        ahead: int = _AHEAD, blame: Blame = Blame(),
    ) -> None:  # fmt: skip
        if workers < 0 or not seconds > 0:
            raise ConfigError(
                f"workers must be at least 0 and seconds positive, got {workers} and {seconds}"
            )
        self.workers = workers
        self._work = work
        self._crew = _Crew(work, workers, seconds, ahead, blame) if workers else None
        # The thread holds the crew, not the pool: a pool that is forgotten is closed.
        self._finalizer = weakref.finalize(self, self._crew.stop) if self._crew else None

    def submit(self, task: Task) -> "Future[Result]":
        """Begin a task."""
        if self._crew is not None:
            return self._crew.submit(task)
        future: Future[Result] = Future()
        try:
            future.set_result(self._work(task))
        except Exception as error:  # told where the result is asked for, as from a process
            future.set_exception(error)
        return future

    def each(
        self, tasks: Iterable[Task], *, ahead: int = 8
    ) -> Iterator[tuple[Task, "Future[Result]"]]:
        """Every task with its finished future, in order; at most `ahead` are begun early."""
        rest = iter(tasks)
        begun: deque[tuple[Task, Future[Result]]] = deque()
        while True:
            for task in itertools.islice(rest, max(ahead if self.workers else 1, 1) - len(begun)):
                begun.append((task, self.submit(task)))
            if not begun:
                return
            task, future = begun.popleft()
            future.exception()  # waits
            yield task, future

    def finish(self) -> None:
        """Let processes end what they are doing and close what they hold, begin nothing more."""
        if self._crew is not None:
            self._crew.finish()
        self.close()

    def close(self) -> None:
        """End all processes at once; what was not finished is cancelled."""
        if self._finalizer is not None:
            self._finalizer()

    def __enter__(self) -> "WorkerPool[Task, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


OpenWork = Callable[[], AbstractContextManager[Callable[[Any], Result]]]


def spread(
    open_work: "OpenWork[Result]", items: Sequence[Any], *, workers: int,
    numbers: Sequence[int] | None = None, seconds: float = float("inf"),
) -> Iterator[Result]:  # fmt: skip
    """The work's results for `items`, in their order; the same for any number of workers.

    Args:
        open_work: Called once in each process. Returns a context whose value does one item; what
            must not be made anew for each (environments, models) is made when it is entered and
            closed when it is left. Must be picklable where `workers > 1`.
        items: What is worked on; each by itself, so that their order cannot matter.
        workers: Number of processes; 1 works in this process.
        numbers: Of the episodes that the items are, for messages; from 0 by default.
        seconds: Longest time that one may take in a process of its own; this one is not guarded.

    Raises:
        WorldModelError: naming an item whose process crashed or took longer; or what the work
            raises.
    """
    if workers < 1:
        raise ConfigError(f"workers must be at least 1, got {workers}")
    if not items:
        return
    workers = min(workers, len(items))
    if workers == 1:
        # Sums over several threads round differently: with one, every number of workers agrees.
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
        try:
            with open_work() as work:
                yield from map(work, items)
        finally:
            torch.set_num_threads(threads)
        return
    blame = Blame(
        WorldModelError, "its process crashed ({how}); workers=1 runs it in this process",
        "there is not enough memory for it; say fewer workers",
        "it took longer than {seconds:g} s, so something in it hangs; or raise patience=",
        "workers=1",
    )  # fmt: skip
    numbers = range(len(items)) if numbers is None else numbers
    tasks = [_Numbered(f"episode {n}", item) for n, item in zip(numbers, items, strict=True)]
    pool: WorkerPool[_Numbered, Result] = WorkerPool(
        _OpenedOnce(open_work), workers=workers, seconds=seconds, ahead=1, blame=blame
    )
    try:
        for _, future in pool.each(tasks, ahead=len(tasks)):
            yield future.result()
    finally:
        pool.finish()


@dataclass(frozen=True)
class _Numbered:
    name: str
    item: Any


class _OpenedOnce:
    """Work that is opened with its first task, and closed when its process ends.

    So an error in opening it reaches the parent as itself.
    """

    def __init__(self, open_work: OpenWork) -> None:
        self._open_work = open_work
        self._work: Callable[[Any], Any] | None = None

    def __call__(self, task: _Numbered) -> Any:
        if self._work is None:
            stack = ExitStack()
            self._work = stack.enter_context(self._open_work())
            util.Finalize(None, stack.close, exitpriority=10)
        return self._work(task.item)


@dataclass(eq=False)
class _Worker:
    """One process, as its parent sees it."""

    process: Any
    pipe: connection.Connection
    ready: bool = False
    given: deque[tuple[Any, Future]] = field(default_factory=deque)  # the first one is being done
    since: float = field(default_factory=time.monotonic)  # when that began

    def limit(self, seconds: float) -> float:
        """When its time is over."""
        if not self.ready:
            return self.since + max(seconds, _STARTING)
        return self.since + seconds if self.given else float("inf")


class _Crew:
    """The processes of a pool and the thread that hands out tasks and watches the clock."""

    def __init__(
        self, work: Callable[[Any], Any], workers: int, seconds: float, ahead: int, blame: Blame
    ) -> None:
        self._work, self._count, self._seconds = work, workers, seconds
        self._ahead, self._blame = ahead, blame
        self._context = get_context("spawn")  # a fork would share locks, threads and CUDA
        self._waiting: deque[tuple[Any, Future]] = deque()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._awake, self._wake = self._context.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="workers", daemon=True)
        self._thread.start()

    def submit(self, task: Any) -> Future:
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._waiting.append((task, future))
        self._wake.send_bytes(b"1")
        return future

    def finish(self) -> None:
        with self._lock:
            waiting = [future for _, future in self._waiting]
            self._waiting.clear()
            given = [future for worker in self._workers for _, future in worker.given]
        for future in waiting:
            future.cancel()
        futures.wait(given)
        self.stop(kill=False)

    def stop(self, *, kill: bool = True, error: Exception | None = None) -> None:
        """End all processes. What was not finished fails with the error, or is cancelled."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            if kill or not worker.ready:  # one that is still starting holds nothing
                worker.process.kill()
            else:
                with contextlib.suppress(OSError):
                    worker.pipe.send(None)
        with contextlib.suppress(OSError):
            self._wake.send_bytes(b"1")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        limit = time.monotonic() + _GRACE
        for worker in workers:
            worker.process.join(max(limit - time.monotonic(), 0))
            worker.process.kill()
            worker.process.join()
            worker.pipe.close()
        for _, future in [*self._waiting, *(pair for worker in workers for pair in worker.given)]:
            # One that runs cannot be cancelled, but its process is gone.
            if error is not None or not future.cancel():
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(error or CancelledError())

    def _run(self) -> None:
        try:
            while self._fill():
                limit = min(worker.limit(self._seconds) for worker in self._workers)
                pipes: list[Any] = [self._awake, *(worker.pipe for worker in self._workers)]
                timeout = None if limit == float("inf") else max(limit - time.monotonic(), 0)
                ready = connection.wait(pipes, timeout)
                if self._awake in ready:
                    self._awake.recv_bytes()
                for worker in list(self._workers):
                    if worker.pipe in ready:
                        self._listen(worker)
                    elif time.monotonic() > worker.limit(self._seconds):
                        self._end(worker, late=True)
        except Exception as error:  # nobody would hear of it: tell whoever waits
            if not self._closed:
                self.stop(error=error)

    def _fill(self) -> bool:
        """Start the processes that are missing and give each its tasks; False once closed."""
        while len(self._workers) < self._count and not self._closed:
            worker = self._start()
            with self._lock:
                if self._closed:
                    worker.process.kill()
                    return False
                self._workers.append(worker)
        with self._lock:
            for depth, worker in itertools.product(range(self._ahead), self._workers):
                if worker.ready and self._waiting and len(worker.given) <= depth:
                    self._give(worker)
            return not self._closed

    def _give(self, worker: _Worker) -> None:
        task, future = self._waiting[0]
        message = ForkingPickler.dumps(task)
        # A busy process does not read: what the pipe cannot hold would be waited for.
        if worker.given and len(message) > _SMALL:
            return
        self._waiting.popleft()
        # One that was handed back by a process that died is running already.
        if not future.running() and not future.set_running_or_notify_cancel():
            return
        if not worker.given:
            worker.since = time.monotonic()
        worker.given.append((task, future))
        with contextlib.suppress(OSError):  # it has just died: `_listen` hears of that
            worker.pipe.send_bytes(message)

    def _start(self) -> _Worker:
        # Ctrl-C is for the parent: until a process ignores it, it is blocked, which it inherits
        # from this thread. Starting the tracker would lift that.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        mine, theirs = self._context.Pipe()
        process = self._context.Process(
            target=serve, args=(theirs, self._work, self._seconds, self._blame), daemon=True
        )
        process.start()
        theirs.close()
        return _Worker(process, mine)

    def _listen(self, worker: _Worker) -> None:
        try:
            message = worker.pipe.recv()
        except (EOFError, OSError):
            self._end(worker, late=False)
            return
        worker.since = time.monotonic()
        if not worker.ready:
            worker.ready = True
            return
        _, future = worker.given.popleft()
        good, value = message
        with contextlib.suppress(InvalidStateError):
            future.set_result(value) if good else future.set_exception(value)

    def _end(self, worker: _Worker, *, late: bool) -> None:
        """A process hangs or has died: blame what it was doing, keep the rest."""
        with self._lock:
            if worker not in self._workers:
                return  # the pool is being closed
            self._workers.remove(worker)
        if late:
            worker.process.kill()
        worker.process.join()
        worker.pipe.close()
        code = worker.process.exitcode
        # It may have ended by its own watchdog before this side looked at the clock.
        late = late or (code == WATCHDOG_EXIT and time.monotonic() > worker.limit(self._seconds))
        if not worker.ready:
            how = "did not start in time" if late else f"could not start (exit code {code})"
            error = WorldModelError(
                f"a worker process {how}; guard the script's start with "
                f'`if __name__ == "__main__":`, or say {self._blame.alone}'
            )
            self.stop(error=error)
            return
        # Told to end, as all processes of a group may be: that is not the fault of what it did.
        if worker.given and code != -signal.SIGTERM:
            task, future = worker.given.popleft()
            if late:
                reason = self._blame.late.format(seconds=self._seconds)
            else:
                how = f"signal {-code}" if code < 0 else f"exit code {code}"
                hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
                reason = self._blame.crash.format(how=how + hint)
            with contextlib.suppress(InvalidStateError):
                future.set_exception(self._blame.error(f"{task.name}: {reason}"))
        with self._lock:
            self._waiting.extendleft(reversed(worker.given))


def serve(
    pipe: connection.Connection, work: Callable[[Any], Any], seconds: float, blame: Blame
) -> None:
    """The main function of a worker process: does tasks in turn, until it is asked to end.

    Args:
        pipe: Brings tasks, or None at the end; takes pairs: (True, result) or (False, error).
        work: Does one.
        seconds: Longest time that one may take.
        blame: What is said where memory runs out.
    """
    # Ctrl-C reaches all processes of a terminal; the parent is the one that says so and stops.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    torch.set_num_threads(1)
    quiet = open(os.devnull, "w")  # noqa: SIM115  # for as long as the process lives
    with contextlib.suppress(EOFError, OSError):
        pipe.send("ready")
        while (task := pipe.recv()) is not None:
            if seconds < float("inf"):
                # A watchdog in C, for a decoder that hangs with the interpreter's lock while nobody
                # is left to end it.
                faulthandler.dump_traceback_later(seconds + _GRACE, exit=True, file=quiet)
            answer = _do(work, task, blame)
            faulthandler.cancel_dump_traceback_later()
            pipe.send(answer)


def _do(work: Callable[[Any], Any], task: Any, blame: Blame) -> tuple[bool, Any]:
    try:
        return True, work(task)
    except WorldModelError as error:
        return False, type(error)(str(error))
    except MemoryError:
        return False, blame.error(f"{task.name}: {blame.memory}")
    except Exception as error:
        text = f"{task.name}: {type(error).__name__} in a worker process: {error}"
        told = RuntimeError(text)
        told.add_note(traceback.format_exc())  # where it was, which the parent cannot see
        return False, told


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
