"""Folders that one process writes at a time, with real processes."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from worldmodel.errors import RunError
from worldmodel.runs.lock import LOCK, hold, locked, release
from worldmodel.runs.run import EXISTING, Run

HOLD = """
import sys, time
from pathlib import Path
from worldmodel.runs.lock import hold
hold(Path(sys.argv[1]))
print("held", flush=True)
time.sleep(60)
"""
# A worker that is forked keeps the files that its parent had open. The child must say nothing: a
# line "0" of its own, read for its number, would have the test kill its own process group.
FORK = HOLD.replace(
    "time.sleep(60)",
    "import os\nchild = os.fork()\nif child:\n    print(child, flush=True)\ntime.sleep(60)",
)
RUN = """
import sys, time
from worldmodel.runs.run import Run
run = Run.open(sys.argv[1], verb="toy", config={"size": 1}, seed=0)
run.log(0, loss=1.0)
print("held", flush=True)
time.sleep(60)
"""


def start(program: str, folder: Path) -> subprocess.Popen[str]:
    words = [sys.executable, "-c", program, str(folder)]
    process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None and process.stdout.readline() == "held\n"
    return process


@pytest.fixture
def holder(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    process = start(HOLD, tmp_path / "out")
    yield process
    process.kill()
    process.communicate()


def test_a_folder_that_another_process_writes_is_refused(
    tmp_path: Path, holder: subprocess.Popen[str]
) -> None:
    with pytest.raises(RunError, match=f"is being written by process {holder.pid} on "):
        hold(tmp_path / "out")
    (tmp_path / "link").symlink_to(tmp_path / "out")
    with pytest.raises(RunError, match="is being written"):
        hold(tmp_path / "link")
    hold(tmp_path / "other")
    release(tmp_path / "other")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_a_killed_process_holds_nothing(
    tmp_path: Path, holder: subprocess.Popen[str], number: signal.Signals
) -> None:
    os.kill(holder.pid, number)
    holder.wait()
    with locked(tmp_path / "out"):
        assert str(os.getpid()) in (tmp_path / "out" / LOCK).read_text()
    assert list((tmp_path / "out").iterdir()) == []


def test_a_forked_child_that_outlives_its_parent_holds_nothing(tmp_path: Path) -> None:
    process = start(FORK, tmp_path / "out")
    assert process.stdout is not None
    child = int(process.stdout.readline())
    assert child > 1
    process.kill()
    process.wait()
    try:
        hold(tmp_path / "out")
        release(tmp_path / "out")
    finally:
        os.kill(child, signal.SIGKILL)
        process.stdout.close()


def test_one_process_may_hold_a_folder_twice(tmp_path: Path) -> None:
    hold(tmp_path)
    with locked(tmp_path):
        pass
    assert (tmp_path / LOCK).is_file()
    program = HOLD.replace("time.sleep(60)", "")
    words = [sys.executable, "-c", program, str(tmp_path)]
    assert "is being written" in subprocess.run(words, capture_output=True, text=True).stderr
    release(tmp_path)
    assert not (tmp_path / LOCK).exists()
    assert subprocess.run(words, capture_output=True, text=True).stdout == "held\n"


@pytest.mark.parametrize("existing", EXISTING)
@pytest.mark.parametrize("size", [1, 2])
def test_two_runs_never_write_one_folder(tmp_path: Path, existing: str, size: int) -> None:
    folder = tmp_path / "run"
    settings = {"verb": "toy", "config": {"size": size}, "seed": 0, "existing": existing}
    process = start(RUN, folder)
    try:
        with pytest.raises(RunError, match=f"process {process.pid}"):
            Run.open(folder, **settings)  # type: ignore[arg-type]
        assert (folder / "log.jsonl").read_text().count("loss") == 1
        process.kill()
        process.wait()
        if size == 2 and existing == "resume":
            with pytest.raises(RunError, match="other settings"):
                Run.open(folder, **settings)  # type: ignore[arg-type]
            return
        run = Run.open(folder, **settings)  # type: ignore[arg-type]
        assert (folder / "log.jsonl").is_file() == (existing != "redo" and size == 1)
        run.close()
        assert not (folder / LOCK).exists()
    finally:
        process.kill()
        process.communicate()
