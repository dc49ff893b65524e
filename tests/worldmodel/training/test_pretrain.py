import csv
from dataclasses import replace
from functools import partial

import pytest
import torch

from tests.worldmodel.toys import small, write_dots
from worldmodel.datasets.catalogue import LeftOut
from worldmodel.errors import ConfigError
from worldmodel.interop.load import load
from worldmodel.loading.sources import EpisodeVideos, VideoFiles
from worldmodel.nn.encoder import VideoViT
from worldmodel.objectives.masks import AllButOne, MaskMixture, Tubes
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run, read_log
from worldmodel.storage.tensors import read_tensors
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return str(write_dots(tmp_path_factory.mktemp("dots") / "e", episodes=8, labelled=0))


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "run", verb="pretrain", config={}, seed=0)
    yield run
    run.close()


def learn(run, dots, steps=3, **changed):
    settings = {
        "data": EpisodeVideos(dots),
        "model": small(),
        "batch": 16,
    }
    how = {
        "masks": MaskMixture([AllButOne(), Tubes(1, 0.25)], [1, 1]),
        "regulariser": SIGReg(num_slices=32),
    }
    how |= {k: changed.pop(k) for k in ("masks", "regulariser", "targets") if k in changed}
    settings["objective"] = partial(TimeSteps, **how)
    optimisation = Optimisation(steps, learning_rate=3e-3, log_every=1)
    return pretrain(run, optimisation=optimisation, **{**settings, **changed})


def test_it_learns_without_actions_and_leaves_a_model(run, dots):
    results = learn(run, dots, 60, batch=64)
    log = read_log(run.folder)
    assert len(log) == 60 and {"loss.prediction", "loss.regulariser"} < log[0].keys()
    assert all(0 < line["data_wait"] < 1 for line in log) and 0 < results["data_wait"] < 1
    first, last = (sum(x["loss"] for x in part) for part in (log[:10], log[-10:]))
    assert last < 0.8 * first
    assert results["videos"] == 8 and results["skipped"] == 0 and results["steps"] == 60
    assert results["collapsed"] == 0 and results["feature_std"] > 0.3
    model = load(run.folder)
    assert model.head is not None and model.masked_predictor is not None
    assert model.action_predictor is None and model.action_dim == 0
    assert read_tensors(run.folder / "seen.safetensors")["frames"].shape == (6, 2, 16, 16, 3)


@pytest.mark.parametrize("targets", ["live", "stopgrad", "ema"])
@pytest.mark.parametrize("per_token", [False, True])
def test_every_kind_of_target_and_head_leaves_a_model_of_the_students(
    run, dots, targets, per_token
):
    learn(run, dots, targets=targets, model=small(per_token=per_token))
    model = load(run.folder)
    assert model.head.per_token == per_token
    state = read_tensors(run.checkpoints / "training.safetensors")
    student = state["weights.objective.encoder.tubelets.embed.weight"]
    assert torch.equal(model.encoder.tubelets.embed.weight, student)
    assert any("teacher" in name for name in state) == (targets == "ema")


def test_an_encoder_that_sees_nothing_raises_the_alarm(run, dots, monkeypatch):
    said = []
    monkeypatch.setattr(run, "say", said.append)
    blind = small()
    torch.nn.init.zeros_(blind.encoder.norm.weight)
    blind.encoder.norm.requires_grad_(False)
    results = learn(run, dots, model=blind, regulariser=NoRegulariser())
    assert results["collapsed"] == 1
    assert said[-1].startswith("ALARM: latents have collapsed")


def test_no_path_is_told_before_anything_is_trained(run):
    with pytest.raises(ConfigError, match="data.path is not set"):
        learn(run, None, data=VideoFiles(None))
    assert not run.checkpoints.exists()


def test_clips_that_do_not_divide_into_time_steps_are_refused(run, dots):
    sizes = replace(small(), encoder=VideoViT(24, 1, heads=2, patch=8, tubelet_frames=4))
    with pytest.raises(ConfigError, match="num_frames=6 does not divide into tubelets of 4 frames"):
        learn(run, dots, model=sizes, num_frames=6)


def test_what_was_skipped_is_listed(run, dots):
    class WithHole(EpisodeVideos):
        def open(self, **settings):
            clips = super().open(**settings)
            clips.skipped.append(LeftOut("a, b.mp4", "is empty"))
            return clips

    assert learn(run, dots, data=WithHole(dots))["skipped"] == 1
    with (run.folder / "skipped.csv").open(newline="") as file:
        assert list(csv.DictReader(file)) == [{"name": "a, b.mp4", "reason": "is empty"}]
