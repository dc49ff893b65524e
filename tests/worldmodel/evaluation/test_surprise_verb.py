"""The verb `surprise` on made pairs, whose rates are known, and on a video."""

import json
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch

from tests.worldmodel.toys import dots, small_model
from worldmodel import checkpoint
from worldmodel.errors import ConfigError, ShapeError, VideoError, WorldModelError
from worldmodel.evaluation.surprise import surprise, surprise_and_persistence
from worldmodel.evaluation.surprise_verb import ViolationSuite, Window, surprise_verb
from worldmodel.interop.load import load
from worldmodel.runs.run import Run
from worldmodel.storage.tensors import read_tensors_and_header
from worldmodel.types import Clip

PAIRS = 60  # more than are scored at once


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "run", verb="surprise", config={}, seed=0)
    yield run
    run.close()


@pytest.fixture
def model(tmp_path):
    return str(checkpoint.save(small_model(), tmp_path / "model"))


def made_pairs(kind, n, *, seed, num_frames):
    """`still`: the dot stays in both; `jump`: it jumps in the impossible clip, at frame 4."""
    random = np.random.default_rng(seed)
    places = np.repeat(random.uniform(3, 7, (n, 1, 2)), num_frames, axis=1)
    possible = dots(places)
    if kind == "jump":
        places[:, 4:] += 6
    return SimpleNamespace(possible=possible, impossible=dots(places), step=np.full(n, 4))


def pixel_change(frames):
    values = frames.astype(np.float64)
    return np.abs(values[:, 1:] - values[:, :-1]).mean(axis=(2, 3, 4))


def suite_settings(model, *, num_frames=8, **changed):
    suite = ViolationSuite(made_pairs, pixel_change, ["still", "jump"], num_frames)
    return {"model": model, "suite": suite, "pairs": PAIRS, **changed}


def test_rates_of_pairs_that_are_alike_and_of_pairs_that_differ(run, model):
    results = surprise_verb(run, **suite_settings(model))
    for name in ("", "pixel_", "copy_"):
        assert results[f"still.{name}pair_accuracy"] == 0.5  # ties
        assert results[f"still.{name}auroc"] == pytest.approx(0.5)
        assert results[f"still.{name}pair_accuracy_max"] == 0.5
    for name in ("pixel_", "copy_"):  # in the possible clips nothing changes at all
        assert results[f"jump.{name}pair_accuracy"] == 1.0
        assert results[f"jump.{name}auroc"] == 1.0
        assert results[f"jump.{name}pair_accuracy.low"] < 1.0
    assert results["jump.pair_accuracy.n"] == PAIRS


def test_the_rates_are_those_of_the_scores(run, model):
    results = surprise_verb(run, **suite_settings(model, seed=7))
    made = made_pairs("jump", PAIRS, seed=1_000_007, num_frames=8)  # held-out seeds
    scores = [
        surprise(
            load(model),
            Clip.from_uint8(torch.from_numpy(frames).movedim(-1, 2)),
        ).scores
        for frames in (made.possible, made.impossible)
    ]
    means = [s.mean(1) for s in scores]
    largest = [s.amax(1).numpy() for s in scores]
    expected = (means[1] > means[0]).float().mean().item()
    one = 1.5 / PAIRS  # rounding, which differs with the size of a chunk, may decide a close one
    assert results["jump.pair_accuracy"] == pytest.approx(expected, abs=one)
    won = (largest[1] > largest[0]).mean()
    assert results["jump.pair_accuracy_max"] == pytest.approx(won, abs=one)
    best = np.subtract.outer(largest[1], largest[0])
    assert results["jump.auroc"] == pytest.approx((best > 0).mean(), abs=one / PAIRS)


