"""Published layouts: splits, what is missing on disk, lists that are wrong, and torchvision."""

import json
import os

import numpy as np
import pytest
from torchvision.datasets import HMDB51, UCF101, MovingMNIST
from torchvision.datasets.folder import find_classes, make_dataset

from worldmodel.datasets import open_catalogue
from worldmodel.datasets.kinetics import Kinetics
from worldmodel.errors import ConfigError, VideoError, WorldModelError
from worldmodel.video.decoding import Decoding


def labelled(path, **options):
    return [(item.key.rpartition("/")[2], item.label) for item in open_catalogue(path, **options)]


def test_kinetics_splits(make_layout):
    folders = make_layout("kinetics_folders").path
    assert labelled(folders, split="val") == [("abcdefghi-3_000003_000013.mp4", 1)]
    assert open_catalogue(folders, split="val").classes == ("dig", "surf")
    lists = make_layout("kinetics_lists").path
    assert [label for _, label in labelled(lists, split="train")] == [1, 0]
    missing = open_catalogue(lists, split="train").left_out
    assert [out.name for out in missing] == ["abcdefghi-7_000007_000017"]


def test_a_split_of_kinetics_that_is_not_there_is_not_another_one(make_layout):
    folders = make_layout("kinetics_folders").path
    with pytest.raises(VideoError, match="has no folder for split=test, only for train, val"):
        open_catalogue(folders, split="test")


@pytest.mark.parametrize("form", ["{}_256", "videos_{}"])
def test_kinetics_folders_as_they_are_passed_on(make_layout, form):
    folders = make_layout("kinetics_folders").path
    for split in ("train", "val"):
        (folders / split).rename(folders / form.format(split))
    assert open_catalogue(folders).classes == ("dig", "surf")
    assert labelled(folders, split="val") == [("abcdefghi-3_000003_000013.mp4", 1)]


def test_lists_of_tests_without_labels(make_layout):
    """As Kinetics-600 and -700 are passed on."""
    lists = make_layout("kinetics_lists").path
    (lists / "annotations" / "test.csv").write_text(
        "youtube_id,time_start,time_end,split\nabcdefghi-4,4,14,test\n"
    )
    (lists / "test").mkdir()
    video = next((lists / "val").iterdir())
    (lists / "test" / "abcdefghi-4_000004_000014.mp4").write_bytes(video.read_bytes())
    assert labelled(lists, split="test") == [("abcdefghi-4_000004_000014.mp4", None)]
    assert [label for _, label in labelled(lists)].count(None) == 1


def test_kinetics_videos_with_two_classes_are_refused(make_layout):
    path = make_layout("kinetics_lists").path
    place = path / "annotations" / "train.csv"
    place.write_text(place.read_text() + "\nswim,abcdefghi-1,1,11,train")
    with pytest.raises(VideoError, match="train.csv: names abcdefghi-1_.* as 'swim', and before "
                                         "as 'surf'") as caught:  # fmt: skip
        open_catalogue(path)
    assert "\n" not in str(caught.value)
    place.write_text(place.read_text().replace("swim", "surf") + "\n,abcdefghi-2,2,12,train")
    assert [label for _, label in labelled(path)] == [1, 0, 1]


def test_something_splits(make_layout):
    path = make_layout("something").path
    assert labelled(path, split="train") == [("12.webm", 0), ("11.webm", 1)]
    assert labelled(path, split="test") == [("14.webm", None)]
    assert open_catalogue(path).classes[1] == "Pushing something with something"
    assert [out.name for out in open_catalogue(path).left_out] == ["99"]


@pytest.mark.parametrize("train", [True, False])
def test_ucf101_splits_are_torchvision_s(make_layout, train):
    root = make_layout("ucf101").path
    videos = str(root / "UCF-101")
    # torchvision decodes everything when it is made; only its choice of files is asked for.
    theirs = UCF101.__new__(UCF101)
    theirs.root = videos
    samples = make_dataset(videos, find_classes(videos)[1], ("avi",))
    chosen = theirs._select_fold([p for p, _ in samples], str(root / "ucfTrainTestlist"), 1, train)
    ours = open_catalogue(root, split="train" if train else "test")
    assert sorted((i.key, i.label) for i in ours) == sorted(samples[i] for i in chosen)


@pytest.mark.parametrize("train", [True, False])
def test_hmdb51_splits_are_torchvision_s(make_layout, train):
    root = make_layout("hmdb51").path
    lists = root / "testTrainMulti_7030_splits"
    # Its parser takes no spaces in names, the data set has none either.
    (lists / "wave_test_split1.txt").write_text("#1_wave.avi 1 \n")
    (root / "wave" / "#1 wave[2].avi").rename(root / "wave" / "#1_wave.avi")
    theirs = HMDB51.__new__(HMDB51)
    classes = {name: i for i, name in enumerate(["clap", "wave"])}
    samples = make_dataset(str(root), classes, ("avi",))
    chosen = theirs._select_fold([p for p, _ in samples], str(lists), 1, train)
    ours = open_catalogue(root, split="train" if train else "test")
    assert sorted((i.key, i.label) for i in ours) == sorted(samples[i] for i in chosen)
    assert labelled(root, split="other") == [("c.avi", 0)]


