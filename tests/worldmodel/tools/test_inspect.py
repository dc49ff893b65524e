"""The verb `data`: counts, tables, the sheet, and everything that is wrong."""

import csv
import json
import os
import tarfile
from contextlib import contextmanager

import h5py
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from tests.worldmodel.datasets.layouts import LAYOUTS
from tests.worldmodel.loading.toys import ToyCatalogue
from worldmodel.datasets import open_catalogue
from worldmodel.errors import ConfigError, EpisodeError, VideoError
from worldmodel.loading.clip_reader import ClipReader, ClipRequest
from worldmodel.loading.transforms import VJEPA
from worldmodel.tools import inspect
from worldmodel.video import reader
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.sampling import Sampling

SHEET = ("rows", "size", "num_frames", "stride", "fps", "flip")


def examine(run, action="inspect", **settings):
    """`data inspect` or `data check` with the settings that it takes."""
    drawn = {key: settings.pop(key) for key in SHEET if key in settings}
    run.seed = settings.pop("seed", 0)
    settings = {"workers": 0, **settings}
    if action == "check":
        return inspect.check(run, **settings)
    return inspect.inspect(run, sheet=inspect.Sheet(**drawn), **settings)


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


@pytest.fixture
def make_layout(tmp_path, make_video):
    def make(name):
        place = tmp_path / name
        place.mkdir()
        return LAYOUTS[name](place, make_video(tmp_path / "one.mp4", 8, size=(32, 24)))

    return make


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
    results = examine(run, action="inspect", path=str(videos), num_frames=5)
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
    # A clip of five frames, each of another grey, in the middle of its tile.
    assert sheet.shape[1] >= 5 * 102
    levels = [int(sheet[54, 6 + 102 * column + 48]) for column in range(5)]
    assert len(set(levels)) == 5 and (np.diff(levels) > 0).all() and max(levels) < 250


def test_the_sheet_shows_what_the_training_sees(run, videos, monkeypatch):
    drawn = []
    monkeypatch.setattr(inspect, "write_sheet", lambda strips, path: drawn.extend(strips))
    settings = {"path": str(videos), "size": 16, "num_frames": 4, "fps": 5.0, "seed": 3}
    examine(run, transforms=VJEPA(oversize=1.5), **settings)
    assert [strip.caption.split("   ")[0] for strip in drawn] == [
        str(videos / "a.mp4"), str(videos / "b.mkv")
    ]  # fmt: skip
    frames = torch.empty(2, 4, 3, 24, 24, dtype=torch.uint8)
    reader = ClipReader(
        frames, sampling=Sampling(4, fps=5.0), size=24, flip=True, decoding=Decoding(short_side=24)
    )
    for row, item in enumerate(open_catalogue(videos)):
        taken = reader(ClipRequest(item, 3, row, 1, row))
        assert drawn[row].times == taken.times[0].tolist()
        assert np.allclose(np.diff(drawn[row].times), 0.2)
    expected = VJEPA(oversize=1.5)(frames.float() / 255, size=16, seed=3, step=0)
    for strip, clip in zip(drawn, expected, strict=True):
        assert strip.images[0].shape == (16, 16, 3)
        pixels = torch.from_numpy(np.stack(strip.images)).movedim(-1, 1)
        assert torch.equal(pixels, (clip * 255).round().byte())


def test_a_video_too_short_for_a_clip_says_so_on_the_sheet(run, videos, monkeypatch):
    drawn = []
    monkeypatch.setattr(inspect, "write_sheet", lambda strips, path: drawn.extend(strips))
    assert examine(run, path=str(videos), num_frames=25)["problems"] == 0
    assert "a.mp4: is shorter than the clip" in drawn[0].caption and drawn[0].images == []
    assert len(drawn[1].images) == 25


