"""How labelled videos are divided; no video is opened."""

import json

import numpy as np
import pytest

from tests.worldmodel.evaluation.labelled_videos import touch
from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.labelled import LabelledVideos, few, held_out


def folders(root, each=10, classes=("run", "walk")):
    touch(*(root / name / f"{i}.mp4" for name in classes for i in range(each)))
    return root


def test_without_splits_a_share_of_each_class_is_the_test(tmp_path):
    divided = LabelledVideos(path=str(folders(tmp_path / "a"))).divide(seed=0)
    assert divided.train.classes == ("run", "walk")
    assert np.bincount(divided.test.labels).tolist() == [3, 3]
    assert np.bincount(divided.train.labels).tolist() == [7, 7]
    names = {item.name for item in divided.train.items} | {i.name for i in divided.test.items}
    assert len(names) == 20
    for item, label in zip(divided.test.items, divided.test.labels, strict=True):
        assert f"/{divided.test.classes[label]}/" in item.name
    again = LabelledVideos(path=str(tmp_path / "a"))
    assert again.divide(seed=0).test.items == divided.test.items
    assert again.divide(seed=1).test.items != divided.test.items


@pytest.mark.parametrize("test", ["val", "validation", "test"])
def test_folders_that_are_called_train_and_test_are_that(tmp_path, test):
    folders(tmp_path / "a/train", 4, ("run", "sit", "walk"))
    folders(tmp_path / "a" / test, 2, ("sit", "walk"))
    divided = LabelledVideos(path=str(tmp_path / "a")).divide(seed=0)
    assert (len(divided.train), len(divided.test)) == (12, 4)
    # Numbered as in training, where one class more comes before them.
    assert divided.test.labels.tolist() == [1, 1, 2, 2]


def test_test_videos_may_lie_elsewhere(tmp_path):
    divided = LabelledVideos(
        path=str(folders(tmp_path / "a")), test_path=str(folders(tmp_path / "b", 3))
    ).divide(seed=0)
    assert (len(divided.train), len(divided.test)) == (20, 6)


def test_the_splits_of_a_published_layout_are_taken(tmp_path):
    lists = tmp_path / "ucf/ucfTrainTestlist"
    lists.mkdir(parents=True)
    (lists / "classInd.txt").write_text("1 Run\n2 Walk\n")
    for fold in (1, 2):
        (lists / f"trainlist{fold:02d}.txt").write_text("Run/a.avi 1\nWalk/b.avi 2\nWalk/d.avi 2\n")
        (lists / f"testlist{fold:02d}.txt").write_text("Run/c.avi\n")
    touch(*(tmp_path / "ucf" / name for name in ("Run/a.avi", "Walk/b.avi", "Walk/d.avi")))
    touch(tmp_path / "ucf/Run/c.avi")
    divided = LabelledVideos(path=str(tmp_path / "ucf"), reading={"fold": 2}).divide(seed=0)
    assert (len(divided.train), len(divided.test)) == (3, 1)
    assert divided.how == "fitted on split=train, tested on split=test"
    with pytest.raises(ConfigError, match="data.test_split=tests: did you mean 'test'"):
        LabelledVideos(path=str(tmp_path / "ucf"), test_split="tests").divide(seed=0)


def test_kinetics_without_splits_on_disk_is_divided_by_share(tmp_path):
    for name in ("run", "walk"):
        touch(*(tmp_path / "k" / name / f"abcdefghij{i}_000001_000011.mp4" for i in range(5)))
    divided = LabelledVideos(path=str(tmp_path / "k")).divide(seed=0)
    assert len(divided.train) + len(divided.test) == 10 and len(divided.test) == 4


