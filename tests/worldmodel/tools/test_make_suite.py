"""`worldmodel data make` on a suite of few and known frames, and on our own."""

import csv
import json
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from worldmodel.cli import app
from worldmodel.datasets import find_format
from worldmodel.errors import ConfigError
from worldmodel.runs.run import Run
from worldmodel.storage.files import writing_output
from worldmodel.tools import make_suite
from worldmodel.tools.make_suite import ClipFormat, make
from worldmodel.video.clip import read_clip

CLIP = ClipFormat(size=8, num_frames=4, fps=5.0)
CONDITIONS, PROPERTIES = ("visible", "control"), ("shape",)


class Levels:
    """A suite of grey clips: the level tells part, condition, scene, clip and frame."""

    parts, conditions, properties = ("train", "test", "shifted"), CONDITIONS, PROPERTIES
    made = 0

    def __init__(self, *, size, num_frames, fps, seed):
        assert (fps, seed) == (5.0, 3)
        self.size, self.num_frames = size, num_frames

    def quadruplet(self, part, condition, property, number):
        type(self).made += 1
        level = 100 * (part == "shifted") + 50 * (condition == "control") + 20 * number
        clips = [self.clip(level + 4 * clip) for clip in range(4)]
        return SimpleNamespace(clips=np.stack(clips), event=number + 1)

    def training_clip(self, number):
        return self.clip(200 + number)

    def clip(self, level):
        levels = np.arange(level, level + self.num_frames, dtype=np.uint8)
        return np.tile(levels[:, None, None, None], (1, self.size, self.size, 3))


@pytest.fixture
def run(tmp_path):
    return Run.open(tmp_path / "run", verb="data", config={}, seed=3)


@pytest.fixture
def write(run, tmp_path):
    return partial(
        make, run, suite="levels", suites={"levels": Levels}, output=str(tmp_path / "out"), n=2,
        train_clips=3, clip=CLIP, seed=3,
    )  # fmt: skip


def level(path):
    return int(np.unique(np.asarray(Image.open(path))).item())


def test_every_image_is_where_intphys_has_it(write, tmp_path):
    results = write()
    out = tmp_path / "out"
    assert results == {"scenes": 8, "clips": 35, "train_clips": 3, "frames": 140}
    assert {path.name for path in out.iterdir()} == {
        "train", "test", "shifted", "videos", "suite.json", "labels.csv",
    }  # fmt: skip
    for part, condition, number, clip, t in np.ndindex(2, 2, 2, 4, 4):
        place = out / ("test", "shifted")[part] / f"{CONDITIONS[condition]}_shape"
        image = place / f"{number + 1:04d}" / f"{clip + 1}" / "scene" / f"scene_{t + 1:03d}.png"
        assert level(image) == 100 * part + 50 * condition + 20 * number + 4 * clip + t
    assert len([*out.rglob("*.png")]) == 128
    status = json.loads((out / "test/visible_shape/0002/3/status.json").read_text())
    assert status == {"header": {"is_possible": False, "fps": 5.0, "event_frame": 2}}
    assert {(out / part / "fps.txt").read_text() for part in Levels.parts} == {"5\n"}


def test_the_table_lists_every_video_with_what_is_known_of_it(write, tmp_path):
    write()
    with (tmp_path / "out/labels.csv").open() as file:
        rows = [*csv.DictReader(file)]
    assert [*rows[0]] == [
        "path", "scene", "condition", "property", "pair", "possible", "fps", "event_frame",
    ]  # fmt: skip
    videos = {path.relative_to(tmp_path / "out").as_posix() for path in tmp_path.rglob("*.mp4")}
    assert {row["path"] for row in rows} == videos and len(rows) == len(videos) == 35
    by_path = {row.pop("path"): row for row in rows}
    assert [*by_path["train/000003.mp4"].values()] == ["", "", "", "", "True", "5.0", ""]
    of_scene = [
        [*by_path[f"videos/shifted/control_shape/0001_{clip}.mp4"].values()] for clip in range(1, 5)
    ]
    same = ["control_shape/0001", "control", "shape"]
    assert of_scene == [
        [*same, pair, possible, "5.0", "1"]
        for pair, possible in (("1", "True"), ("2", "True"), ("1", "False"), ("2", "False"))
    ]