def test_diving48_splits_and_names(make_layout):
    path = make_layout("diving48").path
    assert labelled(path, split="test") == [("d_2.mp4", 0)]
    catalogue = open_catalogue(path)
    assert catalogue.classes[0] == "Back_15som_05Twis_FREE"
    assert [out.name for out in catalogue.left_out] == ["d_3"]


def test_of_diving48_s_lists_the_newest_are_taken(make_layout):
    path = make_layout("diving48").path
    for name, label in (("Diving48_train", 0), ("Diving48_V10_train", 1)):
        (path / f"{name}.json").write_text(json.dumps([{"vid_name": "d_2", "label": label}]))
        newest = "d_1.mp4" if label == 0 else "d_2.mp4"
        assert labelled(path, split="train") == [(newest, 1)]


@pytest.mark.parametrize("split", [None, "train", "test"])
def test_moving_mnist_is_torchvision_s(make_layout, tmp_path, split):
    made = make_layout("moving_mnist")
    place = tmp_path / "MovingMNIST"
    place.mkdir()
    (made.path / "mnist_test_seq.npy").rename(place / "mnist_test_seq.npy")
    theirs = MovingMNIST(tmp_path, split=split)
    for number, item in enumerate(open_catalogue(tmp_path, split=split)):
        source = item.open(Decoding())
        frames = source.read(np.arange(source.num_frames))
        assert np.array_equal(frames[:, :1], theirs[number])


@pytest.mark.parametrize(
    ("layout", "file", "text", "message"),
    [
        ("ucf101", "ucfTrainTestlist/classInd.txt", "2 Biking", "line 1: '2 Biking' is not"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "Surf/a.avi 1", "line 1: 'Surf' is no"),
        ("ucf101", "ucfTrainTestlist/trainlist01.txt", "", "trainlist01.txt: is empty"),
        ("ucf101", "ucfTrainTestlist/testlist01.txt", "Biking/../../a.avi", "leads out of"),
        ("hmdb51", "testTrainMulti_7030_splits/clap_test_split1.txt", "b.avi 7", "line 1: 'b.avi"),
        ("something", "labels/labels.json", "[1]", "is not templates with their numbers"),
        ("something", "labels/labels.json", '{"a": "x"}', "'x' is not a class number below 1"),
        ("something", "labels/labels.json", '{"a": "0", "b": 0}', "two templates have one number"),
        ("something", "labels/train.json", "{", "is not complete JSON"),
        ("something", "labels/train.json", '[{"name": 1}]', "entry 0 has no id"),
        ("something", "labels/train.json", '[{"id": 1, "template": "Q"}]', "labels.json lacks"),
        ("diving48", "Diving48_V2_train.json", "{}", "is not a list of videos"),
        ("diving48", "Diving48_V2_train.json", '[{"vid_name": "d_1", "label": 48}]', "below 2"),
        ("diving48", "Diving48_V2_train.json", '[{"label": 1}]', "entry 0 has no vid_name"),
        ("kinetics_lists", "annotations/val.csv",
         "label,youtube_id,time_start,time_end\na,b,c,d", "line 2: is not label,youtube_id"),
        ("moving_mnist", "mnist_test_seq.npy", "text", "is not a complete array"),
    ],
)  # fmt: skip
def test_bad_lists_are_named(make_layout, layout, file, text, message):
    made = make_layout(layout)
    (made.path / file).write_text(text)
    with pytest.raises(WorldModelError, match=message) as caught:
        open_catalogue(made.path, format=made.format)
    assert "\n" not in str(caught.value)


def test_no_video_on_disk_is_an_error(make_layout):
    path = make_layout("diving48").path
    for file in (path / "rgb").iterdir():
        file.unlink()
    with pytest.raises(WorldModelError, match="name 3 videos and .*rgb holds none of them"):
        open_catalogue(path)


@pytest.mark.parametrize(
    "layout", ["kinetics_lists", "something", "ucf101", "hmdb51", "diving48", "moving_mnist"]
)
def test_splits_that_do_not_exist(make_layout, layout):
    made = make_layout(layout)
    with pytest.raises(ConfigError, match="split=tran is unknown; did you mean"):
        open_catalogue(made.path, split="tran")


def test_arrays_of_another_kind_are_refused(make_layout):
    made = make_layout("moving_mnist")
    np.save(made.path / "mnist_test_seq.npy", np.zeros((3, 3)))
    with pytest.raises(WorldModelError, match="is not an array t n h w"):
        open_catalogue(made.path)
    assert json.dumps(made.labels) == "null"


@pytest.mark.parametrize("layout", ["kinetics_lists", "ucf101", "something"])
def test_folders_that_may_not_be_read_are_told_in_one_line(make_layout, monkeypatch, layout):
    made = make_layout(layout)

    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(os, "listdir", refuse)
    with pytest.raises(WorldModelError) as caught:
        open_catalogue(made.path, format=made.format)
    assert "folder cannot be read (Permission denied)" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not Kinetics.recognises(str(made.path))
