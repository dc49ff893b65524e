"""A training that is killed, asked to end, made longer, split into batches or into stages."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import nn

from tests.worldmodel.toys import noise, small, write_dots
from tests.worldmodel.training.killed import learn
from worldmodel.errors import ConfigError, RunError
from worldmodel.loading.sources import EpisodeVideos
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.centre import regularise
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import AllButOne, MaskMixture, Tubes
from worldmodel.objectives.objective import Losses
from worldmodel.objectives.regularisers import SIGReg, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run, read_log, read_metrics
from worldmodel.storage.tensors import read_tensors
from worldmodel.training.loop import Learner, Watcher, fit
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain
from worldmodel.training.stages import Stages


class Line(Learner):
    """Fits a line; a batch is a function of its number."""

    def __init__(self, at=None, event=None):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Linear(4, 2)
        self.at, self.event, self.numbers = at, event, []

    def losses(self, step, generator):
        if step == self.at:
            self.event()
        self.numbers.append(step)
        x = torch.randn(8, 4, generator=generator)
        self.x = x
        return Losses({"error": (self.net(x) - x[:, :2]).square().mean()}, None, {})


@pytest.fixture
def open_run(tmp_path):
    runs = []

    def open_run(name="run", **config):
        runs.append(Run.open(tmp_path / name, verb="toy", config=config, seed=0))
        return runs[-1]

    yield open_run
    for run in runs:
        run.close()


def settings(steps, **changed):
    return Optimisation(steps, **{"learning_rate": 0.02, "log_every": 1, **changed})


def weights(run):
    return read_tensors(run.checkpoints / "training.safetensors")


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize(
    "kills",
    [
        pytest.param(3, marks=pytest.mark.slow),
        pytest.param(20, marks=pytest.mark.exhaustive),
    ],
)
def test_killed_at_random_times_it_ends_bit_for_bit_the_same(tmp_path, kills):
    episodes = str(write_dots(tmp_path / "e", episodes=6, labelled=0))
    threads, steps = torch.get_num_threads(), 10 * kills
    torch.set_num_threads(1)
    learn(tmp_path / "whole", episodes, steps)
    torch.set_num_threads(threads)
    command = [sys.executable, "-m", "tests.worldmodel.training.killed"]
    done = subprocess.run(
        [*command, str(tmp_path / "cut"), episodes, str(steps), str(kills), "5"],
        cwd=Path(__file__).parents[3], capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) >= kills // 2  # it may have been done before the last of them
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    for file in ("checkpoints/training.safetensors", "model/model.safetensors"):
        assert same(read_tensors(whole / file), read_tensors(cut / file))
    assert read_metrics(whole)["results"] == read_metrics(cut)["results"]
    a, b = ([{**x, "elapsed": 0, "data_wait": 0} for x in read_log(f)] for f in (whole, cut))
    assert a == b
    assert not list(cut.rglob(".*.tmp*"))
    assert events(cut) == events(whole)


def events(folder):
    """The steps and losses that TensorBoard shows."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    read = EventAccumulator(str(folder / "tb"), size_guidance={"scalars": 0})
    read.Reload()
    return [(event.step, event.value) for event in read.Scalars("loss")]


def test_asked_to_end_it_saves_and_exits_with_zero(open_run):
    whole, asked = open_run("whole"), open_run("asked")
    fit(Line(), whole, settings(20), description="line")
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(SystemExit) as ended:
        line = Line(7, lambda: os.kill(os.getpid(), signal.SIGTERM))
        fit(line, asked, settings(20), description="line")
    assert ended.value.code == 0 and line.numbers == list(range(8))
    assert signal.getsignal(signal.SIGTERM) is before
    rest = Line()
    assert fit(rest, asked, settings(20), description="line") == 20
    assert rest.numbers == list(range(8, 20))
    assert same(weights(whole), weights(asked))


def test_a_finished_run_goes_on_with_more_steps(open_run, tmp_path, capsys):
    constant = {"warmup": 0.0, "schedule": "constant"}
    whole = open_run("whole")
    fit(Line(), whole, settings(12, **constant), description="line")
    first = open_run("longer", optimisation={"steps": 5}, other=1)
    fit(Line(), first, settings(5, **constant), description="line")
    first.finish({"steps": 5})
    with pytest.raises(RunError, match="optimisation.steps: 5, now 4"):
        open_run("longer", optimisation={"steps": 4}, other=1)
    with pytest.raises(RunError, match="was made with other settings"):
        open_run("longer", optimisation={"steps": 12}, other=2)
    assert read_metrics(tmp_path / "longer")["results"] == {"steps": 5}
    time.sleep(1.1)  # files of events are read in the order of their names: seconds, then a count
    second = open_run("longer", optimisation={"steps": 12}, other=1)
    assert "goes on (optimisation.steps: 5, now 12)" in capsys.readouterr().err
    rest = Line()
    assert fit(rest, second, settings(12, **constant), description="line") == 12
    assert rest.numbers == list(range(5, 12))
    second.finish({"steps": 12})
    assert same(weights(whole), weights(second))
    assert read_metrics(tmp_path / "longer")["results"] == {"steps": 12}
    kept = json.loads((tmp_path / "longer" / "metrics-1.json").read_text())
    assert kept["results"] == {"steps": 5}
    whole.close()
    assert [step for step, _ in events(second.folder)] == list(range(1, 13))
    assert [step for step, _ in events(second.folder)] == list(range(1, 13))


