"""Several processes learn what one does: losses and weights after some steps, for every recipe.

In float64, where what is left is no rounding. (In float32, Adam makes large steps of the rounding
of gradients that are zero, such as that of a bias before a batch normalisation.)
"""

from pathlib import Path

import pytest

from tests.worldmodel.training.ranks import Job, do, learn, write_squares, write_teacher
from worldmodel.cli.settings import choices
from worldmodel.interop.load import load
from worldmodel.runs.run import read_log
from worldmodel.storage.tensors import read_tensors

RECIPES = sorted(choices("pretrain")["recipe"])
CLOSE = 1e-5


@pytest.fixture
def folder(tmp_path):
    write_squares(tmp_path / "data")
    write_teacher(tmp_path / "teacher")
    return tmp_path


def assert_same(one: Path, many: Path) -> None:
    """The same log and the same training state."""
    expected, found = read_log(one), read_log(many)
    assert len(expected) == len(found) > 0
    for line, other in zip(expected, found, strict=True):
        assert line.keys() == other.keys()
        for name in line.keys() - {"elapsed", "data_wait"}:
            assert other[name] == pytest.approx(line[name], rel=CLOSE, abs=CLOSE), name
    states = [read_tensors(run / "checkpoints/training.safetensors") for run in (one, many)]
    assert states[0].keys() == states[1].keys()
    for name, value in states[0].items():
        assert (states[1][name] - value).abs().max() <= CLOSE if value.numel() else True, name
    assert load(one).spec() == load(many).spec()


@pytest.mark.slow
def test_two_processes_equal_one(folder):
    jobs = [Job("ddp", steps=3), Job("fsdp", "tube_sigreg", steps=3, parallel="fsdp")]
    do(jobs, folder, processes=2)
    for job in jobs:
        one = Job(f"{job.name}-one", job.recipe, steps=3)
        learn(one, folder, double=True)
        assert_same(folder / one.name, folder / job.name)


@pytest.mark.exhaustive
@pytest.mark.parametrize("parallel", ["ddp", "fsdp"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_any_number_of_processes_equals_one(folder, recipe, parallel):
    learn(Job("1", recipe), folder, double=True)
    for processes in (2, 4):
        do([Job(f"{processes}", recipe, parallel=parallel)], folder, processes=processes)
        assert_same(folder / "1", folder / f"{processes}")


@pytest.mark.exhaustive
@pytest.mark.parametrize(
    ("before", "after"), [((2, "ddp"), 1), ((2, "fsdp"), 1), ((1, "ddp"), 2), ((2, "fsdp"), 4)]
)
@pytest.mark.parametrize("recipe", ["tube_sigreg", "vjepa2"])
def test_another_number_of_processes_goes_on(folder, recipe, before, after):
    """The last process is asked to end, all of them do, and others go on."""
    learn(Job("whole", recipe), folder, double=True)
    processes, parallel = before
    do([Job("parts", recipe, parallel=parallel, ask_at=4)], folder, processes=processes)
    assert len(read_log(folder / "parts")) == 4
    do([Job("parts", recipe, parallel="fsdp")], folder, processes=after)
    assert_same(folder / "whole", folder / "parts")
