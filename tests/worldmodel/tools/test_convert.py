"""Conversions: what comes out, byte for byte where it may, and going on after an interruption."""

import errno
import json
import os
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import fields, replace
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import webdataset

from tests.worldmodel.datasets.layouts import LAYOUTS, LENGTHS, actions_of, frames_of, put
from tests.worldmodel.video.made_videos import X264, MadeVideo
from worldmodel.datasets import find_format, open_catalogue, open_episodes
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter
from worldmodel.errors import ConfigError, EpisodeError, RunError, VideoError
from worldmodel.runs.run import Run
from worldmodel.storage import tensors
from worldmodel.tools.conversion import encode_video, lerobot_target
from worldmodel.tools.conversion import videos as videos
from worldmodel.tools.conversion.convert import convert
from worldmodel.tools.conversion.lerobot_target import statistics
from worldmodel.tools.conversion.target import Writing
from worldmodel.video.clip import VideoReader, video_info
from worldmodel.video.decoding import Decoding


@pytest.fixture
def video(tmp_path, make_video):
    return make_video(tmp_path / "made.mp4", 8, size=(32, 24))


@pytest.fixture
def made(tmp_path, video):
    def made(name):
        place = tmp_path / "source" / name
        place.mkdir(parents=True)
        return LAYOUTS[name](place, video)

    return made


@pytest.fixture
def change(tmp_path):
    runs = []

    def change(source, output, to, **options):
        runs.append(Run.open(tmp_path / f"run{len(runs)}", verb="data", config={}, seed=0))
        names = [field.name for field in fields(Writing)]
        writing = Writing(**{name: options.pop(name) for name in names if name in options})
        places = {"path": str(source), "output": str(output)}
        return convert(runs[-1], **places, to=to, writing=writing, **options)

    yield change
    for run in runs:
        run.close()


def files_of(folder):
    return {
        str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()
    }


def test_a_folder_is_copied_as_it_is_and_back(made, change, tmp_path, video):
    source = made("class_folder")
    reading = {"classes": True}
    counts = change(source.path, tmp_path / "s", "shards", reading=reading, per_shard=2)
    assert (counts["items"], counts["written"], counts["copied"]) == (3, 3, 3)
    assert sorted(p.name for p in (tmp_path / "s").iterdir()) == [
        "convert.json", "shard-000000.tar", "shard-000001.tar",
    ]  # fmt: skip
    shards = open_catalogue(tmp_path / "s")
    assert [item.label for item in shards] == source.labels
    assert all(item.size == video.stat().st_size for item in shards)
    named = open_catalogue(tmp_path / "s", label="txt")
    assert named.classes == ("jump", "run")
    change(tmp_path / "s", tmp_path / "f", "folder", reading={"label": "txt"})
    back = open_catalogue(tmp_path / "f", classes=True)
    assert back.classes == ("jump", "run") and [i.label for i in back] == source.labels
    assert {Path(item.key).read_bytes() for item in back} == {video.read_bytes()}
    listed = open_catalogue(tmp_path / "f" / "videos.csv")
    assert sorted((i.key, i.label) for i in listed) == [(i.key, i.label) for i in back]


def test_shards_are_read_by_webdataset(made, change, tmp_path, video):
    change(made("manifest").path, tmp_path / "s", "shards")
    with open(tmp_path / "s" / "shard-000000.tar", "rb") as file:
        found = list(
            webdataset.tariterators.group_by_keys(
                webdataset.tariterators.tar_file_expander([{"url": "s", "stream": file}])
            )
        )
    assert [s["cls"] for s in found] == [b"3", b"0"]
    assert all(s["mp4"] == video.read_bytes() for s in found)
    assert json.loads(found[0]["json"])["source"].endswith("a b.mp4")


@pytest.mark.parametrize("name", list(LAYOUTS))
@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
def test_everything_becomes_everything(made, change, tmp_path, name, to):
    """Counts and the first and the last frame survive, whatever the path."""
    source = made(name)
    options = {"reading": source.options, "size": None if to == "folder" else 16}
    counts = change(source.path, tmp_path / "out", to, **options)
    assert counts["items"] == counts["written"] == source.count
    # Copied videos of Kinetics are still called as its videos are.
    assert find_format(tmp_path / "out").name in (to, "kinetics")
    before = open_catalogue(source.path, **source.options)
    after = open_catalogue(tmp_path / "out")
    assert len(after) == len(before)
    assert np.allclose(
        sorted(middle(item) for item in before), sorted(middle(item) for item in after), atol=4
    )