def test_the_schedule_follows_the_new_total(open_run):
    o = settings(5, warmup=0.0)
    fit(Line(), open_run(), o, description="line")
    fit(Line(), run := open_run(), settings(10, warmup=0.0), description="line")
    rates = [line["learning_rate"] for line in read_log(run.folder)]
    assert rates[:5] == [o.rate(i / 5) for i in range(5)]
    assert rates[5:] == [o.rate(i / 10) for i in range(5, 10)]


def test_accumulated_batches_have_the_gradient_of_one_large_batch(open_run):
    class Recorded(Line):
        def after_step(self, progress):
            self.gradient = self.net.weight.grad.clone()

    parts, xs = Recorded(), []
    before = parts.net.weight.detach().clone()
    losses = parts.losses

    def keep(step, generator):
        found = losses(step, generator)
        xs.append(parts.x)
        return found

    parts.losses = keep
    fit(parts, run := open_run(), settings(2, accumulate=3, clip=1e9), description="line")
    assert parts.numbers == list(range(6))
    whole, x = Line(), torch.cat(xs[:3])
    assert torch.equal(whole.net.weight, before)
    error = (whole.net(x) - x[:, :2]).square().mean()
    assert read_log(run.folder)[0]["loss"] == pytest.approx(error.item(), rel=1e-6)
    # After one step of Adam the second gradient is that of weights which moved: make the same move.
    optimiser = torch.optim.AdamW(whole.parameters(), lr=settings(2).rate(0), betas=(0.9, 0.95),
                                  weight_decay=0.05)  # fmt: skip
    error.backward()
    optimiser.param_groups[0]["params"], bias = [whole.net.weight], [whole.net.bias]
    optimiser.add_param_group({"params": bias, "weight_decay": 0.0})
    optimiser.step()
    x = torch.cat(xs[3:])
    whole.zero_grad()
    (whole.net(x) - x[:, :2]).square().mean().backward()
    assert torch.allclose(parts.gradient, whole.net.weight.grad, rtol=1e-4, atol=1e-6)


def test_watchers_are_asked_after_each_step_and_their_numbers_are_logged(open_run):
    class Third(Watcher):
        def look(self, step):
            return {"probe.r2": step / 10} if step % 3 == 0 else {}

    fit(Line(), run := open_run(), settings(8, log_every=4), description="line", watchers=[Third()])
    log = read_log(run.folder)
    assert [(x["step"], x.get("probe.r2"), "loss" in x) for x in log] == [
        (3, 0.3, False), (4, None, True), (6, 0.6, False), (8, None, True)
    ]  # fmt: skip


# -- on video ------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def dots(tmp_path_factory):
    return str(write_dots(tmp_path_factory.mktemp("dots") / "e", episodes=4, labelled=0))


OBJECTIVES = {
    "time_steps": partial(
        TimeSteps,
        masks=MaskMixture([AllButOne(), Tubes(1, 0.25)], [1, 1]),
        regulariser=SIGReg(num_slices=16),
    ),
    "masked_tokens": partial(
        MaskedTokens,
        masks=MaskMixture([Tubes(1, 0.25)], [1]),
        regulariser=SIGReg(num_slices=16),
        targets="ema",
    ),
}


def train(folder, dots, objective="time_steps", *, model=None, stages=(), num_frames=4, **how):
    run = Run.open(folder, verb="pretrain", config={}, seed=0)
    try:
        return pretrain(
            run, data=EpisodeVideos(dots), objective=OBJECTIVES[objective],
            model=model or small(per_token=objective == "masked_tokens"), batch=8,
            optimisation=Optimisation(**{"steps": 3, "log_every": 1, **how}), stages=stages,
            num_frames=num_frames,
        )  # fmt: skip
    finally:
        run.close()


def state(folder):
    return read_tensors(folder / "checkpoints" / "training.safetensors")


def test_activation_checkpointing_changes_no_number(tmp_path, dots):
    train(tmp_path / "plain", dots)
    train(tmp_path / "less", dots, activation_checkpointing=True)
    assert same(state(tmp_path / "plain"), state(tmp_path / "less"))


