"""Third-party weights are models here: scored, probed, built upon."""

import json

import pytest
import torch

import worldmodel as wm
from tests.test_readme import write_video
from tests.worldmodel.interop import makers
from tests.worldmodel.interop.makers import HINTS
from tests.worldmodel.toys import noise, small_model, write_dots
from tests.worldmodel.training.test_train import errors
from worldmodel.cli.app import main
from worldmodel.errors import ShapeError
from worldmodel.evaluation.probe import features_of
from worldmodel.evaluation.surprise import surprise_and_persistence
from worldmodel.interop import vjepa
from worldmodel.interop.export import export
from worldmodel.runs.run import read_metrics
from worldmodel.types import Clip

MAKERS = {
    "1": makers.checkpoint_1,
    "2": lambda: makers.checkpoint(makers.encoder(), makers.predictor()),
    "2.1": makers.checkpoint_21,
}


@pytest.fixture
def folder(tmp_path):
    """A V-JEPA 2 as a model of ours, for frames of 16 x 16."""
    torch.save(MAKERS["2"](), tmp_path / "small.pt")
    export(model=str(tmp_path / "small.pt"), output=str(tmp_path / "model"), heads=2,
           predictor_heads=2, size=16)  # fmt: skip
    return tmp_path / "model"


def run(verb, tmp_path, *words):
    assert main([verb, *words, f"runs_dir={tmp_path / 'runs'}", "device=cpu"]) == 0
    return read_metrics(tmp_path / "runs" / verb / "default")["results"]


def clip_of(frames):
    return Clip(frames, torch.arange(frames.shape[1], dtype=torch.float64)[None] / 10)


# Surprise


@pytest.mark.parametrize("family", MAKERS)
@torch.inference_mode()
def test_windows_slide_by_a_time_step_and_are_scored_as_published(tmp_path, family):
    torch.save(MAKERS[family](), tmp_path / "c.pt")
    model, _ = vjepa.read(tmp_path / "c.pt", HINTS)
    model.masked_predictor.window, model.masked_predictor.seen = 4, 2
    clip = clip_of(noise(1, 12, 3, 32, 32))  # six time steps: three windows
    found, copied = surprise_and_persistence(model, clip)
    assert found.times.tolist() == [pytest.approx([0.7, 0.9, 1.1])]
    part = clip.frames[:, 2:10]  # the second window
    predictor, ids = model.masked_predictor, torch.arange(64)[None]
    whole = predictor.features(model.encoder, part)
    levels = [torch.nn.functional.layer_norm(x, (48,)) for x in whole.split(48, dim=2)]
    observed = torch.cat(levels, dim=2)
    said = predictor.fill_in(model.encoder, part, ids[:, :32], ids[:, 32:])
    assert torch.allclose(found.scores[0, 1], (said - observed[:, 32:]).abs().mean(), atol=1e-5)
    still = observed[:, 16:32].repeat(1, 2, 1)  # the last time step that is seen
    assert torch.allclose(copied.scores[0, 1], (still - observed[:, 32:]).abs().mean(), atol=1e-5)


@torch.inference_mode()
def test_windows_are_predicted_one_at_a_time_and_what_is_wrong_is_said_at_once(tmp_path):
    torch.save(MAKERS["2"](), tmp_path / "c.pt")
    model, _ = vjepa.read(tmp_path / "c.pt", HINTS)
    model.masked_predictor.set_window(4, 2)
    calls = []
    model.masked_predictor.register_forward_hook(lambda *_: calls.append(1))
    for count, prediction in enumerate(model.predictions(clip_of(noise(1, 12, 3, 32, 32))), 1):
        assert len(calls) == count and prediction.predicted.shape == (1, 1, 32, 48)
    assert len(calls) == 3
    with pytest.raises(ShapeError, match="nothing to predict"):
        model.predictions(clip_of(noise(1, 2, 3, 32, 32)))  # nobody has asked for a window yet


@torch.inference_mode()
def test_a_window_knows_nothing_of_later_ones_and_a_short_clip_is_one(tmp_path):
    torch.save(MAKERS["2"](), tmp_path / "c.pt")
    model, _ = vjepa.read(tmp_path / "c.pt", HINTS)
    frames = noise(1, 20, 3, 16, 16)
    changed = frames.clone()
    changed[:, 18:] = 0
    before, after = (wm.surprise(model, clip_of(f)).scores[0] for f in (frames, changed))
    assert (~torch.isclose(before, after, rtol=1e-4)).tolist() == [False, False, True]
    assert wm.surprise(model, clip_of(frames[:, :6])).times.tolist() == [[0.5]]
    with pytest.raises(ShapeError, match="at least 4, got 2"):
        wm.surprise(model, clip_of(frames[:, :2]))