def middle(item):
    """The grey in the middle of the first frame."""
    source = item.open(Decoding(short_side=16))
    times = source.times(np.arange(source.num_frames))
    first = int(np.flatnonzero(times >= (item.window or (0, 0))[0])[0])
    value = float(source.read(np.array([first])).float()[0, :, 6:10, 6:10].mean())
    source.close()
    return value


def test_choices_stay_choices(made, change, tmp_path):
    path = made("minari").path
    about = path / "data/metadata.json"
    space = json.dumps({"type": "MultiDiscrete", "nvec": [9, 3], "start": [0, 0]})
    about.write_text(json.dumps(json.loads(about.read_text()) | {"action_space": space}))
    change(path, tmp_path / "e", "episodes")
    assert open_episodes(tmp_path / "e").info.action_choices == (9, 3)


@pytest.mark.parametrize(
    "name",
    [
        "our_episodes",
        "lerobot_v21",
        "lerobot_v3",
        "hdf5_groups",
        "minari",
        "act",
        "diffusion_policy",
    ],
)
def test_actions_survive(made, change, tmp_path, name):
    path = made(name).path
    source = open_episodes(path)
    change(path, tmp_path / "l", "lerobot")
    change(tmp_path / "l", tmp_path / "e", "episodes")
    for there in (open_episodes(tmp_path / "l"), open_episodes(tmp_path / "e")):
        assert there.info.fps == source.info.fps
        assert len(there.labelled) == len(source)
        for one, other in zip(source, there, strict=True):
            assert torch.equal(one.actions, other.actions)
            difference = one.frames.int() - other.frames.int()
            assert difference.abs().max() <= 4
            assert torch.allclose(one.times, other.times, atol=1e-5)
            assert set(one.info) <= set(other.info)


def read_lerobot(root):
    """An independent reader, from the published description of v3 alone."""
    info = json.loads((root / "meta/info.json").read_text())
    assert info["codebase_version"] == "v3.0"
    camera = next(k for k, f in info["features"].items() if f["dtype"] == "video")
    episodes = pq.read_table(root / "meta/episodes").to_pylist()
    tasks = {row["task_index"]: row["task"] for row in pq.read_table(
        root / "meta/tasks.parquet").to_pylist()}  # fmt: skip
    for row in sorted(episodes, key=lambda row: row["episode_index"]):
        at = {"chunk_index": row["data/chunk_index"], "file_index": row["data/file_index"]}
        rows = pq.read_table(root / info["data_path"].format(**at)).to_pylist()
        rows = [r for r in rows if r["episode_index"] == row["episode_index"]]
        of = {k: row[f"videos/{camera}/{k}"] for k in ("chunk_index", "file_index")}
        begin, end = (row[f"videos/{camera}/{k}_timestamp"] for k in ("from", "to"))
        with av.open(str(root / info["video_path"].format(video_key=camera, **of))) as container:
            frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)
                      if begin - 1e-3 <= f.time < end - 1e-3]  # fmt: skip
        yield info, row, rows, np.stack(frames), tasks


def test_lerobot_by_an_independent_reader(made, change, tmp_path):
    change(made("hdf5_columns").path, tmp_path / "l", "lerobot")
    first = 0
    for number, (info, row, rows, frames, tasks) in enumerate(read_lerobot(tmp_path / "l")):
        length = LENGTHS[number]
        assert (row["episode_index"], row["length"], len(rows)) == (number, length, length)
        assert [r["index"] for r in rows] == list(range(first, first + length))
        assert (row["dataset_from_index"], row["dataset_to_index"]) == (first, first + length)
        assert np.allclose([r["timestamp"] for r in rows], np.arange(length) / info["fps"])
        actions = np.array([r["action"] for r in rows])
        wanted = actions_of(number, length)
        assert np.array_equal(actions[:-1], wanted[:-1]) and np.array_equal(
            actions[-1], actions[-2]
        )
        assert np.abs(frames.astype(int) - frames_of(number, length)).max() <= 4
        assert tasks[rows[0]["task_index"]] == row["tasks"][0]
        assert info["features"]["action"] == {"dtype": "float32", "shape": [2], "names": None}
        assert list(frames.shape[1:]) == info["features"]["observation.images.main"]["shape"]
        first += length
    assert (info["total_episodes"], info["total_frames"]) == (3, first)
    stats = json.loads((tmp_path / "l/meta/stats.json").read_text())
    assert stats["action"]["max"] == [6.0, 2.0] and stats["action"]["count"] == [first]
    assert np.shape(stats["observation.images.main"]["mean"]) == (3, 1, 1)


