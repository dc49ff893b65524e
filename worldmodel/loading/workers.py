"""Work that may hang or crash, in processes that can be replaced: decoding strangers' files.

A decoder is C code on bytes from anywhere: it can loop for ever or take its process down. Each task
therefore bears a name, and what happens to its process is told of that name while all other tasks
go on. Own code, because what exists cannot say which task it was: torch's `DataLoader` ends with
"worker exited unexpectedly" and times out on whole batches, and `concurrent.futures` loses all
tasks when one process dies. Knows nothing of videos.
"""

import contextlib
import itertools
import signal
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import CancelledError, Future, InvalidStateError
from dataclasses import dataclass, field
from multiprocessing import connection, get_context, resource_tracker
from multiprocessing.reduction import ForkingPickler
from typing import Any, Generic, Protocol, TypeVar

from worldmodel.errors import ConfigError, VideoError, WorldModelError
from worldmodel.loading.serving import WATCHDOG_EXIT, serve

_AHEAD = 2  # tasks that a process is given at a time, so that it need not wait for the next one
_SMALL = 2**15  # bytes of a task that a pipe holds for sure, beside another that is being done
_STARTING = 120.0  # seconds that a process may take to start: it imports torch


class Named(Protocol):
    """Something to do that can say what it is about."""

    @property
    def name(self) -> str:
        """For messages."""


Task = TypeVar("Task", bound=Named)
Result = TypeVar("Result")


class WorkerPool(Generic[Task, Result]):
    """Processes that do tasks; each result comes as a `Future`.

    A task that takes too long or takes its process down fails with a `VideoError` that names it;
    the process is replaced and nothing else is lost. Workers end when the pool is closed or
    forgotten, and when this process dies, however it dies.

    Args:
        work: Does one task; picklable, copied into each process. Tensors in it that are in shared
            memory stay shared.
        workers: Number of processes; 0 does the work here, unguarded, when it is submitted.
        seconds: Longest time that one task may take.
    """

    def __init__(self, work: Callable[[Task], Result], *, workers: int, seconds: float) -> None:
        if workers < 0 or not seconds > 0:
            raise ConfigError(
                f"workers must be at least 0 and seconds positive, got {workers} and {seconds}"
            )
        self.workers = workers
        self._work = work
        self._crew = _Crew(work, workers, seconds) if workers else None
        # The thread holds the crew, not the pool: a pool that is forgotten is closed.
        self._finalizer = weakref.finalize(self, self._crew.close) if self._crew else None

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

    def close(self) -> None:
        """End all processes at once; what was not finished is cancelled."""
        if self._finalizer is not None:
            self._finalizer()

    def __enter__(self) -> "WorkerPool[Task, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


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

    def __init__(self, work: Callable[[Any], Any], workers: int, seconds: float) -> None:
        self._work, self._count, self._seconds = work, workers, seconds
        self._context = get_context("spawn")  # a fork would share locks, threads and CUDA
        self._waiting: deque[tuple[Any, Future]] = deque()
        self._workers: list[_Worker] = []
        self._lock = threading.Lock()
        self._closed = False
        self._awake, self._wake = self._context.Pipe(duplex=False)
        self._thread = threading.Thread(target=self._run, name="decoders", daemon=True)
        self._thread.start()

    def submit(self, task: Any) -> Future:
        future: Future = Future()
        with self._lock:
            if self._closed:
                raise RuntimeError("the pool is closed")
            self._waiting.append((task, future))
        self._wake.send_bytes(b"1")
        return future

    def close(self) -> None:
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, []
        for worker in workers:
            worker.process.kill()
        with contextlib.suppress(OSError):
            self._wake.send_bytes(b"1")
        if threading.current_thread() is not self._thread:
            self._thread.join()
        for worker in workers:
            worker.process.join()
            worker.pipe.close()
        for _, future in [*self._waiting, *(pair for worker in workers for pair in worker.given)]:
            if not future.cancel():  # one that runs cannot be cancelled, but its process is gone
                with contextlib.suppress(InvalidStateError):
                    future.set_exception(CancelledError())

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
                self._fail_all(error)

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
            for depth, worker in itertools.product(range(_AHEAD), self._workers):
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
            target=serve, args=(theirs, self._work, self._seconds), name="decoder", daemon=True
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
            self._fail_all(
                WorldModelError(
                    f"a decoder process {how}; guard the script's start with "
                    f'`if __name__ == "__main__":`, or say workers=0'
                )
            )
            return
        if worker.given:
            task, future = worker.given.popleft()
            with contextlib.suppress(InvalidStateError):
                future.set_exception(_blame(task.name, None if late else code, self._seconds))
        with self._lock:
            self._waiting.extendleft(reversed(worker.given))

    def _fail_all(self, error: Exception) -> None:
        with self._lock:
            lost = [*self._waiting, *(pair for worker in self._workers for pair in worker.given)]
            self._waiting.clear()
            workers, self._workers, self._closed = self._workers, [], True
        for worker in workers:
            worker.process.kill()
            worker.process.join()
        for _, future in lost:
            with contextlib.suppress(InvalidStateError):
                future.set_exception(error)


def _blame(name: str, code: int | None, seconds: float) -> VideoError:
    """What happened to the process that was busy with `name`; no exit code: it hung."""
    if code is None:
        return VideoError(
            f"{name}: reading it took longer than {seconds:g} s; leave it out, or raise "
            f"limits.seconds"
        )
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    hint = ", perhaps for want of memory" if -code == signal.SIGKILL else ""
    return VideoError(
        f"{name}: the decoder crashed ({how}{hint}); leave it out, or encode it again"
    )
