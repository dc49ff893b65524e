"""The processes that make one run together: start, end, short messages, and who has failed.

`torchrun` starts them; each takes its share of every batch. What goes from one to another within a
training step is in `worldmodel.nn.across_ranks`. A process that fails says why, and the others end
with it, in silence; one that was killed is found by its process id, and one of the others says so.
"""

import json
import os
import signal
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore  # type: ignore[attr-defined]
from torch.distributed.rendezvous import rendezvous

from worldmodel.errors import RunError, WorldModelError
from worldmodel.runs.torchrun import Place

TIMEOUT_SECONDS = 600.0
"""For so long a process waits for others that do not answer."""

_LISTEN_SECONDS = 3.0  # for what has become of the others, after one of them is lost
_FAILED, _INTERRUPTED = 2, 130


def is_together() -> bool:
    """True if this process is one of several that make a run."""
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """The number of this process, from 0."""
    return dist.get_rank() if is_together() else 0


def world() -> int:
    """How many processes there are."""
    return dist.get_world_size() if is_together() else 1


def is_first() -> bool:
    """True for the process that writes."""
    return rank() == 0


def sums(*numbers: float) -> list[float]:
    """The sums over all processes, which have to call this together."""
    if not is_together():
        return list(numbers)
    message = torch.tensor(numbers, dtype=torch.float64)
    dist.all_reduce(message)
    return message.tolist()


def from_all(words: Sequence[str]) -> list[str]:
    """The words of all processes, those of the first one first."""
    if not is_together():
        return list(words)
    mine = torch.frombuffer(bytearray(json.dumps(list(words)).encode()), dtype=torch.uint8)
    lengths = sums(*(len(mine) if r == rank() else 0 for r in range(world())))
    texts = [torch.empty(int(length), dtype=torch.uint8) for length in lengths]
    for number, text in enumerate(texts):
        if number == rank():
            text.copy_(mine)
        dist.broadcast(text, number)
    return [word for text in texts for word in json.loads(bytes(text.tolist()))]


def wait_for_all() -> None:
    """Go on when all processes have come here."""
    sums(0)


@contextmanager
def together(place: Place, device: str) -> Iterator[None]:
    """The block in all processes of a run, which can reach one another in it.

    Where it fails in one of them, it ends in all, and one line says which it was and why.

    Args:
        place: of this process.
        device: where its tensors live.

    Raises:
        WorldModelError: what this process raises, with its number; or RunError: another one is
            lost.
        SystemExit: another process has failed, and says so itself.
    """
    if place.world == 1:
        yield
        return
    others = _Others(place, device)
    with others.named_at_sigterm():
        try:
            yield
        except _LostError:
            raise
        except KeyboardInterrupt:
            if place.is_first:
                raise
            raise SystemExit(_INTERRUPTED) from None
        except Exception as error:
            if _is_of_the_connection(error):
                others.explain(error)
            others.tell(error)
            raise
        except SystemExit as ended:
            if ended.code:
                raise
            dist.destroy_process_group()
            raise
    dist.destroy_process_group()


class _LostError(RunError):
    """Another process is lost, and this one has been chosen to say so."""