def test_the_same_conversion_gives_the_same_bytes(made, change, tmp_path):
    """Of what is not encoded again: x264 now and then writes other bytes for the same frames."""
    videos, episodes = made("class_folder"), made("lerobot_v21").path
    for source, to, reading in (
        (videos.path, "shards", videos.options), (videos.path, "lerobot", videos.options),
        (episodes, "episodes", {}), (episodes, "lerobot", {}),
    ):  # fmt: skip
        outputs = [tmp_path / f"{to}-{source.name}-{again}" for again in "ab"]
        for output in outputs:
            change(source, output, to, reading=reading)
        assert files_of(outputs[0]) == files_of(outputs[1])


@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
def test_an_interrupted_conversion_goes_on(made, change, tmp_path, monkeypatch, to):
    source = made("folder").path
    change(source, tmp_path / "whole", to, per_shard=1)
    calls = []

    def interrupt(*arguments, real, **named):
        calls.append(1)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return real(*arguments, **named)

    where = {"episodes": (videos.EpisodeWriter, "write"),
             "lerobot": (lerobot_target, "copy_video")}.get(
                 to, (videos, "copy_video"))  # fmt: skip
    real = getattr(*where)
    with monkeypatch.context() as patch:
        patch.setattr(*where, lambda *a, **k: interrupt(*a, real=real, **k))
        with pytest.raises(KeyboardInterrupt):
            change(source, tmp_path / "out", to, per_shard=1)
    (tmp_path / "out" / ".left.123.tmp.mp4").write_bytes(b"from a killed run")
    counts = change(source, tmp_path / "out", to, per_shard=1)
    assert counts["written"] == 2 and counts["items"] == 3
    assert files_of(tmp_path / "out") == files_of(tmp_path / "whole")
    assert change(source, tmp_path / "out", to, per_shard=1)["written"] == 0


def test_an_output_of_something_else_is_refused(made, change, tmp_path):
    source = made("folder").path
    change(source, tmp_path / "out", "folder")
    with pytest.raises(ConfigError, match="is of another conversion .to was folder, is shards"):
        change(source, tmp_path / "out", "shards")
    (source / "f.mp4").write_bytes(b"new")
    with pytest.raises(ConfigError, match="is of another conversion .items was 3, is 4"):
        change(source, tmp_path / "out", "folder")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "letter.txt").write_text("mine")
    with pytest.raises(ConfigError, match="is not empty; name a new folder"):
        change(source, tmp_path / "full", "folder")
    for place in (source, source / "inside", source.parent):
        with pytest.raises(ConfigError, match="lies in the source or holds it"):
            change(source, place, "folder")
    with pytest.raises(ConfigError, match="to=shard: did you mean 'shards'"):
        change(source, tmp_path / "new", "shard")
    with pytest.raises(ConfigError, match="quality must lie"):
        change(source, tmp_path / "new", "folder", quality=99)


def test_a_bad_video_stops_with_its_name_and_leaves_nothing_half(made, change, tmp_path):
    source = made("folder").path
    (source / "a" / "c d.mp4").write_bytes(b"not a video")
    with pytest.raises(VideoError, match="c d.mp4"):
        change(source, tmp_path / "out", "folder", size=16)
    assert not list((tmp_path / "out").rglob("*c d*"))
    assert not (tmp_path / "out" / "videos.csv").exists()


