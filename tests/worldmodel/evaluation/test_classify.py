"""`probe task=classify` from labelled videos on disk to accuracies, a model, and what it says."""

import csv
import json

import pytest
import torch
import yaml

from tests.worldmodel.evaluation.labelled_videos import write_colours
from tests.worldmodel.toys import small, small_model, stirred
from worldmodel import checkpoint
from worldmodel.errors import ConfigError
from worldmodel.evaluation.classify import classify, confusion
from worldmodel.evaluation.labelled import LabelledVideos
from worldmodel.evaluation.probes.attentive import AttentiveProbe
from worldmodel.evaluation.probes.linear import LinearProbe
from worldmodel.evaluation.probes.nearest import NearestProbe
from worldmodel.evaluation.views import ViewRequest, Views, read_views
from worldmodel.interop.load import load
from worldmodel.model import WorldModel
from worldmodel.nn.classifier import AttentiveClassifier
from worldmodel.runs.run import Run
from worldmodel.types import Clip
from worldmodel.video.clip import read_clip
from worldmodel.video.decoding import Decoding

VIEWS = Views(num_frames=4, clips=2, workers=0)
FAST = {
    "attentive": AttentiveProbe(
        depth=0, learning_rates=(3e-2,), weight_decays=(0.01,), epochs=1, steps=25
    ),
    "linear": LinearProbe(penalties=(1.0,)),
    "knn": NearestProbe(),
}


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    root = write_colours(tmp_path_factory.mktemp("colours") / "c", each=8)
    (root / "fps.txt").write_text("10")
    return root


@pytest.fixture
def run(tmp_path):
    run = Run.open(tmp_path / "run", verb="probe", config={}, seed=0)
    yield run
    run.close()


@pytest.fixture
def said(run, monkeypatch):
    lines = []
    monkeypatch.setattr(run, "say", lines.append)
    return lines


def saved(folder, model=None):
    return str(checkpoint.save(small_model() if model is None else model, folder / "model"))


