"""Processes that hang, crash and are replaced; what happens is told of the right task."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import torch

from worldmodel.errors import ConfigError, EpisodeError, VideoError, WorldModelError
from worldmodel.loading import workers
from worldmodel.loading.workers import WATCHDOG_EXIT, WorkerPool, spread


@dataclass(frozen=True)
class Job:
    """A task of a test."""

    name: str
    what: str = "square"
    number: int = 0
    load: bytes = b""


def work(job: Job) -> int:
    """Does what the job says, good or bad."""
    if job.what == "segfault":
        os.kill(os.getpid(), signal.SIGSEGV)
    elif job.what == "told to end" and not Path(job.name).exists():
        Path(job.name).touch()
        os.kill(os.getpid(), signal.SIGTERM)
    elif job.what == "exit":
        os._exit(3)
    elif job.what == "hang":
        time.sleep(3600)
    elif job.what == "watchdog":  # ends as one that nobody ended in time
        time.sleep(job.number)
        os._exit(WATCHDOG_EXIT)
    elif job.what == "refuse":
        raise EpisodeError(f"{job.name}: is bad")
    elif job.what == "mistake":
        raise KeyError("oops")
    elif job.what == "memory":
        raise MemoryError
    elif job.what == "pid":
        return os.getpid()
    return job.number**2


class Unpicklable:
    """Work that cannot be copied into a process."""

    def __reduce__(self):
        return (_refuse_to_start, ())


def _refuse_to_start():
    os._exit(7)


def alive(pid: int) -> bool:
    """True if a process is there and is not merely waiting to be forgotten."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def jobs(*words: str) -> list[Job]:
    return [Job(f"job {number}", word, number) for number, word in enumerate(words)]


@pytest.mark.slow
def test_results_come_in_order_whatever_happens_to_other_tasks():
    words = ["square", "refuse", "hang", "square", "segfault", "square", "mistake", "memory",
             "exit", "square", "segfault", "square"]  # fmt: skip
    with WorkerPool(work, workers=2, seconds=2.0) as pool:
        done = list(pool.each(jobs(*words), ahead=6))
    assert [job.number for job, _ in done] == list(range(len(words)))
    for job, future in done:
        error = future.exception()
        if job.what == "square":
            assert error is None and future.result() == job.number**2
            continue
        assert job.name in str(error) and "\n" not in str(error)
        expected = {
            "refuse": (EpisodeError, "is bad"),
            "hang": (VideoError, "took longer than 2 s"),
            "segfault": (VideoError, r"the decoder crashed (signal 11)"),
            "exit": (VideoError, r"the decoder crashed (exit code 3)"),
            "mistake": (RuntimeError, "KeyError"),
            "memory": (VideoError, "not enough memory"),
        }[job.what]
        assert type(error) is expected[0] and expected[1] in str(error)


def test_without_processes_the_work_is_done_here():
    with WorkerPool(work, workers=0, seconds=1.0) as pool:
        done = list(pool.each(jobs("pid", "refuse", "square"), ahead=3))
    assert done[0][1].result() == os.getpid()
    assert isinstance(done[1][1].exception(), EpisodeError)
    assert done[2][1].result() == 4


@pytest.mark.slow
def test_what_a_process_did_that_was_told_to_end_is_done_by_another(tmp_path):
    with WorkerPool(work, workers=1, seconds=60.0) as pool:
        job = Job(str(tmp_path / "told"), "told to end", 7)
        assert pool.submit(job).result() == 49
        assert Path(job.name).exists()


def test_closing_ends_all_processes_at_once(monkeypatch):
    monkeypatch.setattr(workers, "_GRACE", 3600.0)  # waiting for what hangs runs into the timeout
    pool = WorkerPool(work, workers=2, seconds=600.0)
    pids = {pool.submit(job).result() for job in jobs(*["pid"] * 20)}
    hanging = [pool.submit(job) for job in jobs("hang", "hang", "hang", "hang", "hang", "hang")]
    time.sleep(0.2)
    pool.close()
    assert not any(alive(pid) for pid in pids)
    for future in hanging:
        with pytest.raises((CancelledError, VideoError)):
            future.result(timeout=1)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(Job("late"))
    pool.close()


def test_a_pool_that_is_forgotten_is_closed():
    pool = WorkerPool(work, workers=1, seconds=60.0)
    pid = pool.submit(Job("who", "pid")).result()
    del pool
    wait_until(lambda: not alive(pid))


def test_a_process_that_cannot_start_is_said_once():
    with WorkerPool(Unpicklable(), workers=1, seconds=5.0) as pool:  # type: ignore[arg-type]
        future = pool.submit(Job("any"))
        with pytest.raises(WorldModelError, match=r"could not start \(exit code 7\).*workers=0"):
            future.result(timeout=60)


SCRIPT = """
import sys
from tests.worldmodel.loading.test_workers import Job, work
from worldmodel.loading.workers import WorkerPool
if __name__ == "__main__":
    pool = WorkerPool(work, workers=2, seconds=600.0)
    pids = set()
    while len(pids) < 2:
        pids |= {f.result() for f in [pool.submit(Job("who", "pid")) for _ in range(8)]}
    hanging = [pool.submit(Job("stuck", "hang")) for _ in range(2)]
    print(*pids, flush=True)
    hanging[0].result()
"""