def test_names_of_members_never_lead_out(made, change, tmp_path, video):
    from tests.worldmodel.datasets.layouts import write_tar

    data = video.read_bytes()
    names = ["../../up.mp4", "/root/a.mp4", "a.mp4", "b/a.mp4", "c\n.mp4", 'q"uote.mp4', "A.mp4"]
    write_tar(tmp_path / "s.tar", {name: data for name in names})
    change(tmp_path / "s.tar", tmp_path / "deep" / "out", "folder")
    found = files_of(tmp_path / "deep" / "out")
    assert sum(content == data for content in found.values()) == len(names)
    assert sorted(p.name for p in tmp_path.iterdir() if not p.name.startswith("run")) == [
        "deep", "made.mp4", "s.tar",
    ]  # fmt: skip
    assert len(open_catalogue(tmp_path / "deep/out/videos.csv")) == len(names)


def test_sizes_that_differ_are_refused_by_lerobot(change, make_video, tmp_path):
    (tmp_path / "v").mkdir()
    for number, size in enumerate([(32, 24), (33, 47)]):
        make_video(tmp_path / "v" / f"{number}.mp4", 6, size=(size[0] & ~1, size[1] & ~1))
    with pytest.raises(EpisodeError, match="several sizes .* convert with size="):
        change(tmp_path / "v", tmp_path / "out", "lerobot")
    counts = change(tmp_path / "v", tmp_path / "sized", "lerobot", size=17)
    assert counts["copied"] == 0
    assert open_episodes(tmp_path / "sized")[1].frames.shape == (6, 17, 17, 3)


def test_actions_that_cannot_be_held_are_counted(made, change, tmp_path):
    counts = change(made("hdf5_columns").path, tmp_path / "out", "folder")
    assert counts["actions_left_out"] == 3
    with pytest.raises(ConfigError, match="episodes with actions keep their rate"):
        change(made("lerobot_v3").path, tmp_path / "other", "episodes", fps=5)


def test_tars_have_no_owner_and_no_time(made, change, tmp_path):
    change(made("folder").path, tmp_path / "out", "shards")
    with tarfile.open(tmp_path / "out" / "shard-000000.tar") as tar:
        assert {(m.mtime, m.uid, m.uname) for m in tar} == {(0, 0, "")}


def test_names_stay_apart_whatever_they_were(tmp_path, video):
    for name in ("a-2.mp4", "a.avi", "a.mkv", "A.mov"):
        put(video, tmp_path / "odd" / name)
    names = videos.names_of(open_catalogue(tmp_path / "odd"), copies=False)
    assert len({name.lower() for name in names}) == 4


@pytest.mark.parametrize("counted", [False, True])
def test_lerobot_s_statistics_are_those_of_all_rows(counted):
    rows = np.random.default_rng(0).integers(3, 250, (1000, 1))
    weights = np.bincount(rows[:, 0], minlength=256) if counted else None
    stats = statistics(np.arange(256.0)[:, None] if counted else rows, weights=weights)
    assert stats["count"] == [1000]
    for key, wanted in (("min", rows.min()), ("max", rows.max()), ("mean", rows.mean())):
        assert np.allclose(stats[key], [wanted], rtol=1e-12)
    assert np.allclose(stats["std"], [rows.std()], rtol=1e-12)


def test_lerobot_s_statistics_of_frames_are_of_some_pixels(change, tmp_path, make_video):
    (tmp_path / "in").mkdir()
    for number in range(2):
        make_video(tmp_path / "in" / f"{number}.mp4", 3, size=(480, 360))
    change(tmp_path / "in", tmp_path / "l", "lerobot")
    stats = json.loads((tmp_path / "l/meta/stats.json").read_text())["observation.images.main"]
    assert stats["count"] == [2 * 180 * 240]  # every second pixel of an image of each
    assert np.allclose(stats["mean"], 15 / 255, atol=2 / 255) and np.max(stats["std"]) < 2 / 255


def test_a_chosen_stream_is_encoded_and_not_copied(change, tmp_path):
    (tmp_path / "in").mkdir()
    MadeVideo(options=X264, more=((64, 40),)).write(tmp_path / "in")
    for to in ("folder", "lerobot"):
        out, video = tmp_path / to, Decoding(stream=1)
        results = change(tmp_path / "in", out, to, video=video)
        assert results["copied"] == 0
        info = video_info(next(out.rglob("*.mp4")))
        assert (info.width, info.height, info.streams) == (64, 40, 1)
    with pytest.raises(ConfigError, match="is of another conversion .stream was 1, is None"):
        change(tmp_path / "in", tmp_path / "folder", "folder")