def test_timm_backbones_checkpoint_their_activations_or_say_that_they_cannot():
    encoder, frames = FrameEncoder("test_vit", size=32).train(), noise(1, 2, 3, 32, 32)
    gradients = []
    for _ in range(2):
        encoder.zero_grad()
        encoder(frames).square().sum().backward()
        gradients.append([p.grad.clone() for p in encoder.parameters()])
        encoder.checkpoint_activations()
    assert all(torch.equal(a, b) for a, b in zip(*gradients, strict=True))
    encoder.backbone = nn.Identity()
    with pytest.raises(ConfigError, match="activation_checkpointing: timm's test_vit has none"):
        encoder.checkpoint_activations()


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_bfloat16_learns_nearly_the_same_and_keeps_float32(tmp_path, dots, objective):
    train(tmp_path / "full", dots, objective, steps=1)
    train(tmp_path / "half", dots, objective, steps=1, precision="bfloat16")
    full, half = state(tmp_path / "full"), state(tmp_path / "half")
    moments = [name for name in full if name.endswith("exp_avg")]
    a, b = (torch.cat([s[name].flatten() for name in moments]) for s in (full, half))
    assert 0.99 < torch.cosine_similarity(a, b, dim=0) < 1  # the gradient, and not the same
    assert all(half[name].dtype == full[name].dtype for name in full)
    first, second = (read_log(tmp_path / name)[0] for name in ("full", "half"))
    assert second["loss"] == pytest.approx(first["loss"], rel=0.05)


def test_regularisers_compute_in_float32_whatever_the_precision():
    latents = 3 + torch.randn(8, 4, 1, 12, generator=torch.Generator().manual_seed(0))
    latents = latents.bfloat16()
    for regulariser in (SIGReg(num_slices=16), VICReg()):
        exact = regularise(regulariser, latents.float(), step=0, centre="clip").loss
        with torch.autocast("cpu", torch.bfloat16):
            found = regularise(regulariser, latents, step=0, centre="clip").loss
        assert found.dtype == torch.float32 and torch.equal(found, exact)


@pytest.mark.parametrize(
    "backend", ["eager", pytest.param("inductor", marks=pytest.mark.exhaustive)]
)
@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch's own, while it traces
def test_compiled_networks_compute_the_same_and_keep_their_names(
    tmp_path, dots, monkeypatch, backend
):
    compile = nn.Module.compile
    monkeypatch.setattr(nn.Module, "compile", lambda self: compile(self, backend=backend))
    train(tmp_path / "as_ever", dots, steps=2)
    # Compiled, pairs of channels are rotated in another way. The same way in both, so that what
    # differs is the compiler: AdamW moves a weight whose gradient is rounding by the whole rate.
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    train(tmp_path / "plain", dots, steps=2)
    train(tmp_path / "compiled", dots, steps=2, compile=True)
    a, b = state(tmp_path / "plain"), state(tmp_path / "compiled")
    assert a.keys() == b.keys()
    assert all(torch.allclose(a[name], b[name], rtol=1e-3, atol=1e-5) for name in a)
    first, second = (
        [line["loss"] for line in read_log(tmp_path / name)] for name in ("as_ever", "compiled")
    )
    assert first == pytest.approx(second, rel=1e-5)


def test_stages_see_smaller_frames_and_shorter_clips_first(tmp_path, dots, monkeypatch):
    seen, forward = [], MaskedTokens.forward

    def look(self, frames, **more):
        if self.training:
            seen.append(tuple(frames.shape[1:2] + frames.shape[3:]))
        return forward(self, frames, **more)

    monkeypatch.setattr(MaskedTokens, "forward", look)
    stages = [{"steps": 2, "size": 8, "num_frames": 4}, {"steps": 1, "size": 8}]
    fine = replace(small(per_token=True), encoder=VideoViT(24, 1, heads=2, patch=4))
    results = train(
        tmp_path / "r", dots, "masked_tokens", model=fine, stages=stages, num_frames=6,
        steps=4, accumulate=2,
    )  # fmt: skip
    assert results["steps"] == 4
    assert seen == [(4, 8, 8)] * 4 + [(6, 8, 8)] * 2 + [(6, 16, 16)] * 2


@pytest.mark.parametrize(
    "stages, words",
    [
        ([{"steps": 2, "size": 8}], "stages: this objective cannot take 4 frames of 8 x 8 pixels"),
        ([{"steps": 2, "size": 12}], "stages: .* do not divide into tubelets"),
        ([{"steps": 2, "num_frames": 3}], "num_frames=3 does not divide into tubelets of 2 frames"),
        ([{"steps": 0, "size": 8}], "each of stages is {steps: 500"),
        ([{"size": 8}], "each of stages is"),
        (3, "stages=3 must be a list"),
        ([{"steps": 2, "side": 8}], "each of stages is .* got {'steps': 2, 'side': 8}"),
    ],
)
def test_stages_that_cannot_be_are_told_before_the_first_step(tmp_path, dots, stages, words):
    with pytest.raises(ConfigError, match=words):
        train(tmp_path / "r", dots, stages=stages)
    assert not (tmp_path / "r" / "checkpoints").exists()


def test_a_stage_is_a_number_of_steps():
    stages = Stages([{"steps": 2, "size": 8}], size=16, num_frames=4, accumulate=3)
    assert [stages.at(i) for i in (0, 5, 6, 100)] == [(8, 4), (8, 4), (16, 4), (16, 4)]
    assert stages.largest == (16, 4) and stages.shapes == [(8, 4), (16, 4)]
