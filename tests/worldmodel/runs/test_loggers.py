"""Where logged numbers go beside the log: what is sent, and sent once."""

import math
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from worldmodel.errors import ConfigError
from worldmodel.runs.run import Run


class Service(ModuleType):
    """A package with `init`, `log` and `finish`, that remembers what it was told."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.__spec__ = object()  # type: ignore[assignment]  # it is found
        self.begun: list[dict[str, Any]] = []
        self.sent: list[tuple[int, dict[str, float]]] = []
        self.ended = 0

    def init(self, **about: Any) -> None:
        self.begun.append(about)

    def log(self, numbers: dict[str, float], *, step: int) -> None:
        self.sent.append((step, numbers))

    def finish(self) -> None:
        self.ended += 1


def open_run(folder: Path, **more: Any) -> Run:
    return Run.open(folder, verb="toy", config={"a": 1}, seed=0, **more)


@pytest.mark.parametrize("name", ["wandb", "trackio"])
def test_a_service_is_told_of_each_step_once(tmp_path: Path, monkeypatch, name: str) -> None:
    service = Service(name)
    monkeypatch.setitem(sys.modules, name, service)
    run = open_run(tmp_path / "r", loggers=[name])
    for step in (1, 2, 3):
        run.log(step, **{"loss.error": step / 2})
    run.close()
    again = open_run(tmp_path / "r", loggers=[name])
    again.rewind(1)
    for step in (2, 3, 4):
        again.log(step, **{"loss.error": step / 2})
    again.close()
    assert service.sent == [(step, {"loss.error": step / 2}) for step in (1, 2, 3, 4)]
    assert service.ended == 2
    first, second = service.begun
    assert first == second and first["resume"] == "allow" and first["config"] == {"a": 1}
    known_by = "id" if name == "wandb" else "name"
    other = open_run(tmp_path / "other", loggers=[name])
    other.log(1, x=math.nan)
    other.close()
    assert service.begun[2][known_by] != first[known_by]


def test_a_run_that_is_made_anew_is_another_one(tmp_path: Path, monkeypatch) -> None:
    service = Service("wandb")
    monkeypatch.setitem(sys.modules, "wandb", service)
    for _ in range(2):
        run = open_run(tmp_path / "r", loggers=["wandb"], existing="redo")
        run.log(1, x=1.0)
        run.close()
    assert service.begun[0]["id"] != service.begun[1]["id"]
    assert [step for step, _ in service.sent] == [1, 1]


def test_a_service_that_cannot_be_begun_is_one_line(tmp_path: Path, monkeypatch) -> None:
    service = Service("wandb")
    service.init = lambda **about: 1 / 0  # type: ignore[method-assign]
    monkeypatch.setitem(sys.modules, "wandb", service)
    run = open_run(tmp_path / "r", loggers=["wandb"])
    with pytest.raises(ConfigError, match=r"loggers=\[wandb\]: cannot be begun \(division"):
        run.open_log()
    run.close()


@pytest.mark.parametrize(
    ("loggers", "words"),
    [
        (["wandbb"], "loggers: there is no 'wandbb': did you mean 'wandb'|did you mean"),
        (["trackio"], r"package trackio is not installed; pip install 'worldmodel\[trackio\]'"),
        ("wandb", r"must be a list of names, loggers=\[wandb\]"),
        ([3], "must be a list of names"),
    ],
)
def test_loggers_that_there_are_not(tmp_path: Path, monkeypatch, loggers: Any, words: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=words):
        open_run(tmp_path / "r", loggers=loggers)
    assert not (tmp_path / "r").exists()
