"""A run and its folder: settings, log, progress, results.

    config.yaml   the settings it was made with
    log.jsonl     one line a logged step; the same numbers as TensorBoard events under tb/
    metrics.json  written once, at the end: a run with it is finished
    model/  checkpoints/  report.html, and what the verb adds

A run that was interrupted is opened again with the same settings and goes on. So does a finished
one that is to be trained for longer; its metrics are kept as metrics-1.json. Knows nothing of what
verbs do, and nothing of Hydra.
"""

import itertools
import json
import math
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

import yaml

from worldmodel.errors import RunError
from worldmodel.runs import progress
from worldmodel.runs.lock import LOCK, hold, release
from worldmodel.runs.loggers import Logged, Logger, check_loggers, open_loggers
from worldmodel.runs.memory import MemoryWatch
from worldmodel.runs.provenance import (
    config_sha256,
    first_difference,
    git_commit,
    growth,
    package_version,
)
from worldmodel.storage.files import require_access, whole_file

Complete = Callable[[Mapping[str, Any]], Mapping[str, Any]]
EXISTING = ("resume", "replace", "redo")


class Run:
    """One run of a verb. Make it with `Run.open`.

    Attributes:
        folder: Where everything of this run is.
        verb: What it does.
        config: Its settings as plain values.
        seed: Decides all randomness of the run.
        device: Where tensors live, for example "cpu" or "cuda:0".
        model_folder: Where the trained model goes.
        checkpoints: Where training states go.
    """

    def __init__(
        self, folder: Path, *, verb: str, config: Mapping[str, Any], seed: int, device: str,
        loggers: Sequence[str] = (),
    ) -> None:  # fmt: skip
        self.folder = folder
        self.model_folder = folder / "model"
        self.checkpoints = folder / "checkpoints"
        self.verb = verb
        self.config = dict(config)
        self.seed = seed
        self.device = device
        self._is_open = True
        self._logger_names = tuple(loggers)
        self._loggers: list[Logger] = []
        self._memory = MemoryWatch()
        self._opened = time.monotonic()
        last = read_log(folder)[-1:]
        self._earlier = float(last[0]["elapsed"]) if last else 0.0
        self._sent = int(last[0]["step"]) if last else -1

    @staticmethod
    def open(
        folder: str | Path,
        *,
        verb: str,
        config: Mapping[str, Any],
        seed: int,
        device: str = "cpu",
        existing: str = "resume",
        loggers: Sequence[str] = (),
        complete: Complete = dict,
    ) -> "Run":
        """Make the folder, or go on in the one that is there.

        Args:
            folder: The run's folder.
            verb: What the run does.
            config: All settings; must be plain YAML values.
            seed: The run's seed.
            device: Where tensors live.
            existing: What to do when the folder is there. `resume` goes on and refuses a folder
                made with other settings, unless a training is only longer now; `replace` makes
                such a folder anew, `redo` always does.
            loggers: Where numbers go beside the log and TensorBoard: `wandb`, `trackio`.
            complete: Fills in what the settings of an earlier run leave out: a setting that did
                not exist then was at its default.

        Raises:
            RunError: the folder was made with other settings, is not a run's folder, or cannot be
                made.
            ConfigError: a logger is unknown or not installed.
        """
        check_loggers(loggers)
        if existing not in EXISTING:
            raise RunError(f"existing={existing} is unknown; choose from: {', '.join(EXISTING)}")
        folder = Path(folder)
        require_access(folder, RunError)
        settings = {"verb": verb, **config}
        if folder.exists() and not folder.is_dir():
            read_settings(folder)  # says what is wrong with it
        try:
            hold(folder)
            _prepare(folder, settings, existing, complete)
        except (OSError, RunError) as cause:
            release(folder)
            if isinstance(cause, RunError):
                raise
            raise RunError(
                f"{folder}: cannot be made ({cause.strerror}); choose another runs_dir= or name="
            ) from cause
        return Run(folder, verb=verb, config=config, seed=seed, device=device, loggers=loggers)

    @staticmethod
    def joined(
        folder: str | Path, *, verb: str, config: Mapping[str, Any], seed: int, device: str
    ) -> "Run":
        """The run that another process has opened, for one that writes nothing."""
        return _Joined(Path(folder), verb=verb, config=config, seed=seed, device=device)

    @property
    def seconds(self) -> float:
        """Time spent so far, with that of earlier, interrupted goes up to their last log line."""
        return self._earlier + time.monotonic() - self._opened

    def log(self, step: int, /, **numbers: float) -> None:
        """Append a line to the log; `numbers` may be zero-dimensional tensors.

        Names with dots are given as `**{"loss.prediction": 0.1}`.
        """
        values = {name: float(value) for name, value in numbers.items()}
        self.open_log()
        line = {"step": step, "elapsed": round(self.seconds, 3), **_finite(values)}
        with (self.folder / "log.jsonl").open("a") as file:
            file.write(json.dumps(line) + "\n")
        for logger in self._loggers:
            logger.log(step, values)

    def open_log(self) -> None:
        """Begin to log, or go on: the first `log` does it, so that refused input leaves no files.

        Raises:
            ConfigError: a logger cannot be begun.
        """
        if not self._loggers:
            kept = int(max((line["step"] for line in read_log(self.folder)), default=-1))
            name = f"{self.verb}-{self.folder.name}"
            about = Logged(self.folder, name, self.config, kept, self._sent)
            self._loggers = open_loggers(self._logger_names, about)

    def rewind(self, step: int) -> None:
        """Forget log lines after `step`: what a resumed training will do again."""
        if not (self.folder / "log.jsonl").is_file():
            return
        kept = [line for line in read_log(self.folder) if line["step"] <= step]
        with whole_file(self.folder / "log.jsonl") as temporary:
            temporary.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def progress(
        self, total: float, description: str
    ) -> AbstractContextManager[progress.ProgressBar]:
        """`with run.progress(100, "train") as bar: ... bar.advance(1, loss=0.3)`."""
        return progress.bar(total, description)

    def say(self, message: str) -> None:
        """Tell a person one line."""
        progress.say(message)

    def finish(self, results: Mapping[str, float]) -> dict[str, float]:
        """Write metrics.json, the sign that this run is finished.

        Args:
            results: Numbers with dotted names; a number that does not exist is NaN.

        Returns:
            The results as plain numbers.
        """
        numbers = {name: float(value) for name, value in results.items()}
        metrics = {
            "verb": self.verb,
            "version": package_version(),
            "git_commit": git_commit(),
            "seed": self.seed,
            "device": self.device,
            "seconds": round(self.seconds, 3),
            "memory_peak_gib": round(self._memory.peak_gib, 3),
            "config_sha256": config_sha256({"verb": self.verb, **self.config}),
            "results": _finite(numbers),
        }
        with whole_file(self.folder / "metrics.json") as temporary:
            temporary.write_text(json.dumps(metrics, indent=2, allow_nan=False) + "\n")
        self.close()
        return numbers

    def close(self) -> None:
        """Let go of what the run holds open; its folder stays as it is."""
        self._memory.stop()
        for logger in self._loggers:
            logger.close()
        self._loggers = []
        if self._is_open:
            release(self.folder)
            self._is_open = False

    def discard_if_empty(self) -> None:
        """Remove a folder in which nothing was made: what is left when input was refused."""
        is_empty = not _is_used(self.folder)
        if is_empty:
            (self.folder / "config.yaml").unlink(missing_ok=True)
        self.close()
        if is_empty:
            with suppress(OSError):  # another process has begun to write it
                self.folder.rmdir()


