"""Reading a run's folder and the runs inside it, for a page."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from safetensors import SafetensorError, safe_open

from worldmodel.errors import RunError
from worldmodel.runs.run import read_log, read_metrics

_DEPTH = 3  # runs inside runs: quickstart/<verb>/<name>


@dataclass(frozen=True)
class RunRecord:
    """One run as it lies on disk; `metrics` is None while it is not finished."""

    folder: Path
    name: str  # relative to the page's folder; the verb for the page's own run
    verb: str
    settings: dict[str, Any]
    metrics: dict[str, Any] | None
    log: list[dict[str, float]]

    @property
    def results(self) -> dict[str, float]:
        """Its results; empty while it is not finished."""
        return self.metrics["results"] if self.metrics else {}

    def columns(self, prefix: str = "") -> dict[str, tuple[list[float], list[float]]]:
        """Logged numbers whose name begins with `prefix`: their steps and values."""
        found: dict[str, tuple[list[float], list[float]]] = {}
        for line in self.log:
            for name, value in line.items():
                if name.startswith(prefix) and name not in ("step", "elapsed"):
                    steps, values = found.setdefault(name, ([], []))
                    steps.append(line["step"])
                    values.append(value)
        return found


@dataclass(frozen=True)
class Examples:
    """Scored clips of a surprise run, from its `examples.safetensors`.

    With `kinds`, clips come in pairs: row 2 i is possible, row 2 i + 1 is not, from `step[i]` on.
    """

    frames: np.ndarray  # n t h w c, uint8
    scores: np.ndarray  # n s, s <= t
    step: np.ndarray  # n/2, frames
    kinds: tuple[str, ...]  # n/2, or empty: clips that are not pairs
    times: np.ndarray | None  # n t, seconds
    time_step_frames: int | None = None  # None: every time step but the first has a score

    @property
    def score_frames(self) -> np.ndarray:
        """`s`: the frame that each score is about, the last of its time step."""
        t, s = self.frames.shape[1], self.scores.shape[1]
        time_step = self.time_step_frames or max(t // (s + 1), 1)
        return np.arange(t - 1 - (s - 1) * time_step, t, time_step)


def read_runs(folder: Path) -> list[RunRecord]:
    """The run in `folder`, then the runs inside it in the order in which they were made.

    Raises:
        RunError: `folder` is not a run's.
    """
    if not (folder / "config.yaml").is_file():
        raise RunError(f"{folder}: is not a run's folder (no config.yaml); name one of runs/...")
    inside = [
        path for depth in range(1, _DEPTH + 1) for path in folder.glob("*/" * depth + "config.yaml")
    ]
    inside.sort(key=lambda path: (path.stat().st_mtime, path))
    return [_read(path, folder) for path in [folder, *(path.parent for path in inside)]]


def read_examples(run: RunRecord) -> Examples | None:
    """The scored clips of a surprise run, if it kept some.

    Raises:
        RunError: the file is damaged.
    """
    path = run.folder / "examples.safetensors"
    if not path.is_file():
        return None
    try:
        with safe_open(path, framework="numpy") as file:
            names = set(file.keys())
            frames, scores = file.get_tensor("frames"), file.get_tensor("scores")
            step = file.get_tensor("step") if "step" in names else np.zeros(0, np.int64)
            times = file.get_tensor("times") if "times" in names else None
            header = file.metadata() or {}
            kinds = tuple(json.loads(header.get("kinds", "[]")))
            said = header.get("time_step_frames")
            return Examples(frames, scores, step, kinds, times, int(said) if said else None)
    except (SafetensorError, ValueError, OSError) as cause:
        raise RunError(f"{path}: cannot be read ({cause}); run `surprise` again") from cause


def _read(folder: Path, top: Path) -> RunRecord:
    try:
        settings = yaml.safe_load((folder / "config.yaml").read_text())
        verb = str(settings["verb"])
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError) as cause:
        raise RunError(f"{folder}/config.yaml: is not the settings of a run") from cause
    finished = (folder / "metrics.json").is_file()
    name = verb if folder == top else str(folder.relative_to(top))
    metrics = read_metrics(folder) if finished else None
    return RunRecord(folder, name, verb, settings, metrics, read_log(folder))
