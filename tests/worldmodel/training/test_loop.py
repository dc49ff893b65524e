import itertools
import math
import time

import pytest
import torch
from torch import nn

from worldmodel.errors import CheckpointError, ConfigError, WorldModelError
from worldmodel.objectives.objective import Losses
from worldmodel.runs.run import Run, read_log
from worldmodel.storage.tensors import read_tensors
from worldmodel.training.loop import Learner, fit
from worldmodel.training.optimisation import Optimisation


class Stop(Exception):
    """What ends a training from outside."""


class Toy(Learner):
    """Learns a linear map from batches that are a function of the step, with batch statistics."""

    def __init__(self, *, stop_at=None, constant=False):
        super().__init__()
        torch.manual_seed(0)
        self.net = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), nn.Linear(8, 2))
        self.fixed = nn.Linear(2, 2).requires_grad_(False)
        self.stop_at, self.constant = stop_at, constant
        self.drawn, self.after = [], []

    def losses(self, step, generator):
        if step == self.stop_at:
            raise Stop
        x = torch.randn(16, 4, generator=generator)
        self.drawn.append(x[0, 0].item())
        y = self.net(x)
        error = (y - torch.stack([x.sum(1), x[:, 0] - x[:, 1]], dim=1)).square().mean()
        features = torch.randn(256, 2, generator=generator) * (not self.constant)
        return Losses(
            {"error": error, "small": 1e-3 * y.square().mean()},
            features,
            {"extra": torch.tensor(7.0)},
        )

    def after_step(self, progress):
        self.after.append(self.net[0].weight[0, 0].item())


@pytest.fixture
def open_run(tmp_path):
    runs = []

    def open_run(name="run", seed=0):
        runs.append(Run.open(tmp_path / name, verb="toy", config={}, seed=seed))
        return runs[-1]

    yield open_run
    for run in runs:
        run.close()


def settings(steps=30, **changed):
    return Optimisation(steps, **{"learning_rate": 0.02, "log_every": 10, **changed})


def weights(run):
    return read_tensors(run.checkpoints / "training.safetensors")


def test_a_loss_falls_and_is_logged_with_its_terms(open_run):
    run = open_run()
    assert fit(Toy(), run, settings(150), description="toy") == 150
    log = read_log(run.folder)
    assert [line["step"] for line in log] == list(range(10, 151, 10))
    assert log[-1]["loss"] < 0.2 * log[0]["loss"]
    for line in log:
        assert line["loss"] == pytest.approx(line["loss.error"] + line["loss.small"], rel=1e-4)
        assert line["extra"] == 7 and line["alarm"] == 0
        assert {"feature_std", "effective_rank", "gradient_norm", "learning_rate"} < line.keys()


def test_an_interrupted_training_ends_with_the_same_weights(open_run):
    whole, broken = open_run("whole"), open_run("broken")
    fit(Toy(), whole, settings(), description="toy")
    # It saves after every step, and is stopped twice.
    for stop_at in (7, 22):
        with pytest.raises(Stop):
            fit(Toy(stop_at=stop_at), broken, settings(save_seconds=-1), description="toy")
    last = Toy()
    assert fit(last, broken, settings(), description="toy") == 30
    assert len(last.drawn) == 8  # nothing was done twice
    a, b = weights(whole), weights(broken)
    assert a.keys() == b.keys()
    assert any(name.startswith("optimiser.") for name in a)
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert [x["step"] for x in read_log(broken.folder)] == [10, 20, 30]


def test_what_was_logged_after_the_last_checkpoint_is_forgotten(open_run):
    run = open_run()
    fit(Toy(), run, settings(10), description="toy")  # a checkpoint at step 10
    with pytest.raises(Stop):
        fit(Toy(stop_at=25), run, settings(), description="toy")  # logged 20, saved nothing
    assert [x["step"] for x in read_log(run.folder)] == [10, 20]
    last = Toy()
    fit(last, run, settings(), description="toy")
    assert len(last.drawn) == 20
    assert [x["step"] for x in read_log(run.folder)] == [10, 20, 30]


