"""Signatures read from source files say what an import would say."""

import inspect
import pkgutil
import subprocess
import sys
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import pytest
import yaml

from tests.test_configs import FOLDER
from worldmodel.cli.parsed_signatures import read
from worldmodel.cli.settings import written
from worldmodel.cli.signatures import fill_defaults
from worldmodel.cli.verbs import VERBS
from worldmodel.errors import ConfigError

HERE = "tests.worldmodel.cli.test_parsed_signatures"
MEBI = 2**20
Count = int | None


@dataclass(frozen=True)
class Base:
    size: int = 3 * MEBI
    name: str = "base"


@dataclass(frozen=True)
class Made(Base):
    name: str = "made"
    words: Sequence[str] = ("a", "b")
    made: int = field(default=4)
    computed: int = field(default=0, init=False)


MADE = Made(size=5)


class Plain:
    def __init__(self, width: int, *, depth: Count = None) -> None:
        """Take a width."""


class Inherits(Plain):
    """Takes what `Plain` takes."""


def function(
    first: float,
    made: Made = MADE,
    *,
    maybe: Made | None = None,
    way: Literal["up", "down"] = "up",
    call: Callable[[], int] | None = None,
    anything: Any = -1.5,
) -> None:
    """Take a bit of everything."""


def test_a_function() -> None:
    found = read(f"{HERE}.function")
    assert found.doc == "Take a bit of everything."
    accepted = found.parameters
    assert accepted["first"].default is inspect.Parameter.empty
    assert accepted["first"].annotation is float
    assert accepted["made"].default == {"_target_": f"{HERE}.Made", "size": 5}
    assert accepted["made"].annotation.__qualname__ == "Made"
    assert accepted["way"].annotation == Literal["up", "down"]
    assert accepted["anything"].default == -1.5


def test_classes_and_what_they_inherit() -> None:
    assert set(read(f"{HERE}.Made").parameters) == {"size", "name", "words", "made"}
    defaults = {n: p.default for n, p in read(f"{HERE}.Made").parameters.items()}
    assert defaults == {"size": 3 * 2**20, "name": "made", "words": ("a", "b"), "made": 4}
    found = read(f"{HERE}.Inherits")
    assert list(found.parameters) == ["width", "depth"]
    assert found.parameters["depth"].annotation == Count


def test_what_cannot_be_read_is_imported() -> None:
    assert list(read("fractions.Fraction").parameters)[:2] == ["numerator", "denominator"]
    with pytest.raises(ConfigError, match="nowhere.at_all: cannot be imported"):
        read("nowhere.at_all")
    with pytest.raises(ConfigError, match="cannot be imported"):
        read(f"{HERE}.Missing")


def targets(settings: Any) -> Iterator[str]:
    if isinstance(settings, Mapping):
        if "_target_" in settings:
            yield settings["_target_"]
        for value in settings.values():
            yield from targets(value)
    elif isinstance(settings, list):
        for value in settings:
            yield from targets(value)


def all_targets() -> list[str]:
    """Everything that a configuration of ours names, or a default in code that it fills in."""
    settings = [yaml.safe_load(path.read_text()) or {} for path in FOLDER.rglob("*.yaml")]
    settings += [fill_defaults(written(verb, {})) for verb in VERBS]
    return sorted({name for some in settings for name in targets(some)})


@pytest.mark.parametrize("target", all_targets())
def test_every_configured_target_reads_as_it_imports(target: str) -> None:
    accepted = read(target).parameters
    imported = inspect.signature(pkgutil.resolve_name(target)).parameters
    assert set(accepted) == set(imported)
    for name, parameter in imported.items():
        default = parameter.default
        if default is None or isinstance(default, bool | int | float | str | tuple):
            assert accepted[name].default == default, name
        assert (default is parameter.empty) == (accepted[name].default is parameter.empty)
        parts = typing.get_args(parameter.annotation)
        if parameter.annotation in (bool, int, float, str) or parameter.annotation == Count:
            assert accepted[name].annotation == parameter.annotation
        if typing.get_origin(parameter.annotation) is Literal:
            assert typing.get_args(accepted[name].annotation) == parts


@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["pretrian"],
        ["pretrain", "--help"],
        ["pretrain", "steps=60"],
        ["plan", "planner=cme"],
        ["train", "optimisation.steps=many"],
        ["data", "check", "x", "size=3"],
    ],
)
def test_help_and_wrong_words_need_neither_torch_nor_hydra(words: list[str]) -> None:
    program = (
        "import sys, resource\n"
        "from worldmodel.cli import app\n"
        f"status = app.main({words!r})\n"
        "late = {'torch', 'hydra', 'omegaconf', 'numpy', 'gymnasium', 'rich', 'matplotlib'}\n"
        "print(sorted(late & set(sys.modules)), file=sys.stderr)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stderr.splitlines()[-1] == "[]", done.stderr
