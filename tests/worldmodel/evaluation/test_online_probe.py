"""A probe beside a training: what it logs, and that the training does not notice it."""

import json

import pytest
import torch

from tests.worldmodel.evaluation.labelled_videos import write_colours
from tests.worldmodel.toys import SIZE, seeded, small, small_model, write_dots
from worldmodel.errors import ConfigError, EpisodeError, VideoError
from worldmodel.evaluation.online_probe import OnlineProbe, VideoWatcher, views_of_training
from worldmodel.evaluation.probe import probe
from worldmodel.evaluation.views import Views
from worldmodel.loading.sources import EpisodeVideos
from worldmodel.objectives.masks import Future, MaskMixture
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.runs.run import Run
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain
from worldmodel.video.decoding import Decoding

VIEWS = Views(num_frames=4, clips=1, workers=0)


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    root = tmp_path_factory.mktemp("online")
    write_dots(root / "learned", episodes=6)
    write_dots(root / "held_out", episodes=8, seed=5)
    write_colours(root / "colours", each=4)
    (root / "colours/fps.txt").write_text("10")
    return root


def objective(sizes):
    """With weights that are drawn and noise that is dropped, so that disturbances would show."""
    made = TimeSteps(sizes, masks=MaskMixture([Future(1)], [1]), regulariser=SIGReg(num_slices=8))
    made.encoder.blocks[0].mlp.append(torch.nn.Dropout(0.2))
    return made


def train(folder, places, watched, *, steps=4):
    run = Run.open(folder, verb="pretrain", config={"num_frames": 4}, seed=0)
    torch.manual_seed(7)
    try:
        pretrain(
            run, data=EpisodeVideos(str(places / "learned")), model=small(), objective=objective,
            optimisation=Optimisation(steps=steps, log_every=2), num_frames=4, batch=8,
            probe=watched,
        )  # fmt: skip
    finally:
        run.close()
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    return (folder / "model/model.safetensors").read_bytes(), torch.get_rng_state(), lines


@pytest.mark.parametrize("data", ["held_out", "colours"])
def test_a_training_is_the_same_to_the_bit_with_a_probe_and_without(places, tmp_path, data):
    alone = train(tmp_path / "alone", places, None)
    watched = OnlineProbe(data=str(places / data), every=1, views=VIEWS)
    beside = train(tmp_path / "beside", places, watched)
    assert alone[0] == beside[0]
    assert torch.equal(alone[1], beside[1])
    key = "probe.accuracy" if data == "colours" else "probe.position_r2"
    assert [line["step"] for line in beside[2] if key in line] == [1, 2, 3, 4]
    for before, after in zip(alone[2], beside[2][1::2], strict=True):  # steps 2 and 4
        same = before.keys() - {"elapsed", "data_wait"}
        assert {name: after[name] for name in same} == {name: before[name] for name in same}


def opened(places, model=None, said=None, **given):
    given = {"data": str(places / "held_out"), "views": VIEWS, **given}
    model = small_model() if model is None else model

    class Told(Run):
        def __init__(self):
            self.seed, self.config = 0, {"data": {"path": str(places / "learned")}}

        def say(self, message):
            (said if said is not None else []).append(message)

    return OnlineProbe(**given)(model, Told(), Decoding())


def test_modes_and_random_numbers_are_as_before_and_nothing_is_looked_at_between(places):
    model = small_model().train()
    model.head.eval()
    (watcher,) = opened(places, model, every=3)
    modes = [module.training for module in model.modules()]
    state = torch.get_rng_state()
    assert watcher.look(1) == watcher.look(2) == watcher.look(4) == {}
    assert set(watcher.look(3)) == {"probe.position_r2"}
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), state)
    assert all(weights.grad is None for weights in model.parameters())
    assert not watcher.look(6)["probe.position_r2"] != watcher.look(3)["probe.position_r2"]


def test_it_reads_what_the_verb_reads(places, tmp_path):
    from worldmodel import checkpoint

    (watcher,) = opened(places, every=1)
    run = Run.open(tmp_path / "run", verb="probe", config={}, seed=0)
    found = probe(
        run, model=str(checkpoint.save(small_model(), tmp_path / "m")), targets=["position"],
        episodes=str(places / "held_out"), train_share=0.5,
    )  # fmt: skip
    run.close()
    assert watcher.look(1)["probe.position_r2"] == pytest.approx(found["position_r2"], abs=1e-4)


def test_accuracy_is_of_the_test_videos_and_follows_the_weights():
    labels = torch.arange(24) % 2
    noise = torch.randint(60, (24, 4, 3, SIZE, SIZE), generator=seeded())
    frames = (120 * labels[:, None, None, None, None] + noise).to(torch.uint8)  # dark or bright
    model = small_model()
    watcher = VideoWatcher(model, 1, (frames[:16], labels[:16]), (frames[16:], labels[16:]))
    assert watcher.look(1) == {"probe.accuracy": 1.0}
    assert watcher.look(2) == {"probe.accuracy": 1.0}
    with torch.no_grad():  # an encoder that knows nothing
        model.encoder.norm.weight.zero_()
    assert watcher.look(3)["probe.accuracy"] == 0.5


def test_without_data_there_is_no_watcher_and_clips_are_as_the_training_s(places):
    assert opened(places, data=None) == []
    views = views_of_training({"num_frames": 4, "data": {"stride": 3, "path": "x"}})
    assert (views.num_frames, views.stride, views.fps, views.clips) == (4, 3, None, 1)


def test_data_that_are_trained_on_are_said(places):
    said = []
    opened(places, said=said, data=str(places / "learned"))
    assert "6 of the 6 videos" in said[0] and "training set of this run too" in said[0]
    said.clear()
    opened(places, said=said)
    assert said == []


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"targets": ["speed"]}, "no info 'speed' in all its episodes; there are position"),
        ({"every": 0}, "probe.every must be at least 1"),
        ({"data": "gone"}, "gone: there is nothing; check the path"),
        ({"views": Views(num_frames=3), "data": "colours"}, "does not divide into tubelets of 2"),
        ({"data": "colours/red", "reading": {"fps": 10}}, "none of its 4 videos has a label"),
    ],
)
def test_what_it_cannot_read_is_refused_before_the_first_step(places, given, words):
    if "data" in given:
        given = given | {"data": str(places / given["data"])}
    with pytest.raises((ConfigError, VideoError, EpisodeError), match=words):
        opened(places, **given)