@pytest.mark.parametrize("name", ["a b,c.mp4", "line\nbreak.mp4", b"not-utf8-\xff.mp4", "日本.mp4"])
def test_any_name_is_printed_in_one_line_and_listed(run, tmp_path, make_video, name):
    place = tmp_path / "names"
    place.mkdir()
    good = make_video(tmp_path / "x.mp4", 12)
    os.rename(good, os.path.join(os.fsencode(place), os.fsencode(name)))
    bad = os.fsencode("bad-") + os.fsencode(name)
    with open(os.path.join(os.fsencode(place), bad), "wb") as file:
        file.write(b"no video" * 100)
    results = examine(run, path=str(place), num_frames=2)
    assert results["files"] == 2 and results["problems"] == 1
    assert len(rows(run.folder / "problems.csv")) == 1
    assert all(line.isprintable() for line in run.lines if line.startswith("bad"))
    assert examine(run, action="check", path=str(place))["problems"] == 1


@pytest.mark.slow
@pytest.mark.parametrize("action", ["inspect", "check"])
def test_a_decoder_that_does_not_work_is_refused_before_any_file(run, monkeypatch, action):
    monkeypatch.setattr(reader, "why_not", lambda name: f"{name} does not work here (no libavutil)")
    with pytest.raises(ConfigError, match="torchcodec does not work here .no libavutil"):
        examine(run, action, path="nowhere", video=Decoding(backend="torchcodec"))


def test_check_survives_crashes_and_hangs(run, monkeypatch, tmp_path):
    trouble = {1: "crash", 2: "hang", 3: "bad"}
    monkeypatch.setattr(inspect, "open_catalogue", lambda *a, **k: ToyCatalogue(6, trouble=trouble))
    video = Decoding(limits=Limits(seconds=1.5))
    results = examine(run, action="check", path=str(tmp_path), workers=2, video=video)
    assert results["files"] == 6 and results["problems"] == 3 and results["frames"] == 60
    problems = [row["problem"] for row in rows(run.folder / "problems.csv")]
    for problem, words in zip(problems, ["signal 11", "longer than 1.5 s", "is bad"], strict=True):
        assert words in problem


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
    assert results["problems"] == 2
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
    monkeypatch.setattr("worldmodel.tools.inspect._TABLE_ROWS", 2)
    examine(run, action="check", path=str(folder))
    assert any(line.split()[:5] == ["3", "episode", "with", "actions", "8x8"] for line in run.lines)


def test_refusals(run, videos):
    with pytest.raises(ConfigError, match="at least 1"):
        examine(run, path=str(videos), rows=0)


@pytest.mark.parametrize("layout", ["lerobot_v21", "lerobot_v3", "hdf5_columns", "hdf5_groups"])
def test_third_party_episodes_are_counted_with_actions(run, layout, make_layout):
    results = examine(run, action="check", path=str(make_layout(layout).path))
    assert results["with_actions"] == 3 and results["problems"] == 0


def test_check_reads_the_rows_of_third_party_episodes(run, make_layout):
    columns = make_layout("hdf5_columns").path
    with h5py.File(columns, "a") as file:
        file["action"][7] = np.nan
    assert examine(run, action="check", path=str(columns))["problems"] == 1
    robot = make_layout("lerobot_v3").path
    place = robot / "data/chunk-000/file-000.parquet"
    rows_there = pq.read_table(place).to_pydict()
    rows_there["timestamp"][6] = 0.0
    rows_there["action"][14] = [np.inf, 0.0]
    pq.write_table(pa.table(rows_there), place)
    results = examine(run, action="check", path=str(robot))
    assert results["problems"] == 2 and results["with_actions"] == 1
    reasons = [row["problem"] for row in rows(run.folder / "problems.csv")]
    assert "episode 1: its timestamps do not increase" in reasons[0]
    assert "episode 2: 1 actions are NaN or infinite" in reasons[1]