def test_times_that_lerobot_refuses_are_encoded_anew(change, tmp_path):
    (tmp_path / "in").mkdir()
    times = [round(1000 * n / 30) for n in range(24)]  # as a clock of milliseconds has them
    path = MadeVideo(options=X264, milliseconds=times).write(tmp_path / "in")
    seen = VideoReader(path).times(np.arange(24))
    assert 1e-4 < np.abs(seen - np.arange(24) / 30).max() < 1e-3
    assert change(tmp_path / "in", tmp_path / "out", "lerobot", fps=30)["copied"] == 0
    made = VideoReader(next((tmp_path / "out").rglob("*.mp4"))).times(np.arange(24))
    assert np.abs(made - np.arange(24) / 30).max() < 1e-4


@pytest.mark.parametrize(
    ("turn", "stored"), [((0, 1, -1, 0), (48, 32)), ((-1, 0, 0, -1), (32, 48))]
)
def test_a_phone_s_turned_video_is_encoded_upright_for_lerobot(
    change, make_video, tmp_path, turn, stored
):
    (tmp_path / "in").mkdir()
    path = make_video(tmp_path / "in" / "a.mp4", 6)
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    a, b, c, d = (number << 16 for number in turn)
    numbers = [a, b, 0, c, d, 0, 48 << 16, 32 << 16, 1 << 30]
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(content)
    assert change(tmp_path / "in", tmp_path / "out", "lerobot")["copied"] == 0
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    about = info["features"]["observation.images.main"]
    with av.open(str(next((tmp_path / "out").rglob("*.mp4")))) as container:
        frame = next(container.decode(video=0))
    assert (frame.height, frame.width) == stored and frame.rotation == 0
    assert about["shape"] == [*stored, 3]
    assert (about["info"]["video.height"], about["info"]["video.width"]) == stored