class _Joined(Run):
    """A run that another process writes."""

    def log(self, step: int, /, **numbers: float) -> None:
        """Nothing."""

    def rewind(self, step: int) -> None:
        """Nothing."""

    def finish(self, results: Mapping[str, float]) -> dict[str, float]:
        """The results as plain numbers."""
        self.close()
        return {name: float(value) for name, value in results.items()}

    def discard_if_empty(self) -> None:
        """Leave the folder to the process that made it."""
        self.close()


def read_log(folder: Path) -> list[dict[str, float]]:
    """The lines of a run's log; numbers that were not finite are missing. Empty without a log.

    A last line cut short by an interruption is left out.
    """
    path = Path(folder) / "log.jsonl"
    if not path.is_file():
        return []
    lines = []
    for line in path.read_text().splitlines():
        try:
            lines.append({k: v for k, v in json.loads(line).items() if v is not None})
        except json.JSONDecodeError:
            continue
    return lines


def read_metrics(folder: str | Path) -> dict[str, Any]:
    """The metrics of a finished run; a result that does not exist is NaN.

    Raises:
        RunError: there are none, or the file is damaged.
    """
    path = Path(folder) / "metrics.json"
    try:
        metrics = json.loads(path.read_text())
        results = metrics["results"].items()
    except OSError as cause:
        raise RunError(f"{folder}: has no metrics.json; the run is not finished") from cause
    except (ValueError, KeyError, TypeError, AttributeError) as cause:
        raise RunError(f"{path}: is not the metrics of a run; delete it and run again") from cause
    metrics["results"] = {k: math.nan if v is None else v for k, v in results}
    return metrics