@pytest.mark.parametrize("layout", ["kinetics_lists", "diving48"])
@pytest.mark.parametrize("action", ["check", "inspect"])
def test_videos_that_a_list_names_and_the_folder_lacks_are_problems(
    run, make_layout, layout, action
):
    results = examine(run, action=action, path=str(make_layout(layout).path), num_frames=2)
    assert results["problems"] == 1
    (row,) = rows(run.folder / "problems.csv")
    assert row["path"] in row["problem"]
    assert any(line.startswith("bad") and row["path"] in line for line in run.lines)


def test_samples_that_shards_leave_out_are_problems(run, tmp_path, make_video):
    video = make_video(tmp_path / "a.mp4", 8)
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        tar.add(video, "0.mp4")
        tar.add(video, "1.txt")
    reading = {"on_bad": "skip"}
    results = examine(run, action="check", path=str(tmp_path / "s.tar"), reading=reading)
    assert results["files"] == 2 and results["problems"] == 1
    assert "sample '1' has no video" in rows(run.folder / "problems.csv")[0]["problem"]


def test_what_is_wrong_with_the_whole_of_a_data_set_is_said_as_it_is(run, make_layout):
    columns = make_layout("hdf5_columns").path
    with h5py.File(columns, "a") as file:
        del file["ep_len"]
        file["ep_len"] = [5, 8, 60]
    robot = make_layout("lerobot_v21").path
    described = json.loads((robot / "meta/info.json").read_text())
    (robot / "meta/info.json").write_text(json.dumps(described | {"fps": 0}))
    for path, reason in ((columns, "episode 2 is rows 13 to 73 of 19"), (robot, "fps is '0'")):
        assert examine(run, action="check", path=str(path))["problems"] == 1
        (found,) = rows(run.folder / "problems.csv")
        assert reason in found["problem"]


def test_check_reads_what_lies_beside_a_cut_shard(run, tmp_path, make_video):
    video = make_video(tmp_path / "a.mp4", 8)
    for number in range(3):
        with tarfile.open(tmp_path / f"s-{number}.tar", "w") as tar:
            tar.add(video, f"{number}.mp4")
            tar.add(video, f"{number}b.mp4")
    cut = tmp_path / "s-1.tar"
    cut.write_bytes(cut.read_bytes().rstrip(b"\0")[:-100])
    settings = {"action": "check", "path": f"{tmp_path}/s-*.tar"}
    results = examine(run, **settings)
    assert (results["files"], results["problems"], results["frames"]) == (6, 1, 40)
    (row,) = rows(run.folder / "problems.csv")
    assert row["path"] == str(cut) and "s-1.tar: is cut in the middle of '1b.mp4'" in row["problem"]
    results = examine(run, **settings, reading={"on_bad": "error"})
    assert results["files"] == results["problems"] == 1
    for place in tmp_path.glob("s-*.tar"):
        place.write_bytes(place.read_bytes()[:700])
    assert examine(run, **settings)["problems"] == 3
    assert len(rows(run.folder / "problems.csv")) == 3


def test_check_reads_the_other_lines_of_a_manifest(run, videos):
    place = videos / "list.csv"
    place.write_text("a.mp4 1\nb.mkv jump\nb.mkv 2\n../c.mp4 3\nnowhere.mp4 1\n")
    results = examine(run, action="check", path=str(place))
    assert results["files"] == 5 and results["problems"] == 3 and results["frames"] == 50
    problems = rows(run.folder / "problems.csv")
    assert [row["path"] for row in problems[:2]] == [f"{place}, line {n}" for n in (2, 4)]
    for row, words in zip(problems, ["label 'jump' is not", "leaves the", "line 5"], strict=True):
        assert words in row["problem"]
    place.write_text("a.mp4 x\nb.mkv y\n")
    assert examine(run, action="check", path=str(place))["problems"] == 2
    place.write_bytes(b"\xff\xfe\0a")
    assert examine(run, action="check", path=str(place))["problems"] == 1
    with pytest.raises(VideoError, match="there is nothing; check the path"):
        examine(run, action="check", path=str(videos / "nowhere"))
