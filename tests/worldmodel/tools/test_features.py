"""The verb `features`: what is in the files, by which rules, and that it goes on where it ended."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import worldmodel as wm
from tests.worldmodel.datasets.layouts import LAYOUTS
from tests.worldmodel.interop import makers
from tests.worldmodel.toys import small_model, stirred
from worldmodel.cli.app import main
from worldmodel.errors import ConfigError, RunError, VideoError
from worldmodel.interop import Hints
from worldmodel.loading.every_window import WindowLoading
from worldmodel.model import WorldModel
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.runs.run import Run
from worldmodel.tools.feature_files import read_header
from worldmodel.tools.features import Writing, features
from worldmodel.video.clip import VideoReader

HERE = {"batch": 4, "workers": 0}


@pytest.fixture
def videos(tmp_path, make_video):
    """Two classes of videos of 12, 7 and 3 frames, wider than high."""
    for name, count in (("run/a", 12), ("walk/b", 7), ("walk/c", 3)):
        path = tmp_path / "videos" / f"{name}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        make_video(path, count)
    return tmp_path / "videos"


@pytest.fixture
def ours(tmp_path):
    wm.save(small_model(), tmp_path / "model")
    return tmp_path / "model"


@pytest.fixture
def extract(tmp_path, videos, ours):
    """Runs the verb; returns its results and its run's folder."""

    def extract(name="run", *, existing="resume", rows=512, **settings):
        loading = HERE | {k: settings.pop(k) for k in list(settings) if k in ("fit", "batch",
                          "on_bad_video")}  # fmt: skip
        settings = {"model": str(ours), "path": str(videos), "window": 4, "stride": 3} | settings
        with_objects = {"loading": WindowLoading(**loading),
                        "writing": Writing(settings.pop("dtype", "float32"), rows)}  # fmt: skip
        run = Run.open(
            tmp_path / "runs" / name, verb="features", config={}, seed=0, existing=existing
        )
        try:
            return features(run, **with_objects, **settings), run.folder
        finally:
            run.close()

    return extract


@pytest.mark.parametrize("pool", ["mean", "time", "tokens"])
@pytest.mark.parametrize("format", ["safetensors", "parquet"])
def test_rows_are_what_the_model_makes_of_the_windows(extract, ours, pool, format):
    results, folder = extract(pool=pool, format=format)
    found = wm.read_features(folder)
    model = wm.load(ours)
    assert len(found) == results["windows"] == 4 + 2 + 1
    assert (found.pool, found.grid) == (pool, (2, 2, 2))
    for row in found:
        if row.frames < 4:
            continue
        clip = wm.read_clip(row.file, num_frames=4, start=row.start, size=model.size)
        latents = model.encode(clip)
        tokens = latents.tokens[0].detach()
        each = tokens.reshape(2, 4, -1).mean(1)
        expected = {"mean": tokens.mean(0), "time": each, "tokens": tokens}[pool].numpy()
        assert row.features.shape == expected.shape
        np.testing.assert_allclose(row.features, expected, atol=1e-5)
        np.testing.assert_allclose(row.times, latents.times[0].numpy(), atol=1e-9)
    table = found.table()
    assert [Path(file).name for file in table.file] == ["a.mp4"] * 4 + ["b.mp4"] * 2 + ["c.mp4"]
    assert table.window.tolist() == [0, 1, 2, 3, 0, 1, 0]
    assert np.array_equal(table.features, np.stack([row.features for row in found]))


def test_every_rule_that_changed_a_window_is_counted(extract):
    results, folder = extract()
    assert {k: results[k] for k in ("held", "shifted", "cropped", "left_out", "videos")} == {
        "held": 1, "shifted": 1, "cropped": 7, "left_out": 0, "videos": 3,
    }  # fmt: skip
    *_, last = wm.read_features(folder)
    assert last.frames == 3 and last.times.tolist() == pytest.approx([0.1, 0.2])
    assert extract("whole", fit="stretch")[0]["cropped"] == 0


def test_classes_are_labels(extract):
    _, folder = extract(reading={"classes": True})
    found = wm.read_features(folder)
    assert found.classes == ("run", "walk")
    assert found.table().label.tolist() == [0] * 4 + [1] * 3
    _, folder = extract("plain")
    assert set(wm.read_features(folder).table().label) == {-1}