def test_surprise_of_a_video_by_a_folder(folder, tmp_path):
    write_video(tmp_path / "clip.mp4", frames=24, size=64)
    results = run("surprise", tmp_path, f"model={folder}", f"clips={tmp_path / 'clip.mp4'}")
    assert (
        results["steps"] == 5 and 0 < results["mean"] <= results["max"]
    )  # 12 time steps, 8 a window
    page = (tmp_path / "runs" / "surprise" / "default" / "report.html").read_text()
    assert "<svg" in page


def test_the_window_and_what_is_seen_of_it_can_be_said(folder, tmp_path, capsys):
    write_video(tmp_path / "clip.mp4", frames=24, size=64)
    words = [f"model={folder}", f"clips={tmp_path / 'clip.mp4'}"]
    assert run("surprise", tmp_path, *words, "window.length=3", "window.seen=2")["steps"] == 10
    time_steps = wm.save(small_model(), tmp_path / "time steps")
    for model, seen, said in (
        (folder, 3, "seen=3 leaves nothing"),
        (folder, 0, "seen=0 leaves nothing"),
        (time_steps, 2, "are for predictors of tokens"),
    ):
        words = f"model={model}", f"clips={tmp_path / 'clip.mp4'}"
        words = *words, "window.length=3", f"window.seen={seen}"
        assert main(["surprise", *words, "name=b", f"runs_dir={tmp_path / 'runs'}"]) == 2
        assert said in capsys.readouterr().err


def test_surprise_of_a_video_by_a_file_of_a_published_width(tmp_path):
    held = makers.checkpoint(
        makers.encoder(192, patch=64, depth=1), makers.predictor(384, 192, depth=1)
    )
    torch.save(held, tmp_path / "vitt.pt")
    write_video(tmp_path / "clip.mp4", frames=18, size=64)
    words = f"model={tmp_path / 'vitt.pt'}", f"clips={tmp_path / 'clip.mp4'}"
    assert run("surprise", tmp_path, *words)["steps"] == 2


# Probe and train


def test_a_probe_reads_the_mean_token_where_there_is_no_head(folder, tmp_path):
    write_dots(tmp_path / "episodes", episodes=20, length=12)
    results = run("probe", tmp_path, f"model={folder}", f"episodes={tmp_path / 'episodes'}",
                  "targets=[position]")  # fmt: skip
    assert {"position_r2", "random_init_position_r2", "pixels_position_r2"} <= results.keys()
    assert results["position_r2"] > -1 and results["position_r2.n"] == 36
    model, time_steps = wm.load(folder), noise(40, 2, 3, 16, 16)
    with torch.inference_mode():
        means = model.encoder(time_steps).mean(dim=1)
    assert torch.allclose(features_of(model)(time_steps), means, atol=1e-5)


def test_actions_are_learnt_on_top_of_a_frozen_encoder_with_a_new_head(folder, tmp_path):
    write_dots(tmp_path / "episodes", episodes=8, length=12)
    words = [
        f"encoder={folder}",
        f"episodes={tmp_path / 'episodes'}",
        "optimisation.steps=20",
        "batch=8",
        "model.action_width=16",
        "model.latent_width=8",
        "rollouts.length=4",
    ]
    results = run("train", tmp_path, *words)
    assert results["steps"] == 20
    before, after = wm.load(folder), wm.load(tmp_path / "runs" / "train" / "default")
    assert after.size == 16 and after.state_dim > 0 and after.action_dim == 2
    for name, value in before.encoder.state_dict().items():
        assert torch.equal(value, after.encoder.state_dict()[name])
    assert after.masked_predictor.spec == before.masked_predictor.spec
    log = (tmp_path / "runs" / "train" / "default" / "log.jsonl").read_text().splitlines()
    assert "loss.regulariser" in json.loads(log[-1])  # a new head could collapse
    clip = clip_of(noise(1, 4, 3, 16, 16))
    assert after.states(clip).shape == (1, 2, after.state_dim)
    probed = run(
        "probe",
        tmp_path,
        f"model={tmp_path / 'runs/train/default'}",
        f"episodes={tmp_path / 'episodes'}",
        "targets=[position]",
    )
    assert "position_r2" in probed


@pytest.mark.slow
def test_a_head_on_frozen_tokens_learns_what_actions_do(folder, tmp_path):
    top = tmp_path / "dots"
    write_dots(top / "some", episodes=30)
    write_dots(top / "others", episodes=6, seed=1)
    words = [
        f"encoder={folder}",
        f"episodes={top / 'some'}",
        "optimisation.steps=300",
        "optimisation.learning_rate=3e-3",
        "batch=32",
        "rollouts.length=4",
        "model.latent_width=12",
        "model.extra_width=4",
        "model.action_width=48",
    ]
    run("train", tmp_path, *words)
    found = errors(wm.load(tmp_path / "runs" / "train" / "default"), top / "others")
    assert found["copy"] > 0.2  # states tell where the dot is: this is not collapse
    assert found["right"] < 0.35 * found["copy"]
    assert found["right"] < 0.35 * found["other"]
