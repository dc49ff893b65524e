"""Our side of a learner of others: its process in its own Python, and the policy that asks it."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.comparators.messages import receive, send
from worldmodel.errors import ConfigError, RunError
from worldmodel.planners.action_space import ActionSpace
from worldmodel.planners.episode_loop import EpisodeRecord, Policy

ROOT = Path(__file__).resolve().parents[2]
PATIENCE = 60.0  # seconds in which a process that was told to stop may keep what it has learned
REPEAT = 2  # environment steps for which an action is held, as both learners were published


@dataclass(frozen=True)
class Peer:
    """A learner of others."""

    module: str  # its file
    packages: tuple[str, ...]  # that its Python has to have, as they are imported
    install: str  # what brings them
    words: str  # what it is, for the protocol


def require_packages(peer: Peer, name: str, python: Path) -> None:
    """Refuse a Python that lacks the packages of a learner.

    Raises:
        ConfigError: so it is, or it is no Python; says what to install.
    """
    program = (
        "import importlib.util as u, sys; "
        "print(*(n for n in sys.argv[1:] if u.find_spec(n) is None))"
    )
    words = [str(python), "-c", program, *peer.packages]
    try:
        done = subprocess.run(words, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as cause:
        raise ConfigError(f"--python {python}: cannot be run as a Python ({cause})") from cause
    if missing := done.stdout.split():
        raise ConfigError(
            f"{name}: --python {python} has no {' and no '.join(missing)}; python -m venv peers && "
            f"peers/bin/pip install {peer.install}, and say --python peers/bin/python"
        )


class Learner:
    """A running process that is asked for actions.

    Attributes:
        facts: What it said of itself when it was ready.
    """

    def __init__(self, process: subprocess.Popen[bytes], connection: Connection, log: Path) -> None:
        self._process, self._connection, self._log = process, connection, log
        self.facts: dict[str, float] = self._received()[0]["facts"]

    def action(
        self, words: Mapping[str, Any], check: Callable[[], None] = lambda: None,
        **images: np.ndarray,
    ) -> np.ndarray:  # fmt: skip
        """Tell it what came, and ask for an action (a).

        Args:
            words: What came.
            check: Called every now and then until it answers; may raise to wait no longer.
            images: h w 3 each, uint8.

        Raises:
            RunError: its process has ended.
        """
        self.tell(words, **images)
        while not self._connection.poll(0.5):
            check()
        return self._received()[1]["action"]

    def tell(self, words: Mapping[str, Any], **images: np.ndarray) -> None:
        """Tell it what came.

        Raises:
            RunError: its process has ended.
        """
        try:
            send(self._connection, words, **images)
        except OSError as cause:
            raise self._ended() from cause

    def _received(self) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        try:
            return receive(self._connection)
        except (EOFError, OSError) as cause:
            raise self._ended() from cause

    def _ended(self) -> RunError:
        said = [line for line in self._log.read_text(errors="replace").splitlines() if line.strip()]
        return RunError(
            f"the learner's process ended with {self._process.wait()}: "
            f"{said[-1] if said else 'it said nothing'} ({self._log})"
        )


@contextmanager
def started(peer: Peer, python: Path, does: str, folder: Path, seed: int) -> Iterator[Learner]:
    """A process of a learner that is ready; it is stopped when the context is left.

    Args:
        peer: The learner.
        python: That runs it.
        does: `learn`, going on from what the folder holds, or `play`.
        folder: Where it keeps what it learns; what it prints goes there into `learner.log`.
        seed: Of its randomness.

    Raises:
        RunError: it ended before it was ready.
    """
    folder.mkdir(parents=True, exist_ok=True)
    ours, theirs = Pipe()
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    words = [
        str(python.absolute()), "-m", "benchmarks.comparators.learner", peer.module, does,
        "--connection", str(theirs.fileno()), "--folder", str(folder.absolute()),
        "--seed", str(seed),
    ]  # fmt: skip
    log = folder / "learner.log"
    with log.open("ab") as said:
        process = subprocess.Popen(
            words, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL, stdout=said, stderr=said,
            cwd=folder, env=os.environ | {"PYTHONPATH": path},
        )  # fmt: skip
    theirs.close()
    try:
        yield Learner(process, ours, log)
    finally:
        try:
            send(ours, {"kind": "stop"})
        except OSError:  # it has ended by itself
            pass
        ours.close()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


class AskingPolicy(Policy):
    """Acts as a learner says, holding each of its actions for `REPEAT` steps.

    Args:
        learner: Its actions are in [-1, 1].
        reward: What a frame is worth, by its infos; of frames between actions, the sum is told.
        on_step: Called before each step; may raise to end all.
        check: Called while the learner thinks; may raise to end all.
    """

    def __init__(
        self,
        learner: Learner,
        reward: Callable[[Mapping[str, Any]], float] = lambda info: 0.0,
        on_step: Callable[[], None] = lambda: None,
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._learner, self._reward = learner, reward
        self._on_step, self._check = on_step, check

    def reset(self, space: ActionSpace, info: Mapping[str, Any], *, seed: int) -> None:
        """Begin an episode to the image `goal_image`."""
        if not np.isfinite([space.low, space.high]).all():
            raise ConfigError("the learners know bounded actions alone")
        self._middle, self._half = (space.high + space.low) / 2, (space.high - space.low) / 2
        self._goal = np.asarray(info["goal_image"])
        self._begun, self._left, self._gained = False, 0, 0.0

    def __call__(self, observation: np.ndarray, info: Mapping[str, Any]) -> np.ndarray:
        """The action (a) of the learner, or the one that is still held."""
        self._on_step()
        self._gained += self._reward(info) if self._begun else 0.0
        if self._left == 0:
            images = {"frame": observation} if self._begun else {
                "frame": observation, "goal": self._goal
            }  # fmt: skip
            kind = "next" if self._begun else "begin"
            words = {"kind": kind, "reward": self._gained, "over": False}
            said = self._learner.action(words, self._check, **images)
            if said.shape != self._middle.shape or not np.isfinite(said).all():
                raise RunError(f"the learner must return {len(self._middle)} numbers, got {said}")
            self._action = self._middle + self._half * said.clip(-1, 1)
            self._begun, self._left, self._gained = True, REPEAT, 0.0
        self._left -= 1
        return self._action

    def finish(self, record: EpisodeRecord) -> None:
        """Tell a learner the end of the episode that it has acted in."""
        last = {name: values[-1] for name, values in record.infos.items()}
        words = {"kind": "next", "reward": self._gained + self._reward(last), "over": True}
        self._learner.tell(words, frame=record.frames[-1])


class Clock:
    """Seconds of a training over all its parts, which it ends when they are up.

    Args:
        before: Seconds of earlier parts.
        most: Seconds of all.
    """

    def __init__(self, before: float, most: float) -> None:
        self._start, self._most = time.monotonic() - before, most

    @property
    def seconds(self) -> float:
        """Seconds so far."""
        return time.monotonic() - self._start

    def check(self) -> None:
        """Raise `TimeUp` if they are up."""
        if self.seconds >= self._most:
            raise TimeUp


class TimeUp(Exception):
    """A training has had its time."""