def test_something_something_is_tested_on_its_validation_split(tmp_path):
    root = tmp_path / "ss"
    root.mkdir()
    (root / "labels.json").write_text(json.dumps({"Lifting it": "0", "Dropping it": "1"}))
    for split, ids in (("train", "1234"), ("validation", "56"), ("test", "7")):
        rows = [{"id": i, "template": "Lifting it" if int(i) % 2 else "Dropping it"} for i in ids]
        (root / f"{split}.json").write_text(
            json.dumps(rows if split != "test" else [{"id": i} for i in ids])
        )
    touch(*(root / "videos" / f"{i}.webm" for i in range(1, 8)))
    divided = LabelledVideos(path=str(root)).divide(seed=0)
    assert (len(divided.train), len(divided.test)) == (4, 2)
    assert divided.train.classes == ("Lifting it", "Dropping it")


def test_labels_that_are_missing_are_told_or_skipped_and_counted(tmp_path):
    touch(*(tmp_path / f"{i}.mp4" for i in range(9)))
    lines = [f"{i}.mp4 {7 * (i % 2)}" for i in range(8)] + ["8.mp4"]
    (tmp_path / "list.csv").write_text("\n".join(lines))
    given = {"path": str(tmp_path / "list.csv")}
    with pytest.raises(ConfigError, match=r"1 of its 9 videos without a label \(the .*8.mp4"):
        LabelledVideos(**given).divide(seed=0)
    divided = LabelledVideos(**given, unlabelled="skip").divide(seed=0)
    assert divided.left_out == 1 and len(divided.train) + len(divided.test) == 8
    assert divided.train.classes == ("0", "7") and divided.train.numbers == (0, 7)


@pytest.mark.parametrize(
    ("make", "given", "words"),
    [
        ({"classes": ["run"]}, {}, "all its 10 labelled videos are of class 'run'"),
        ({"each": 1}, {}, "no class has two videos, so none is left to test"),
        ({"classes": [""]}, {}, "mp4: is in no class folder"),
        ({}, {"test_path": "{a}"}, "20 of the 20 test videos are training videos too"),
        ({}, {"train_split": "train"}, "format=folder has no splits to choose"),
        ({}, {"test_path": "{a}", "test_split": "val"}, "have nothing to say"),
    ],
)
def test_what_cannot_be_divided_is_refused_in_one_line(tmp_path, make, given, words):
    folders(tmp_path / "a", **make)
    given = {key: value.format(a=tmp_path / "a") for key, value in given.items()}
    with pytest.raises((ConfigError, VideoError), match=words) as caught:
        LabelledVideos(path=str(tmp_path / "a"), **given).divide(seed=0)
    assert "\n" not in str(caught.value)


def test_a_class_with_test_videos_only_is_refused(tmp_path):
    folders(tmp_path / "a/train"), folders(tmp_path / "a/test", classes=("run", "wait"))
    with pytest.raises(ConfigError, match="class 'wait' has no training video in"):
        LabelledVideos(path=str(tmp_path / "a")).divide(seed=0)


def test_nothing_is_named_and_nothing_has_labels(tmp_path):
    with pytest.raises(ConfigError, match="data.path is not set"):
        LabelledVideos().divide(seed=0)
    touch(tmp_path / "x.mp4", tmp_path / "y.mp4")
    (tmp_path / "list.csv").write_text("x.mp4\ny.mp4\n")
    with pytest.raises(ConfigError, match="none of its 2 videos has a label"):
        LabelledVideos(path=str(tmp_path / "list.csv")).divide(seed=0)
    with pytest.raises(ConfigError, match="data.test_share must lie between 0 and 1, got 0"):
        LabelledVideos(test_share=0)


def test_held_out_are_some_of_each_class_and_never_all():
    labels = np.array([0] * 10 + [1] * 2 + [2])
    rest, out = held_out(labels, 0.2, seed=0)
    assert np.bincount(labels[out], minlength=3).tolist() == [2, 1, 0]
    assert sorted([*rest, *out]) == list(range(13))
    assert np.bincount(labels[held_out(labels, 0.5, seed=0, most=1)[1]]).tolist() == [1, 1]


def test_few_shots_are_a_number_of_each_class():
    labels, rows = np.arange(20) % 4, np.arange(12)
    chosen = few(labels, rows, 2, seed=0)
    assert np.bincount(labels[chosen]).tolist() == [2, 2, 2, 2] and set(chosen) <= set(rows)
    assert few(labels, rows, 4, seed=0) is None