@pytest.mark.slow
@pytest.mark.parametrize(
    "how",
    [signal.SIGKILL, signal.SIGINT, pytest.param(signal.SIGTERM, marks=pytest.mark.exhaustive)],
)
def test_workers_end_with_their_parent_however_it_ends(tmp_path, how):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    root = Path(__file__).parents[3]
    parent = subprocess.Popen(
        [sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
        env={**os.environ, "PYTHONPATH": str(root)}, start_new_session=True,
        preexec_fn=hear_interrupts,
    )  # fmt: skip
    with parent, closing_group(parent):
        assert parent.stdout is not None
        pids = [int(word) for word in parent.stdout.readline().split()]
        assert len(pids) == 2 and all(map(alive, pids))
        # As a terminal does it: the whole group hears of Ctrl-C.
        os.killpg(parent.pid, how) if how == signal.SIGINT else parent.send_signal(how)
        assert parent.wait(timeout=20) != 0
    wait_until(lambda: not any(alive(pid) for pid in pids))


def hear_interrupts() -> None:
    """A shell starts what runs in the background deaf to Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


@contextmanager
def closing_group(process: subprocess.Popen) -> Iterator[None]:
    """Leaves no process behind that a test would wait for, even if something fails inside."""
    try:
        yield
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def wait_until(true, seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true() and time.monotonic() < end:
        time.sleep(0.05)
    assert true()


@pytest.mark.slow
def test_a_large_task_does_not_wait_for_one_that_hangs():
    with WorkerPool(work, workers=1, seconds=1.0) as pool:
        stuck = pool.submit(Job("stuck", "hang"))
        large = pool.submit(Job("large", number=3, load=bytes(2**24)))
        with pytest.raises(VideoError, match="stuck: reading it took longer than 1 s"):
            stuck.result(timeout=60)
        assert large.result(timeout=60) == 9


@pytest.mark.slow
def test_a_process_that_its_watchdog_ended_took_too_long():
    with WorkerPool(work, workers=1, seconds=1.0) as pool:
        pool.submit(Job("first")).result(timeout=60)
        assert pool._crew is not None
        future = pool.submit(Job("late", "watchdog", 2))
        wait_until(future.running)
        with pool._crew._lock:  # this side is kept from looking at the clock
            pool._crew._wake.send_bytes(b"1")
            process = pool._crew._workers[0].process
            wait_until(lambda: not alive(process.pid))
        with pytest.raises(VideoError, match="late: reading it took longer than 1 s"):
            future.result(timeout=60)


@contextmanager
def opened_in(folder: Path, broken: bool = False) -> Iterator[Callable[[int], int]]:
    """Work of `spread` that leaves a file where it was opened, and another where it was closed."""
    if broken:
        raise EpisodeError("cannot be opened")
    (folder / f"opened {os.getpid()}").touch()

    def square(number: int) -> int:
        if number < 0:
            os.kill(os.getpid(), signal.SIGSEGV)
        return number**2 + torch.get_num_threads() - 1

    yield square
    (folder / f"closed {os.getpid()}").touch()


@pytest.mark.parametrize("workers", [1, pytest.param(3, marks=pytest.mark.slow)])
def test_spread_gives_the_same_for_any_number_of_workers_and_closes_what_it_opened(
    tmp_path, workers
):
    got = list(spread(partial(opened_in, tmp_path), range(7), workers=workers))
    assert got == [n**2 for n in range(7)]
    opened, closed = (sorted(tmp_path.glob(f"{word} *")) for word in ("opened", "closed"))
    assert 1 <= len(opened) == len(closed) <= workers
    assert (f"opened {os.getpid()}" in [path.name for path in opened]) == (workers == 1)


@pytest.mark.slow
def test_spread_names_the_episode_whose_process_crashed(tmp_path):
    results = spread(partial(opened_in, tmp_path), [1, 2, -1, 3], workers=2)
    assert [next(results), next(results)] == [1, 4]
    with pytest.raises(WorldModelError, match=r"^episode 2: .*crashed \(signal 11\).*workers=1"):
        next(results)


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_what_cannot_be_opened_is_said_as_itself(tmp_path, workers):
    with pytest.raises(EpisodeError, match="^cannot be opened$"):
        list(spread(partial(opened_in, tmp_path, broken=True), [1, 2], workers=workers))


@pytest.mark.slow
def test_an_unforeseen_error_says_where_it_was():
    with WorkerPool(work, workers=1, seconds=60.0) as pool:
        error = pool.submit(Job("any", "mistake")).exception(timeout=60)
    assert any("in work" in note for note in error.__notes__)


def test_refusals():
    with pytest.raises(ConfigError, match="workers must be at least 0"):
        WorkerPool(work, workers=-1, seconds=1)
    with pytest.raises(ConfigError, match="seconds positive"):
        WorkerPool(work, workers=1, seconds=0)