def test_a_single_image_is_held(extract, tmp_path):
    Image.new("RGB", (40, 30), (90, 120, 30)).save(tmp_path / "one.png")
    results, folder = extract(path=str(tmp_path / "one.png"))
    (row,) = wm.read_features(folder)
    assert results["held"] == 1 and row.frames == 1 and row.times.tolist() == [0, 0]


def test_half_precision_is_rounded(extract):
    whole, half = (
        wm.read_features(extract(dtype, dtype=dtype)[1]).table().features
        for dtype in ("float32", "float16")
    )
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, whole.astype(np.float16))


@pytest.mark.parametrize(
    ("format", "kept"), [("safetensors", 0), ("safetensors", 2), ("parquet", 1)]
)
def test_an_interrupted_run_goes_on_to_the_same_bytes(extract, videos, format, kept):
    (videos / "run" / "bad.mp4").write_bytes(b"no video")
    settings = {"format": format, "rows": 3, "batch": 3, "on_bad_video": "skip"}
    results, folder = extract("whole", **settings)
    whole = {path.name: path.read_bytes() for path in (folder / "features").iterdir()}
    assert len(whole) == 4 and results["left_out"] == 1
    _, cut = extract("cut", **settings)
    (cut / "features" / "index.json").unlink()
    (cut / "skipped.csv").unlink()
    for number in range(kept, 3):
        (cut / "features" / f"{number:05d}.{format}").unlink()
    (cut / "features" / f".00001.77.tmp.{format}").write_bytes(b"half")
    with pytest.raises(RunError, match="index.json is missing"):
        wm.read_features(cut)
    again, _ = extract("cut", **settings)
    assert again == results
    assert {path.name: path.read_bytes() for path in (cut / "features").iterdir()} == whole
    assert "bad.mp4" in (cut / "skipped.csv").read_text()


def test_files_follow_one_another_where_all_windows_of_one_are_left_out(extract, monkeypatch):
    intact = VideoReader.read_clips

    def damaged(self, clips):
        if self.name.endswith("a.mp4"):
            raise VideoError(f"{self.name}: is damaged")
        return intact(self, clips)

    monkeypatch.setattr(VideoReader, "read_clips", damaged)
    results, folder = extract(rows=3, batch=3, on_bad_video="skip")
    assert results["windows"] == 3 and results["left_out"] == 4
    assert wm.read_features(folder).table().window.tolist() == [0, 1, 0]
    whole = {path.name: path.read_bytes() for path in (folder / "features").iterdir()}
    (folder / "features" / "00001.safetensors").unlink()
    assert extract(rows=3, batch=3, on_bad_video="skip")[0] == results
    assert {path.name: path.read_bytes() for path in (folder / "features").iterdir()} == whole


def test_what_was_begun_is_not_mixed_with_another_model_or_other_videos(
    extract, ours, videos, make_video
):
    extract()
    make_video(videos / "run" / "new.mp4", 5)
    with pytest.raises(RunError, match="another videos sha256.*existing=redo"):
        extract()
    (videos / "run" / "new.mp4").unlink()
    wm.save(stirred(small_model()), ours)
    with pytest.raises(RunError, match="another model sha256"):
        extract()


def checkpoint(name, folder):
    """A model of another family in a file or folder."""
    if name == "hf":
        makers.hf_model().save_pretrained(folder / "hf")
        return folder / "hf"
    if name == "timm":
        encoder = FrameEncoder("test_vit", size=64)
        return wm.save(WorldModel(encoder, size=64), folder / "timm")
    made = {"vjepa": makers.checkpoint_1, "vjepa2.1": makers.checkpoint_21}
    held = made[name]() if name in made else makers.checkpoint(makers.encoder(), makers.predictor())
    torch.save(held, folder / f"{name}.pt")
    return folder / f"{name}.pt"


@pytest.mark.parametrize("name", ["vjepa", "vjepa2", "vjepa2.1", "hf", "timm"])
def test_models_of_others_get_frames_as_they_want_them(extract, tmp_path, name):
    path = checkpoint(name, tmp_path)
    hints = makers.HINTS if name.startswith("vjepa") else Hints()
    if name in ("vjepa2", "vjepa2.1"):
        hints = Hints(name, hints.heads, hints.predictor_heads, hints.size)
    _, folder = extract(model=str(path), pool="tokens", hints=hints, window=8, stride=8)
    found = wm.read_features(folder)
    from worldmodel.interop.load import load_with_report

    model = load_with_report(path, hints)[0].eval()
    row = next(iter(found))
    clip = wm.read_clip(row.file, num_frames=8, size=model.size)
    np.testing.assert_allclose(
        row.features, model.encode(clip).tokens[0].detach().numpy(), atol=1e-4
    )


