"""The verb `data`: counts, tables, the sheet, and everything that is wrong."""

import csv
import os
from contextlib import contextmanager

import numpy as np
import pytest
from PIL import Image

from worldmodel.data.inspect import examine
from worldmodel.errors import ConfigError, EpisodeError, VideoError


class FakeRun:
    """As much of a run as the verb uses."""

    def __init__(self, folder):
        self.folder = folder
        self.lines: list[str] = []
        self.done = 0

    @contextmanager
    def progress(self, total, description):
        self.total = total
        yield self

    def advance(self, amount):
        self.done += amount

    def say(self, message):
        self.lines.append(message)


@pytest.fixture
def run(tmp_path) -> FakeRun:
    return FakeRun(tmp_path / "run")


def rows(path) -> list[dict[str, str]]:
    with path.open() as file:
        return list(csv.DictReader(file))


@pytest.fixture
def videos(tmp_path, make_video):
    place = tmp_path / "videos"
    place.mkdir()
    make_video(place / "a.mp4", 20)
    make_video(place / "b.mkv", 30, size=(64, 64))
    return place


def spoil(videos):
    whole = (videos / "b.mkv").read_bytes()
    (videos / "c.mkv").write_bytes(whole[: len(whole) * 2 // 3])
    os.mkfifo(videos / "d.mp4")


def test_inspect_counts_and_draws(run, videos):
    results = examine(run, action="inspect", path=str(videos), columns=5)
    assert results == {
        "files": 2,
        "problems": 0,
        "frames": 50,
        "seconds_of_video": pytest.approx(5.0),
        "with_actions": 0,
    }
    assert run.done == run.total == 2
    assert rows(run.folder / "files.csv")[1] | {"path": ""} == {
        "path": "",
        "codec": "mpeg4",
        "width": "64",
        "height": "64",
        "frames": "30",
        "seconds": "3.0",
        "problem": "",
    }
    assert any("a.mp4" in line and "48x32" in line for line in run.lines)
    sheet = np.array(Image.open(run.folder / "sheet.png").convert("L"))
    assert (sheet[75] < 250).sum() > 5 * 100  # the first strip fills its five tiles
    levels = {int(sheet[75, 6 + 134 * column + 64]) for column in range(5)}
    assert len(levels) == 5  # five different frames


def test_check_reads_everything_and_lists_what_is_wrong(run, videos):
    spoil(videos)
    results = examine(run, action="check", path=str(videos))
    assert results["files"] == 4 and results["problems"] == 2
    problems = rows(run.folder / "problems.csv")
    assert [os.path.basename(row["path"]) for row in problems] == ["c.mkv", "d.mp4"]
    assert "is a pipe" in problems[1]["problem"]
    assert sum(line.startswith("bad") for line in run.lines) == 2
    assert not (run.folder / "sheet.png").exists()


def test_inspect_goes_on_past_bad_files(run, videos):
    spoil(videos)
    results = examine(run, path=str(videos))
    assert results["problems"] == 1  # the header of the cut one is well; `check` decodes it
    assert (run.folder / "sheet.png").exists()


def test_inspect_of_nothing_readable_is_an_error(run, tmp_path):
    (tmp_path / "a.mp4").write_text("hello" * 500)
    with pytest.raises(VideoError, match="nothing in it can be read.*a.mp4"):
        examine(run, path=str(tmp_path))


def test_episodes_are_counted_with_and_without_actions(run, folder):
    results = examine(run, path=str(folder))
    assert results["files"] == 5 and results["frames"] == 35
    assert results["with_actions"] == 3 and results["problems"] == 0
    assert (run.folder / "sheet.png").exists()
    assert examine(run, action="check", path=str(folder / "000002.safetensors"))["files"] == 1


def test_check_finds_bad_episodes_and_a_bad_folder(run, folder):
    path = folder / "000001.safetensors"
    path.write_bytes(path.read_bytes()[:900])
    assert examine(run, action="check", path=str(folder))["problems"] == 1
    (folder / "episodes.json").unlink()
    assert examine(run, action="check", path=str(folder))["problems"] == 2
    reasons = [row["problem"] for row in rows(run.folder / "problems.csv")]
    assert "no episodes.json" in reasons[0] and "000001.safetensors" in reasons[1]


def test_an_empty_episode_folder_has_a_problem(run, folder):
    for path in folder.glob("*.safetensors"):
        path.unlink()
    with pytest.raises(EpisodeError, match="holds 0 episode files"):
        examine(run, path=str(folder))
    assert examine(run, action="check", path=str(folder))["problems"] == 1


def test_many_files_are_counted_by_kind(run, folder, monkeypatch):
    monkeypatch.setattr("worldmodel.data.inspect._TABLE_ROWS", 2)
    examine(run, action="check", path=str(folder))
    assert any(line.split() == ["3", "episode", "with", "actions", "8x8"] for line in run.lines)


def test_refusals(run, videos):
    with pytest.raises(ConfigError, match="did you mean 'check'"):
        examine(run, action="chek", path=str(videos))
    with pytest.raises(ConfigError, match="at least 1"):
        examine(run, path=str(videos), rows=0)