def test_lerobot_is_told_of_sound(change, tmp_path):
    (tmp_path / "in").mkdir()
    with av.open(str(tmp_path / "in" / "a.mp4"), "w") as container:
        video, sound = container.add_stream("libx264", rate=10), container.add_stream("aac", 8000)
        video.width, video.height, video.pix_fmt = 32, 24, "yuv420p"
        for number in range(6):
            image = np.full((24, 32, 3), 40 * number, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        audio = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
        audio.sample_rate = 8000
        container.mux(sound.encode(audio))
        for stream in (video, sound):
            container.mux(stream.encode(None))
    assert change(tmp_path / "in", tmp_path / "out", "lerobot")["copied"] == 1
    info = json.loads((tmp_path / "out/meta/info.json").read_text())
    assert info["features"]["observation.images.main"]["info"]["has_audio"] is True


def test_an_info_with_the_name_of_the_frames_is_refused(change, make_episode, tmp_path):
    episode = make_episode(4)
    info = {"images.main": episode.info["position"]}
    with EpisodeWriter(tmp_path / "e", FolderInfo("a", 10.0, (), ())) as writer:
        writer.write(replace(episode, info=info))
    with pytest.raises(EpisodeError, match="info 'images.main' has the name that frames get"):
        change(tmp_path / "e", tmp_path / "out", "lerobot")


@pytest.mark.parametrize("to", ["episodes", "lerobot"])
@pytest.mark.parametrize("fps", [Fraction(30000, 1001), Fraction(24000, 1001), Fraction(25)])
def test_every_frame_of_a_constant_rate_is_converted_once(change, tmp_path, make_video, fps, to):
    """The rate of film and television is no round number; rounding it must not add up."""
    (tmp_path / "in").mkdir()
    make_video(tmp_path / "in" / "a.mp4", 700, fps=fps, codec="libx264")
    change(tmp_path / "in", tmp_path / "out", to)
    (episode,) = open_episodes(tmp_path / "out")
    wanted = [10 + 5 * (number % 48) for number in range(700)]
    assert np.abs(episode.frames[:, 9, 9, 0].numpy().astype(int) - wanted).max() <= 2


def test_what_a_run_wrote_that_was_killed_at_once_is_no_other_conversion(made, change, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / ".convert.123.tmp.json").write_text("{")
    change(made("folder").path, tmp_path / "out", "folder")
    assert not list((tmp_path / "out").glob(".*"))


def test_files_in_an_archive_are_copied(change, video, tmp_path):
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(video, "in/a.mp4")
    results = change(f"zip://in/a.mp4::{tmp_path}/z.zip", tmp_path / "out", "folder")
    assert results["copied"] == 1
    assert next((tmp_path / "out").glob("*.mp4")).read_bytes() == video.read_bytes()


@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
def test_an_output_that_cannot_be_written_is_said_in_one_line(made, change, tmp_path, to):
    source = made("folder").path
    (tmp_path / "file").write_text("mine")
    with pytest.raises(
        ConfigError, match="output=.*/file/x: cannot be written .Not a dir"
    ) as found:
        change(source, tmp_path / "file" / "x", to)
    assert "\n" not in str(found.value)


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
def test_an_output_that_may_no_longer_be_written_is_said_in_one_line(
    made, change, tmp_path, monkeypatch, to, size
):
    """The user of the tests may write everywhere, so what its system says is made up."""
    source = made("folder").path
    change(source, tmp_path / "out", to, size=size)
    before, real = files_of(tmp_path / "out"), os.replace

    def refuse(temporary, path):
        if "out" in path.parts:
            raise PermissionError(errno.EACCES, "Permission denied", str(path))
        real(temporary, path)

    monkeypatch.setattr("worldmodel.storage.files.os.replace", refuse)
    with pytest.raises(ConfigError, match="out: cannot be written .Permission denied: .*out/"):
        change(source, tmp_path / "out", to, size=size)
    before.pop("episodes.json", None)  # is taken away first: it says that all of it is there
    assert files_of(tmp_path / "out") == before


def full(*_, **__):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("size", [None, 16])
@pytest.mark.parametrize("to", ["folder", "shards", "episodes", "lerobot"])
def test_a_full_disk_is_said_in_one_line_and_leaves_nothing_half(
    made, change, tmp_path, monkeypatch, to, size
):
    source = made("folder").path
    real = encode_video.chunks_of

    def some(*arguments):
        yield next(real(*arguments))
        full()

    def part(tensors, path, header):
        path.write_bytes(b"some")
        full()

    with monkeypatch.context() as patch:
        for module in (encode_video, lerobot_target):
            patch.setattr(module, "chunks_of", some)
        patch.setattr(encode_video.shutil, "copyfileobj", full)
        patch.setattr(tarfile.TarFile, "addfile", full)
        patch.setattr(tensors, "save_file", part)
        with pytest.raises((ConfigError, VideoError), match="No space left on device") as found:
            change(source, tmp_path / "out", to, size=size)
    assert "\n" not in str(found.value)
    assert [p.name for p in (tmp_path / "out").rglob("*") if p.is_file()] == ["convert.json"]
    assert change(source, tmp_path / "out", to, size=size)["written"] == 3


def test_a_full_disk_at_the_end_can_be_gone_on_with(made, change, tmp_path, monkeypatch):
    source = made("folder").path
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", lambda path, *a, **k: (
            full() if "videos" in path.name else path.write_bytes(a[0].encode())
        ))  # fmt: skip
        with pytest.raises(ConfigError, match="No space left on device"):
            change(source, tmp_path / "out", "folder")
    assert change(source, tmp_path / "out", "folder")["written"] == 0
    assert (tmp_path / "out" / "videos.csv").is_file()


def test_the_longest_names_are_converted(change, tmp_path, make_video):
    (tmp_path / "in").mkdir()
    longest = ("a" * 251 + ".mp4", "é" * 125 + "b.mp4")
    for name in longest:
        make_video(tmp_path / "in" / name, 3)
    assert change(tmp_path / "in", tmp_path / "out", "folder")["written"] == 2
    assert {p.name for p in (tmp_path / "out").glob("*.mp4")} == set(longest)


