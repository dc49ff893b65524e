"""Where a run's logged numbers go beside its log file: TensorBoard always, others by choice."""

import importlib.util
import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldmodel.errors import ConfigError, nearest

PROJECT = "worldmodel"
_ID = "logger_id.txt"  # in the run's folder: so that a run that goes on is the same run there


@dataclass(frozen=True)
class Logged:
    """A run, as loggers need to know it.

    Attributes:
        folder: where it is.
        name: what to call it.
        config: its settings.
        kept: the last step that is in its log, from which it goes on; -1 at the start.
        sent: the last step that was ever logged; those after `kept` are done once more, and are
            the same.
    """

    folder: Path
    name: str
    config: Mapping[str, Any]
    kept: int = -1
    sent: int = -1


class Logger(ABC):
    """Takes the numbers of steps, whose order is that of the training."""

    @abstractmethod
    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """The numbers of a step, by names with dots; some may be NaN or infinite."""

    @abstractmethod
    def close(self) -> None:
        """Write what is not written yet."""


class TensorBoard(Logger):
    """Event files in the run's folder, under tb/."""

    def __init__(self, run: Logged) -> None:
        # Imported late: it takes a second, and most verbs log nothing.
        from torch.utils.tensorboard import SummaryWriter

        # TensorBoard leaves out what earlier files have from this step on.
        self._writer = SummaryWriter(str(run.folder / "tb"), flush_secs=30, purge_step=run.kept + 1)

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """A scalar for each; dots make groups."""
        for name, value in numbers.items():
            self._writer.add_scalar(name.replace(".", "/"), value, step)

    def close(self) -> None:
        """Write what is not written yet."""
        self._writer.close()


class Service(Logger):
    """A package with `init`, `log` and `finish`, as W&B has them and trackio after it."""

    def __init__(self, package: str, run: Logged, **more: Any) -> None:
        self._package: Any = importlib.import_module(package)
        self._sent = run.sent
        try:
            self._package.init(project=PROJECT, config=dict(run.config), resume="allow", **more)
        except Exception as cause:  # each has its own, for want of a key or of a network
            raise ConfigError(f"loggers=[{package}]: cannot be begun ({cause})") from cause

    def log(self, step: int, numbers: Mapping[str, float]) -> None:
        """All of them at once; not those of a step that it has been told of."""
        if step > self._sent:
            self._package.log(dict(numbers), step=step)

    def close(self) -> None:
        """Send what was not sent yet."""
        self._package.finish()


def wandb(run: Logged) -> Logger:
    """Weights & Biases."""
    return Service("wandb", run, id=_id(run.folder), name=run.name, dir=str(run.folder))


def trackio(run: Logged) -> Logger:
    """Trackio, which keeps its numbers on this machine; it knows a run by its name."""
    return Service("trackio", run, name=f"{run.name}-{_id(run.folder)}")


BY_CHOICE: dict[str, Callable[[Logged], Logger]] = {"wandb": wandb, "trackio": trackio}


def check_loggers(names: Sequence[str]) -> None:
    """Refuse loggers that there are not.

    Raises:
        ConfigError: one is unknown, or its package is not installed.
    """
    if isinstance(names, str) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"loggers={names} must be a list of names, loggers=[wandb]")
    for name in names:
        if name not in BY_CHOICE:
            raise ConfigError(f"loggers: there is no '{name}'; {nearest(name, BY_CHOICE)}")
        if importlib.util.find_spec(name) is None:
            raise ConfigError(
                f"loggers=[{name}]: the package {name} is not installed; "
                f"pip install 'worldmodel[{name}]'"
            )


def open_loggers(names: Sequence[str], run: Logged) -> list[Logger]:
    """TensorBoard and those that were chosen."""
    return [TensorBoard(run), *(BY_CHOICE[name](run) for name in dict.fromkeys(names))]


def _id(folder: Path) -> str:
    """What a run is known by elsewhere: drawn once for each run folder that is made."""
    path = folder / _ID
    if not path.is_file():
        path.write_text(uuid.uuid4().hex[:12])
    return path.read_text().strip()