def test_a_model_with_patches_for_images_takes_single_frames(extract, tmp_path):
    path = checkpoint("vjepa2.1", tmp_path)
    hints = Hints("vjepa2.1", makers.HEADS, makers.HEADS, 32)
    results, folder = extract(model=str(path), hints=hints, window=1, stride=4)
    found = wm.read_features(folder)
    assert found.grid == (1, 4, 4) and results["held"] == 0
    assert found.table().start.tolist() == pytest.approx([0, 0.4, 0.8, 0, 0.4, 0])


SOME = ("class_folder", "manifest", "shards", "lerobot_v3", "hdf5_groups", "frame_folders")


@pytest.mark.parametrize(
    "layout",
    [
        name if name in SOME else pytest.param(name, marks=pytest.mark.exhaustive)
        for name in LAYOUTS
    ],
)
def test_every_layout_gives_its_videos_in_order(extract, tmp_path, videos, layout):
    place = tmp_path / "data"
    place.mkdir()
    made = LAYOUTS[layout](place, videos / "walk" / "b.mp4")
    results, folder = extract(path=str(made.path), reading=made.options, layout=made.format)
    table = wm.read_features(folder).table()
    assert len(dict.fromkeys(table.file)) == made.count == results["videos"]
    firsts = table.label[table.window == 0].tolist()
    assert firsts == ([-1] * made.count if made.labels is None else made.labels)


@pytest.mark.parametrize(
    ("settings", "error", "said"),
    [
        ({"pool": "max"}, ConfigError, "pool=max: choose from: mean, time, tokens"),
        ({"format": "npy"}, ConfigError, "format=npy: choose from: parquet, safetensors"),
        ({"window": 5}, ConfigError, "window=5: 5 frames.*do not divide.*say window=4 or 6"),
        ({"window": 0}, ConfigError, "window is a whole number of frames"),
        ({"stride": 0}, ConfigError, "stride is a whole number of frames"),
        ({"fps": 30.0}, VideoError, "a.mp4: its frames lie up to 0.1 s apart, too far for fps=30"),
        ({"path": "nowhere"}, VideoError, "nowhere: there is nothing"),
        ({"layout": "tape"}, ConfigError, "no format 'tape'"),
    ],
)
def test_bad_words_are_one_line(extract, settings, error, said):
    with pytest.raises(error, match=said):
        extract(**settings)


@pytest.mark.parametrize(
    ("change", "said"),
    [({"fit": "pad"}, "no fit 'pad': choose from: crop, stretch"), ({"batch": 0}, "batch must be"),
     ({"on_bad_video": "skpi"}, "did you mean 'skip'")],
)  # fmt: skip
def test_bad_loading_is_one_line(extract, change, said):
    with pytest.raises(ConfigError, match=said):
        extract(**change)
    with pytest.raises(ConfigError, match="no dtype 'int8'"):
        Writing("int8")  # type: ignore[arg-type]


def test_where_nothing_can_be_read_it_is_said(extract, tmp_path):
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match="nothing in it can be read; the first: .*x.mp4"):
        extract(path=str(tmp_path / "bad"), on_bad_video="skip")


def test_damaged_features_are_refused(extract, tmp_path):
    with pytest.raises(RunError, match="holds no features.*name the folder of a run"):
        wm.read_features(tmp_path)
    _, folder = extract()
    path = folder / "features" / "00000.safetensors"
    whole = path.read_bytes()
    path.write_bytes(whole[:-50])
    with pytest.raises(RunError, match="is not a complete file of features"):
        list(wm.read_features(folder))
    path.write_bytes(b"")
    with pytest.raises(RunError, match="is empty"):
        read_header(path)
    index = folder / "features" / "index.json"
    index.write_text(json.dumps(json.loads(index.read_text()) | {"version": 9}))
    with pytest.raises(RunError, match="version 9"):
        wm.read_features(folder)


def test_the_command_line_writes_them(videos, ours, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    shutil.rmtree(videos / "walk")
    words = ["features", "model=model", "path=videos", "window=4", "stride=4", "loading.workers=0"]
    assert main([*words, "device=cpu"]) == 0
    assert "windows   3" in capsys.readouterr().out
    assert len(wm.read_features("runs/features/default")) == 3
    assert main(["features", "model=model"]) == 2
    assert "path is not set" in capsys.readouterr().err
