"""Videos that were trained on are found again by their files."""

import os

import pytest
import yaml

from tests.worldmodel.evaluation.labelled_videos import touch
from worldmodel.datasets import open_catalogue
from worldmodel.evaluation.overlap import run_settings, told_overlap, training_sets


@pytest.fixture
def videos(tmp_path):
    touch(*(tmp_path / "v" / name for name in ("a.mp4", "b.mp4", "c.mp4")))
    return tmp_path / "v"


def told(videos, settings):
    return told_overlap(open_catalogue(videos)[:2], settings, whose="runs/x")


def pretrained(path, **more):
    return {"verb": "pretrain", "data": {"path": str(path), **more}}


def test_the_same_files_are_found_through_links_and_other_names(videos, tmp_path, monkeypatch):
    os.symlink(videos, tmp_path / "link")
    monkeypatch.chdir(tmp_path)
    for path in (videos, tmp_path / "link", "v", "v/../v"):
        count, line = told(videos, pretrained(path))
        assert count == 2 and "2 of the 2 videos" in line and "training set of runs/x" in line
    (tmp_path / "list.csv").write_text("v/b.mp4 1\n")
    assert told(videos, pretrained(tmp_path / "list.csv"))[0] == 1


def test_other_files_are_not_and_a_set_that_is_gone_is_said(videos, tmp_path):
    touch(tmp_path / "w/a.mp4")
    assert told(videos, pretrained(tmp_path / "w")) == (0, None)
    assert told(videos, {}) == (0, None)
    count, line = told(videos, pretrained(tmp_path / "gone"))
    assert count == 0 and "cannot be listed any more" in line


def test_every_set_of_a_mixture_and_of_the_runs_before_is_looked_at(videos, tmp_path):
    mixture = {"verb": "pretrain", "data": {"sources": [{"path": "x"}, {"path": str(videos)}]}}
    first = tmp_path / "runs/first"
    first.mkdir(parents=True)
    (first / "config.yaml").write_text(yaml.safe_dump(mixture))
    assert run_settings(first / "model") == mixture == run_settings(first / "model/model.json")
    after = {"verb": "train", "episodes": "y", "encoder": str(first), "reading": {"camera": "top"}}
    assert list(training_sets(after)) == [
        ("x", {"format": "auto"}), (str(videos), {"format": "auto"}),
        ("y", {"format": "auto", "camera": "top"}),
    ]  # fmt: skip
    several = {"verb": "train", "episodes": ["y", "z"], "reading": None}
    assert [path for path, _ in training_sets(several)] == ["y", "z"]
    probed = {"verb": "probe", "data": {"path": "labelled"}, "model": str(first)}
    assert [path for path, _ in training_sets(probed)] == ["x", str(videos)]
