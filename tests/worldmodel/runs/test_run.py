"""Runs and their folders: what is written, what is refused, what goes on."""

import json
import math
import mmap
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from worldmodel.errors import RunError
from worldmodel.runs.memory import MemoryWatch, resident_bytes
from worldmodel.runs.provenance import config_sha256, first_difference, git_commit
from worldmodel.runs.run import Run, finished_results, read_log, read_metrics


def open_run(folder: Path, **changes: object) -> Run:
    options = {"verb": "toy", "config": {"a": {"b": 1}}, "seed": 0, **changes}
    return Run.open(folder, **options)  # type: ignore[arg-type]


def test_metrics_have_what_every_run_promises(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r", device="cpu")
    run.finish({"x": 1, "missing": math.nan})
    metrics = json.loads((tmp_path / "r" / "metrics.json").read_text())
    assert metrics["verb"] == "toy"
    assert metrics["config_sha256"] == config_sha256({"verb": "toy", "a": {"b": 1}})
    assert metrics["results"] == {"x": 1.0, "missing": None}  # JSON has no NaN
    assert math.isnan(read_metrics(tmp_path / "r")["results"]["missing"])
    assert 0 < metrics["memory_peak_gib"] < 64


def test_the_log_has_a_line_a_step_and_the_same_in_tensorboard(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    run.log(1, loss=torch.tensor(0.5), **{"loss.term": 0.25})
    run.log(2, loss=math.inf)
    run.close()
    first, second = read_log(tmp_path / "r")
    assert first["step"] == 1 and first["loss"] == 0.5 and first["loss.term"] == 0.25
    assert "loss" not in second  # not finite: missing
    assert list((tmp_path / "r" / "tb").glob("events.*"))


def test_rewinding_forgets_what_will_be_done_again(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    for step in range(5):
        run.log(step, loss=1.0)
    run.rewind(2)
    run.log(3, loss=2.0)
    run.close()
    assert [line["step"] for line in read_log(tmp_path / "r")] == [0, 1, 2, 3]


def test_a_log_cut_short_is_read_up_to_there(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    run.log(1, loss=1.0)
    run.close()
    with (tmp_path / "r" / "log.jsonl").open("a") as file:
        file.write('{"step": 2, "lo')
    assert [line["step"] for line in read_log(tmp_path / "r")] == [1]


def test_time_of_earlier_goes_counts(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    run.log(1, loss=1.0)
    run.close()
    path = tmp_path / "r" / "log.jsonl"
    path.write_text(json.dumps({"step": 1, "elapsed": 100.0}) + "\n")
    again = open_run(tmp_path / "r")
    again.close()
    assert 100 <= again.seconds < 160


def test_other_settings_are_refused_by_their_first_difference(tmp_path: Path) -> None:
    open_run(tmp_path / "r").finish({})
    with pytest.raises(RunError, match=r"a\.b: 1, now 2"):
        open_run(tmp_path / "r", config={"a": {"b": 2}})
    with pytest.raises(RunError, match="verb: toy, now other"):
        open_run(tmp_path / "r", verb="other")
    with pytest.raises(RunError, match="choose from"):
        open_run(tmp_path / "r", existing="keep")


def test_replace_and_redo_start_anew(tmp_path: Path) -> None:
    folder = tmp_path / "r"
    open_run(folder).finish({})
    same = open_run(folder, existing="replace")
    assert (folder / "metrics.json").is_file()
    same.close()
    for changes in ({"config": {"a": 3}, "existing": "replace"}, {"existing": "redo"}):
        run = open_run(folder, **changes)
        assert not (folder / "metrics.json").exists()
        run.finish({})


def test_a_folder_of_something_else_is_never_touched(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "one.jpg").write_text("x")
    for existing in ("resume", "replace", "redo"):
        with pytest.raises(RunError, match="not a run's folder"):
            open_run(tmp_path / "photos", existing=existing)
    (tmp_path / "photos" / "config.yaml").write_text("camera: yes")
    with pytest.raises(RunError, match="not the settings of a run"):
        open_run(tmp_path / "photos", existing="redo")
    (tmp_path / "photos" / "config.yaml").write_text("a: [")
    with pytest.raises(RunError, match="damaged"):
        open_run(tmp_path / "photos")
    assert (tmp_path / "photos" / "one.jpg").is_file()


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file/r", "Not a directory"),
        ("loop/r", "Too many levels of symbolic links"),
        ("x" * 300 + "/r", "File name too long"),
        ("/proc/nothing/r", "No such file or directory"),
    ],
)
def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path, name: str, words: str) -> None:
    (tmp_path / "file").write_text("x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    with pytest.raises(RunError, match=rf"cannot be .* \({words}\); c\w+ "):
        open_run(tmp_path / name)
    with pytest.raises(RunError, match=rf"cannot be .* \({words}\); c\w+ "):
        finished_results(tmp_path / name, {})
        open_run(tmp_path / name)


def test_a_run_in_which_nothing_was_made_leaves_no_folder(tmp_path: Path) -> None:
    run = open_run(tmp_path / "r")
    run.discard_if_empty()
    assert not (tmp_path / "r").exists()
    run = open_run(tmp_path / "r")
    run.log(1, loss=1.0)
    run.discard_if_empty()
    assert (tmp_path / "r" / "log.jsonl").is_file()


def test_results_are_found_again_only_for_the_same_settings(tmp_path: Path) -> None:
    settings = {"verb": "toy", "a": {"b": 1}}
    assert finished_results(tmp_path / "r", settings) is None
    open_run(tmp_path / "r").finish({"x": 2})
    assert finished_results(tmp_path / "r", settings) == {"x": 2}
    assert finished_results(tmp_path / "r", settings | {"name": "other"}) == {"x": 2}
    assert finished_results(tmp_path / "r", settings | {"a": {"b": 2}}) is None


def test_metrics_that_are_not_there_or_damaged(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not finished"):
        read_metrics(tmp_path)
    for text in ("{", "[]", '{"results": 3}', "{}"):
        (tmp_path / "metrics.json").write_text(text)
        with pytest.raises(RunError, match="not the metrics of a run"):
            read_metrics(tmp_path)


def test_first_difference_names_added_and_removed_keys() -> None:
    assert first_difference({"a": 1}, {"a": 1, "b": 2}) == "b: absent, now 2"
    assert first_difference({"a": 1, "b": {"c": 2}}, {"a": 1}) == "b.c: 2, now absent"
    assert first_difference({"a": (1, 2)}, {"a": [1, 2]}) is None
    assert first_difference({"a": {}}, {"a": None}) is not None


def test_memory_counts_this_process_and_peaks() -> None:
    watch = MemoryWatch(every_seconds=0.01)
    before = resident_bytes()
    size = 200 * 2**20  # far more than what else comes and goes
    with mmap.mmap(-1, size) as block:  # new pages, whatever the allocator keeps
        block.write(b"x" * size)
        during = watch.peak_gib
    watch.stop()
    assert during * 2**30 - before > size / 2
    assert watch.peak_gib >= during


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_memory_counts_workers_too() -> None:
    program = "import sys; x = b'x' * (60 * 2**20); print('ready', flush=True); sys.stdin.read()"
    before = resident_bytes()
    words = [sys.executable, "-c", program]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as worker:
        assert worker.stdout is not None
        worker.stdout.readline()
        assert resident_bytes() - before > 50 * 2**20
        worker.communicate()


def test_the_commit_is_that_of_this_checkout() -> None:
    commit = git_commit()
    root = Path(__file__).resolve().parents[3]
    if not (root / ".git").exists() or shutil.which("git") is None:
        assert commit is None
        return
    words = ["git", "-C", str(root), "rev-parse", "HEAD"]
    head = subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    assert commit is not None and commit.removesuffix("-dirty") == head