def test_a_finished_training_does_nothing_more(open_run):
    run = open_run()
    fit(Toy(), run, settings(), description="toy")
    again = Toy()
    assert fit(again, run, settings(), description="toy") == 30
    assert not again.drawn


def test_batches_depend_on_seed_and_step_alone(open_run):
    toys = [Toy(), Toy(), Toy()]
    for toy, name, seed in zip(toys, "abc", (0, 0, 1), strict=True):
        torch.rand(3)  # what else is drawn does not matter
        fit(toy, open_run(name, seed), settings(5), description="toy")
    assert toys[0].drawn == toys[1].drawn
    assert len({*toys[0].drawn, *toys[2].drawn}) == 10


def test_what_needs_no_gradient_stays_and_after_step_comes_after_the_step(open_run):
    toy = Toy()
    fixed = toy.fixed.weight.clone()
    first = toy.net[0].weight[0, 0].item()
    fit(toy, open_run(), settings(3), description="toy")
    assert torch.equal(toy.fixed.weight, fixed)
    assert len(toy.after) == 3 and toy.after[0] != first
    assert toy.after[-1] == toy.net[0].weight[0, 0].item()


def test_weight_decay_is_on_matrices_only(open_run):
    class Still(Learner):
        def __init__(self):
            super().__init__()
            self.matrix, self.bias = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(2))

        def losses(self, step, generator):
            zero = 0 * (self.matrix.sum() + self.bias.sum())
            return Losses({"zero": zero}, torch.randn(8, 2, generator=generator), {})

    still = Still()
    o = settings(4, weight_decay=0.5, warmup=0.0, schedule="constant")
    fit(still, open_run(), o, description="toy")
    assert torch.allclose(still.matrix, torch.full((2, 2), (1 - 0.02 * 0.5) ** 4))
    assert torch.equal(still.bias, torch.ones(2))


def test_the_gradient_is_clipped(open_run):
    seen = []

    class Steep(Toy):
        def losses(self, step, generator):
            losses = super().losses(step, generator)
            return Losses({"steep": 1e6 * losses.total}, losses.features, {})

        def after_step(self, progress):
            found = [p.grad.square().sum() for p in self.net.parameters()]
            seen.append(torch.stack(found).sum().sqrt().item())

    fit(Steep(), open_run(), settings(3, clip=0.25), description="toy")
    assert seen == pytest.approx([0.25] * 3, rel=1e-3)


@pytest.mark.parametrize("how", ["loss", "gradient", "statistics"])
def test_a_step_that_is_not_finite_changes_nothing_and_is_counted(open_run, monkeypatch, how):
    run, said = open_run(), []
    monkeypatch.setattr(run, "say", said.append)
    seen = []

    class Spoilt(Toy):
        def losses(self, step, generator):
            if step in (4, 5):
                seen.append({k: v.clone() for k, v in self.state_dict().items()})
            found = super().losses(step, generator)
            if step == 4:
                bad = {
                    "loss": torch.tensor(math.inf),  # of which no gradient knows
                    "gradient": (self.net[2].bias.sum() * 0).sqrt(),  # finite, infinite slope
                    "statistics": self.net(torch.full((4, 4), math.nan)).sum(),
                }[how]
                found = Losses(found.terms | {"bad": bad}, found.features, {})
            return found

    toy = Spoilt()
    assert fit(toy, run, settings(log_every=1), description="toy") == 30
    assert all(torch.equal(seen[0][k], seen[1][k]) for k in seen[0])
    assert toy.skipped_steps == 1 and len(toy.after) == 29
    assert len(said) == 1 and said[0].startswith("step 4: loss or gradient is not finite (")
    assert [x["skipped_steps"] for x in read_log(run.folder)] == [0] * 4 + [1] * 26
    assert all(v.isfinite().all() for v in toy.state_dict().values())