def test_examples_are_kept_in_pairs_with_their_curves(run, model):
    surprise_verb(run, **suite_settings(model))
    tensors, header = read_tensors_and_header(run.folder / "examples.safetensors")
    assert json.loads(header["kinds"]) == ["still"] * 5 + ["jump"] * 5
    assert tensors["frames"].shape == (20, 8, 16, 16, 3) and tensors["frames"].dtype == torch.uint8
    assert tensors["scores"].shape == (20, 3)
    assert tensors["step"].tolist() == [4] * 10
    possible, impossible = tensors["frames"][10], tensors["frames"][11]
    assert torch.equal(possible[:4], impossible[:4])
    assert not torch.equal(possible[4:], impossible[4:])
    clip = Clip.from_uint8(impossible[None].movedim(-1, 2).contiguous())
    again = surprise(load(model), clip).scores[0]
    assert torch.allclose(tensors["scores"][11], again, rtol=1e-3)


def test_neither_a_video_nor_a_suite(run, model):
    with pytest.raises(ConfigError, match="clips=<video>, or a suite"):
        surprise_verb(run, model=model)


def test_windows_are_for_predictors_of_tokens(run, model):
    with pytest.raises(ConfigError, match="window.seen are for predictors of tokens"):
        surprise_verb(run, **suite_settings(model, window=Window(seen=2)))


def test_clips_of_one_time_step_are_refused(run, model):
    with pytest.raises(ShapeError, match="at least 4, got 2"):
        surprise_verb(run, **suite_settings(model, num_frames=2))


def test_a_model_without_masked_predictor_says_what_has_one(run, tmp_path):
    model = small_model()
    model.masked_predictor = None
    folder = str(checkpoint.save(model, tmp_path / "half"))
    with pytest.raises(WorldModelError, match="no masked predictor: none can be added"):
        surprise_verb(run, **suite_settings(folder))


def write_video(path, frames, fps=10):
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 2_000_000
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return str(path)


def test_a_video_is_scored_from_beginning_to_end(run, model, tmp_path):
    places = np.full((21, 2), 5.0)
    places[12:] = 11.0  # it jumps between 1.1 and 1.2 seconds
    video = write_video(tmp_path / "jump.mp4", dots(places))
    results = surprise_verb(run, model=model, clips=video)
    assert results["steps"] == 9  # of 21 frames 20 are used
    tensors, header = read_tensors_and_header(run.folder / "examples.safetensors")
    assert json.loads(header["kinds"]) == []
    assert tensors["frames"].shape == (1, 20, 16, 16, 3)
    assert tensors["times"][0].tolist() == pytest.approx([i / 10 for i in range(20)])
    scores = tensors["scores"][0]
    assert results["max"] == pytest.approx(scores.max().item())
    assert results["mean"] == pytest.approx(scores.mean().item())
    assert results["seconds_of_max"] == pytest.approx(0.3 + 0.2 * int(scores.argmax()))
    # The stirred model predicts nothing sensible; persistence shows that it looks.
    clip = Clip.from_uint8(tensors["frames"].movedim(-1, 2).contiguous())
    assert surprise_and_persistence(load(model), clip)[1].scores[0].argmax() == 5


def test_a_video_can_be_read_at_another_rate_but_not_faster_than_its_own(run, model, tmp_path):
    video = write_video(tmp_path / "still.mp4", dots(np.full((20, 2), 5.0)))
    assert surprise_verb(run, model=model, clips=video, fps=5)["steps"] == 4
    assert surprise_verb(run, model=model, clips=video, fps=50)["steps"] == 9


def test_a_video_that_is_too_short_is_refused(run, model, tmp_path):
    video = write_video(tmp_path / "short.mp4", dots(np.full((3, 2), 5.0)))
    with pytest.raises(VideoError, match="short.mp4: too short .*: 3 frames, 0.3 s; it takes 4$"):
        surprise_verb(run, model=model, clips=video)
    one = write_video(tmp_path / "one.mp4", dots(np.full((1, 2), 5.0)))
    for fps, wanted in ((None, "4"), (3, "4 at 3/s")):  # frames it has, not those that would do
        with pytest.raises(VideoError, match=f": 1 frame, 0.1 s; it takes {wanted}$"):
            surprise_verb(run, model=model, clips=one, fps=fps)


def test_a_video_without_a_rate_of_its_own_is_scored_frame_by_frame(run, model, real_videos):
    video = str(real_videos / "tree.avi")  # frames 0.33 to 0.73 s apart
    results = surprise_verb(run, model=model, clips=video)
    assert results["steps"] == 68 // 2 - 1