class _Others:
    """The other processes of a run: what they are told, and what has become of them."""

    def __init__(self, place: Place, device: str) -> None:
        self.place, timeout = place, timedelta(seconds=TIMEOUT_SECONDS)
        backend = "gloo"
        if device.startswith("cuda"):
            torch.cuda.set_device(device)
            backend = "cpu:gloo,cuda:nccl"
        store, rank, world = next(rendezvous("env://", timeout=timeout))
        dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
        self.store = PrefixStore("worldmodel", store)
        self._has_failed = False
        self._others = [r for r in range(world) if r != rank]
        self.all = from_all([f"{socket.gethostname()} {os.getpid()}"])

    def tell(self, error: Exception) -> None:
        """Publish an error of this process, and put its number into the message.

        Raises:
            WorldModelError: the error, with the number.
            SystemExit: the first process fails for the same reason, and says so.
        """
        self._has_failed = True
        reason = " ".join(str(error).split()) or type(error).__name__
        self._publish("failed", reason)
        if self.place.is_first:
            self._wait_for_the_late()
            return
        if not isinstance(error, WorldModelError):
            return
        for _ in self._listen():
            if self._published("failed", 0) == reason:
                self._publish("heard", "")
                raise SystemExit(_FAILED) from error
        raise type(error)(f"rank {self.place.rank} of {self.place.world}: {reason}") from error

    def _wait_for_the_late(self) -> None:
        """Stay a little: all messages end with the first process, which keeps them.

        Others that fail for the same reason later would not know that it has been said.
        """
        for _ in self._listen():
            if all(self._published("heard", r) is not None for r in self._others):
                return

    def explain(self, error: Exception) -> None:
        """Find out why the connection to another process is lost.

        Raises:
            RunError: another process is gone, or does not answer.
            SystemExit: it, or one of those that are left, says so.
        """
        self._has_failed = True
        self._publish("lost", "")
        for _ in self._listen():
            self._look(error)
        silent = [r for r in self._others if self._published("lost", r) is None]
        names = ", ".join(map(str, silent or self._others))
        self._say_once(
            f"rank {names} of {self.place.world} does not answer ({' '.join(str(error).split())})",
            error,
        )

    @contextmanager
    def named_at_sigterm(self) -> Iterator[None]:
        """While the block runs, SIGTERM because another process has ended does not end this one.

        torchrun sends it to all that are left, which would have no time to say who it was.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return

        def asked(number: int, _: object) -> None:
            if self._has_failed:
                return  # these are its last words
            self._look(None)
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)

        before = signal.signal(signal.SIGTERM, asked)
        try:
            yield
        except BaseException:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            raise
        signal.signal(signal.SIGTERM, before or signal.SIG_DFL)

    def _look(self, error: Exception | None) -> None:
        """See whether another process has failed or is gone.

        Raises:
            RunError: it is gone, and this process is to say so.
            SystemExit: it, or another one, says so.
        """
        if any(self._published("failed", r) is not None for r in self._others):
            raise SystemExit(_FAILED) from error
        for r in self._others:
            if _is_gone(self.all[r]) and self._published("lost", r) is None:
                found = f"rank {r} of {self.place.world} ended without a word"
                self._say_once(f"{found} (killed, or short of memory?)", error)

    def _say_once(self, found: str, error: Exception | None) -> None:
        with suppress(RuntimeError):  # the store may have ended with its process
            if self.store.add("said", 1) > 1:
                raise SystemExit(_FAILED) from error
        raise _LostError(f"{found}; the same command goes on from the last checkpoint") from error

    def _listen(self) -> Iterator[None]:
        deadline = time.monotonic() + _LISTEN_SECONDS
        while time.monotonic() < deadline:
            yield
            time.sleep(0.05)

    def _publish(self, what: str, reason: str) -> None:
        with suppress(RuntimeError):
            self.store.set(f"{what}/{self.place.rank}", reason)

    def _published(self, what: str, rank: int) -> str | None:
        key = f"{what}/{rank}"
        with suppress(RuntimeError):
            return self.store.get(key).decode() if self.store.check([key]) else None
        return None


def _is_of_the_connection(error: Exception) -> bool:
    """True for what PyTorch raises where another process does not answer."""
    return isinstance(error, dist.DistError) or (
        isinstance(error, RuntimeError)
        and any(word in str(error).lower() for word in ("gloo", "nccl"))
    )


def _is_gone(who: str) -> bool:
    """True for a process of this machine that has ended."""
    host, process = who.split()
    if host != socket.gethostname():
        return False
    try:
        state = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state in "ZX"  # ended, and its parent has not asked for its exit status yet