def test_colours_are_read_out_by_every_probe_and_the_classifier_is_left_as_a_model(
    run, colours, tmp_path
):
    results = classify(
        run, model=saved(tmp_path), data=LabelledVideos(path=str(colours)), views=VIEWS, probes=FAST
    )
    for name in FAST:
        keys = [f"{name}.{before}accuracy" for before in ("", "random_init_", "pixels_")]
        assert all({key, f"{key}.n", f"{key}.low", f"{key}.high"} <= set(results) for key in keys)
        assert results[f"{name}.accuracy"] == 1.0 and results[f"{name}.accuracy.n"] == 6
    assert results["majority.accuracy"] == pytest.approx(1 / 3)
    counts = {
        key: results[f"videos.{key}"] for key in ("to_fit", "to_choose", "to_test", "classes")
    }
    assert counts == {"to_fit": 15, "to_choose": 3, "to_test": 6, "classes": 3}
    assert results["videos.trained_on"] == results["videos.left_out"] == 0
    matrices = json.loads((run.folder / "confusion.json").read_text())
    assert matrices["classes"] == ["blue", "green", "red"]
    assert matrices["matrices"]["linear"] == [[2, 0, 0], [0, 2, 0], [0, 0, 2]]
    with (run.folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6 and all(row["class"] == row["knn"] for row in rows)
    # What was fitted classifies clips, also those of a file that it never saw.
    model = load(run.folder)
    assert model.classifier.labels == ["blue", "green", "red"]
    frames = torch.zeros(4, 3, 16, 16, dtype=torch.uint8)
    frames[:, 1] = 200
    clip = read_clip(frames.numpy(), num_frames=4, rate=10)
    assert model.classifier.labels[int(model.classify(clip).argmax())] == "green"


def test_few_shots_are_fitted_on_so_many_videos_and_named(run, colours, tmp_path):
    few = {"linear": FAST["linear"]}
    results = classify(
        run, model=saved(tmp_path), data=LabelledVideos(path=str(colours)), views=VIEWS,
        probes=few, shots=[1, 3],
    )  # fmt: skip
    assert results["shots_1.videos.to_fit"] == 3 and results["shots_1.videos.to_choose"] == 3
    assert results["shots_3.videos.to_fit"] == 9
    assert {"shots_1.linear.accuracy", "shots_3.majority.accuracy"} <= set(results)
    # Only the vectors of views are kept where nobody wants tokens.
    assert (run.folder / "features/00000.safetensors").stat().st_size < 2**21


@pytest.mark.parametrize(
    ("shots", "words"),
    [
        (9, "shots=9: class 'blue' has 5 videos to fit on and others to choose on; say at most 5"),
        (0, "shots=0: say how many videos of each class"),
        ("ten", "shots=ten: say how many videos of each class"),
        ([1, 1], "name each number once"),
    ],
)
def test_shots_that_there_are_not_are_refused_before_anything_is_read(
    run, colours, tmp_path, shots, words
):
    data = LabelledVideos(path=str(colours))
    with pytest.raises(ConfigError, match=words):
        classify(
            run, model=saved(tmp_path), data=data, views=VIEWS, probes=FAST, shots=shots
        )  # fmt: skip
    assert not (run.folder / "features").exists()


def test_clips_that_do_not_divide_into_tubelets_are_refused(run, colours, tmp_path):
    with pytest.raises(ConfigError, match="views.num_frames=3 does not divide into tubelets of 2"):
        classify(
            run, model=saved(tmp_path), data=LabelledVideos(path=str(colours)),
            views=Views(num_frames=3), probes=FAST,
        )  # fmt: skip


def videos_tested(colours):
    """The test videos and their classes."""
    test = LabelledVideos(path=str(colours)).divide(seed=0).test
    return test.items, test.labels


def with_classifier(classes, labels=None):
    torch.manual_seed(0)
    made = AttentiveClassifier(24, classes, heads=2, depth=0, labels=labels)
    return WorldModel(small().encoder, size=16, classifier=stirred(made)).eval()


def test_a_classifier_that_the_model_brings_is_judged_by_its_names_or_numbers(
    run, said, colours, tmp_path
):
    labels = ["red", "else", "green", "blue"]
    brought = with_classifier(4, labels)
    results = classify(
        run, model=saved(tmp_path, brought), data=LabelledVideos(path=str(colours)), views=VIEWS,
        probes={},
    )  # fmt: skip
    right = 0
    for item, label in zip(
        *videos_tested(colours), strict=True
    ):  # the same once more, from the frames
        views = read_views(VIEWS, 16, Decoding(), ViewRequest(item))
        scores = brought.classify(Clip.from_uint8(torch.from_numpy(views))).mean(dim=0)
        right += labels[int(scores.argmax())] == ("blue", "green", "red")[label]
    assert results["own.accuracy"] == pytest.approx(right / 6)


def test_a_classifier_of_other_classes_is_not_compared_and_that_is_said(
    run, said, colours, tmp_path
):
    model = saved(tmp_path, with_classifier(2))
    results = classify(
        run, model=model, data=LabelledVideos(path=str(colours)), views=VIEWS,
        probes={"knn": NearestProbe()},
    )  # fmt: skip
    assert "own.accuracy" not in results
    assert any("own classifier has 2 other classes than" in line for line in said)


def test_videos_that_were_trained_on_are_counted_and_said(run, said, colours, tmp_path):
    settings = {"verb": "pretrain", "data": {"path": str(colours / "red")}}
    settings["data"]["reading"] = {"fps": 10}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    results = classify(
        run, model=saved(tmp_path), data=LabelledVideos(path=str(colours)), views=VIEWS,
        probes={"knn": NearestProbe()},
    )  # fmt: skip
    assert results["videos.trained_on"] == 2
    assert any(line.startswith("2 of the 6 videos that are tested on are in the") for line in said)


def test_confusion_counts_what_was_taken_for_what():
    truth, predicted = torch.tensor([0, 0, 1, 2, 2]), torch.tensor([0, 2, 1, 2, 0])
    assert confusion(truth, predicted, 3).tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]