def finished_results(
    folder: Path, settings: Mapping[str, Any], *, complete: Complete = dict
) -> dict[str, float] | None:
    """The results in `folder` if a run with these settings (with `verb`) is finished there.

    Args:
        folder: of the run.
        settings: that it should have.
        complete: see `Run.open`.

    Raises:
        RunError: the folder cannot be looked into, or its files are damaged.
    """
    require_access(folder, RunError)
    if not (folder / "metrics.json").is_file():
        return None
    if first_difference(complete(read_settings(folder)), settings) is not None:
        return None
    return dict(read_metrics(folder)["results"])


def _is_used(folder: Path) -> bool:
    """True if something is there that a new run must not be mixed with."""
    if not folder.is_dir():
        return folder.exists()
    return any(path.name not in ("config.yaml", LOCK) for path in folder.iterdir())


def _prepare(folder: Path, settings: Mapping[str, Any], existing: str, complete: Complete) -> None:
    """Make the folder that of a run with these settings."""
    if _is_used(folder):
        before = complete(read_settings(folder))
        differs, longer = first_difference(before, settings), growth(before, settings)
        if longer and existing == "resume":
            progress.say(f"{folder}: goes on ({longer})")
            _set_aside(folder / "metrics.json")
        elif differs and existing == "resume":
            raise RunError(
                f"{folder}: was made with other settings ({differs}); "
                "choose another name= or say existing=replace"
            )
        elif differs or existing == "redo":
            _clear(folder)
    with whole_file(folder / "config.yaml") as temporary:
        temporary.write_text(yaml.safe_dump(dict(settings), sort_keys=False))


def _set_aside(path: Path) -> None:
    """Give a file, if it is there, the first free name with a number."""
    names = (path.with_stem(f"{path.stem}-{number}") for number in itertools.count(1))
    if path.is_file():
        path.rename(next(name for name in names if not name.exists()))


def _clear(folder: Path) -> None:
    """Remove what an earlier run wrote; the lock stays."""
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        elif path.name != LOCK:
            path.unlink()


def read_settings(folder: Path) -> dict[str, Any]:
    """The settings of the run in a folder.

    Raises:
        RunError: it is no run's folder, or damaged.
    """
    path = folder / "config.yaml"
    remedy = "choose another name= or move it away"
    try:
        settings = yaml.safe_load(path.read_text())
    except OSError as cause:
        raise RunError(f"{folder}: is there but is not a run's folder; {remedy}") from cause
    except (yaml.YAMLError, UnicodeDecodeError) as cause:
        raise RunError(f"{path}: is damaged; {remedy}") from cause
    if not isinstance(settings, dict) or "verb" not in settings:
        raise RunError(f"{path}: is not the settings of a run; {remedy}")
    return settings


def _finite(numbers: Mapping[str, float]) -> dict[str, float | None]:
    """JSON has no NaN and no infinity."""
    return {name: value if math.isfinite(value) else None for name, value in numbers.items()}