@pytest.mark.parametrize("labelled", [False, True])
def test_a_manifest_that_was_written_names_its_files(change, tmp_path, video, labelled):
    names = [" a.mp4", "b .mp4", "c,.mp4", "d 7.mp4", "e.mp4 5.mp4", "path,label.mp4", '"q".mp4',
             ", 3.mp4", " in/ f.mp4", "\ufeffg.mp4"]  # fmt: skip
    for name in names:
        put(video, tmp_path / "in" / name)
    quoted = ['"{}"{}'.format(n.replace('"', '""'), " 4" * labelled) for n in names]
    (tmp_path / "in" / "list.csv").write_text("\n".join(quoted))
    change(tmp_path / "in" / "list.csv", tmp_path / "out", "folder")
    listed = open_catalogue(tmp_path / "out" / "videos.csv")
    assert {item.label for item in listed} == {4 if labelled else None}
    assert len(listed) == len(names) == len({item.key for item in listed})
    assert all(Path(item.key).read_bytes() == video.read_bytes() for item in listed)


EVEN = {
    "count": torch.arange(6) + 2**25 + 1,
    "state": torch.rand(6, 3, dtype=torch.float64),
    "done": torch.arange(6) == 5,
    "touch": torch.rand(6, 2) > 0.5,
    "level": torch.arange(6, dtype=torch.uint8),
    "speed": torch.rand(6),
    "half": torch.rand(6, 2).half(),
}


def with_info(folder, *infos):
    with EpisodeWriter(folder, FolderInfo("test/World-v0", 10.0, (), ())) as writer:
        for info in infos:
            frames = torch.zeros(6, 16, 16, 3, dtype=torch.uint8)
            times = torch.arange(6, dtype=torch.float64) / 10
            writer.write(Episode(frames, times, torch.rand(5, 2), info))
    return folder


def test_numbers_keep_their_types_in_lerobot(change, tmp_path):
    change(with_info(tmp_path / "in", EVEN, EVEN), tmp_path / "l", "lerobot")
    features = json.loads((tmp_path / "l/meta/info.json").read_text())["features"]
    for name, values in EVEN.items():
        kind = str(values.dtype).removeprefix("torch.")
        assert features[f"observation.{name}"]["dtype"] == kind
    assert features["timestamp"]["dtype"] == "float32" and features["index"]["dtype"] == "int64"
    change(tmp_path / "l", tmp_path / "again", "lerobot")
    for place in ("l", "again"):
        for one in open_episodes(tmp_path / place):
            for name, values in EVEN.items():
                assert one.info[name].dtype == values.dtype
                assert torch.equal(one.info[name], values)
    table = pq.read_table(tmp_path / "l/data/chunk-000/file-000.parquet")
    assert table.column("observation.count").to_pylist() == EVEN["count"].tolist()


def test_types_that_only_torch_has_are_widened(change, tmp_path):
    short = torch.rand(6, 2).bfloat16()
    change(with_info(tmp_path / "in", {"short": short}), tmp_path / "l", "lerobot")
    (one,) = open_episodes(tmp_path / "l")
    assert torch.equal(one.info["short"], short.float())


@pytest.mark.parametrize("other", [torch.rand(6, 3), torch.rand(6, 2, dtype=torch.float64)])
def test_types_that_differ_between_episodes_are_refused_by_lerobot(change, tmp_path, other):
    source = with_info(tmp_path / "in", {"state": other}, {"state": torch.rand(6, 3).double()})
    with pytest.raises(EpisodeError, match="'observation.state' is float.* in some episodes and"):
        change(source, tmp_path / "l", "lerobot")


def test_an_output_that_another_process_writes_is_refused(made, change, tmp_path):
    program = (
        "import sys, time; from pathlib import Path; from worldmodel.runs.lock import hold; "
        "hold(Path(sys.argv[1])); print('held', flush=True); time.sleep(60)"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "out")]
    other = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert other.stdout.readline() == "held\n"
    source = made("class_folder").path
    with pytest.raises(RunError, match=f"is being written by process {other.pid}"):
        change(source, tmp_path / "out", "shards")
    other.kill()
    other.communicate()
    assert change(source, tmp_path / "out", "shards")["written"] == 3
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert names == {"convert.json", "shard-000000.tar"}