def test_ten_such_steps_in_a_row_end_it_with_the_names_of_the_last_batch(open_run):
    class Spoilt(Toy):
        def losses(self, step, generator):
            if step == self.stop_at:
                raise Stop
            found = super().losses(step, generator)
            self.sources = (f"{step}.mp4", "b.mp4", "b.mp4")
            return Losses({"error": found.total * (math.nan if step != 9 else 1)}, None, {})

    run = open_run()
    with pytest.raises(Stop):  # nine, one that is fine, and three
        fit(Spoilt(stop_at=13), run, settings(save_seconds=-1), description="toy")
    toy = Spoilt()
    words = r"step 19: .*\(gradient nan; error nan\), for the 10th time in a row; its last batch "
    with pytest.raises(WorldModelError, match=words + r"was read from 19.mp4, b.mp4; lower"):
        fit(toy, run, settings(), description="toy")
    assert all(p.isfinite().all() for p in toy.parameters())


def test_a_time_limit_ends_it_and_counts_time_before_an_interruption(open_run, monkeypatch):
    clock = itertools.count(step=1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    run = open_run()
    o = settings(10_000, seconds=40.0, save_seconds=1e9)
    steps = fit(Toy(), run, o, description="toy")
    assert 10 <= steps <= 30  # two or three looks at the clock in each step
    toy = Toy()
    assert fit(toy, run, o, description="toy") == steps
    assert not toy.drawn


def test_a_time_limit_sets_the_schedule(open_run, monkeypatch):
    clock = itertools.count(step=1.0)
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    run = open_run()
    o = settings(10_000, seconds=60.0, warmup=0.0, log_every=1, save_seconds=1e9)
    fit(Toy(), run, o, description="toy")
    rates = [line["learning_rate"] for line in read_log(run.folder)]
    assert rates[0] > 0.9 * o.learning_rate and rates[-1] < 0.1 * o.learning_rate
    assert rates == sorted(rates, reverse=True)


def test_collapse_raises_an_alarm_once_there_was_time_to_learn(open_run, monkeypatch):
    run, said = open_run(), []
    monkeypatch.setattr(run, "say", said.append)
    fit(Toy(constant=True), run, settings(70), description="toy")
    assert [line.split(":")[0] for line in said] == ["ALARM at step 60", "ALARM at step 70"]
    assert "standard deviation 0 <" in said[0]
    assert all(line["alarm"] == 1 for line in read_log(run.folder))


def test_a_checkpoint_of_something_else_is_refused(open_run):
    run = open_run()
    fit(Toy(), run, settings(2), description="toy")
    other = Toy()
    other.net[2] = nn.Linear(8, 3)
    with pytest.raises(CheckpointError, match="training.safetensors: net.2.weight has shape"):
        fit(other, run, settings(), description="toy")


def test_the_schedule():
    cosine = Optimisation(100, learning_rate=1.0, warmup=0.1)
    assert cosine.rate(0.0) == pytest.approx(0.001)
    assert cosine.rate(0.05) == pytest.approx(0.5, abs=0.01)
    assert cosine.rate(0.1) == pytest.approx(1.0)
    assert cosine.rate(0.55) == pytest.approx((1 + 0.02) / 2)
    assert cosine.rate(1.0) == pytest.approx(0.02)
    assert cosine.rate(2.0) == pytest.approx(0.02)
    constant = Optimisation(100, learning_rate=1.0, warmup=0.1, schedule="constant")
    assert constant.rate(0.05) == cosine.rate(0.05)
    assert {constant.rate(p) for p in (0.1, 0.5, 1.0)} == {1.0}
    assert Optimisation(100, learning_rate=1.0, warmup=0.0).rate(0.0) == 1.0


@pytest.mark.parametrize(
    "wrong, words",
    [
        ({"schedule": "cosin"}, "no schedule 'cosin': did you mean 'cosine'"),
        ({"steps": 0}, "steps >= 1"),
        ({"learning_rate": 0.0}, "learning_rate > 0"),
        ({"warmup": 1.0}, "warmup < 1"),
    ],
)
def test_impossible_settings_are_refused(wrong, words):
    with pytest.raises(ConfigError, match=words):
        Optimisation(**{"steps": 10, **wrong})