def test_an_interrupted_suite_goes_on_with_what_is_missing(write, tmp_path, monkeypatch):
    whole = make_suite._Writer._clip
    written = []

    def clip(self, folder, *words, **named):
        written.append(folder)
        if len(written) == 7:
            raise KeyboardInterrupt
        whole(self, folder, *words, **named)

    monkeypatch.setattr(make_suite._Writer, "_clip", clip)
    with pytest.raises(KeyboardInterrupt):
        write()
    assert not (tmp_path / "out").exists()
    monkeypatch.setattr(
        make_suite._Writer, "_clip",
        lambda *words, **named: (written.append(words[1]), whole(*words, **named)),
    )  # fmt: skip
    write()
    assert len(written) == 7 + 32 - 4  # one scene was there
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "run"]
    assert not [*(tmp_path / "out").rglob(".*")]


def test_what_was_begun_with_other_settings_is_begun_anew(write, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(make_suite, "write_table", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            write(n=5)
    write()
    assert len([*(tmp_path / "out/test/visible_shape").iterdir()]) == 2


def test_wrong_words_are_named_in_one_line(write, tmp_path):
    for words, message in (
        ({"suite": "level"}, "suite=level: did you mean 'levels'?"),
        ({"n": 0}, "n must be at least 1, got 0"),
        ({"train_clips": -1}, "train_clips must be at least 1, got -1"),
        ({"parts": ["tests"]}, "parts=tests: did you mean 'test'?"),
        ({"parts": []}, "parts=[]: name each once, from train, test, shifted"),
        ({"parts": ["test", "test"]},
         "parts=['test', 'test']: name each once, from train, test, shifted"),
        ({"output": str(tmp_path)}, f"output={tmp_path}: is there already; name a new folder, or "
                                    "remove it"),
    ):  # fmt: skip
        with pytest.raises(ConfigError) as caught:
            write(**words)
        assert str(caught.value) == message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run"]


def test_an_output_that_cannot_be_written_is_one_line():
    with pytest.raises(ConfigError, match="output=there: cannot be written .No space left"):
        with writing_output("there"):
            raise OSError(28, "No space left on device")


def test_videos_hold_what_images_hold_and_the_same_where_frames_are_the_same(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    words = "suite=flat_rich n=1 train_clips=1 parts=[train,dev] clip.size=32 seed=4".split()
    assert app.main(["data", "make", *words]) == 0
    out = tmp_path / "suites/flat_rich-4"
    scene, video = (out / part / "dev/occluded_colour/0001" for part in (".", "videos"))
    decoded, drawn = [], []
    for number in range(1, 5):
        clip = read_clip(f"{video}_{number}.mp4", num_frames=24, size=32)
        decoded += [image.numpy().tobytes() for image in clip.frames[0]]
        images = sorted((scene / f"{number}/scene").iterdir())
        drawn += [np.asarray(Image.open(image)).tobytes() for image in images]
        shown = clip.frames[0].movedim(1, -1).numpy() * 255
        exact = np.stack([np.asarray(Image.open(image), np.float32) for image in images])
        assert np.abs(shown - exact).max() <= 3  # H.264 keeps luma and colour, rounded
        assert np.abs(np.diff(clip.times[0].numpy()) - 0.2).max() < 1e-3
    # The files know no more than the frames: what is the same once drawn is the same once decoded.
    first = {image: decoded[drawn.index(image)] for image in drawn}
    assert [first[image] for image in drawn] == decoded
    assert sorted(map(decoded.count, decoded[:48])) == sorted(map(decoded.count, decoded[48:]))
    for folder, kind, count in (("train", "folder", 1), ("dev", "frames", 48)):
        found = find_format(str(out / folder))
        assert (found.name, len(found.open(str(out / folder)))) == (kind, count)
    capsys.readouterr()
    assert app.main(["data", "make", *words]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert app.main(["data", "make", "suite=flat", "clip.size=16"]) == 2
    assert "size must be at least 32 pixels, got 16" in capsys.readouterr().err
