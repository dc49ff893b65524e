"""What is written comes back, and what is bad is named in one line."""

import json
import os
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from worldmodel.episodes.episode import Episode, FolderInfo, read_episode, write_episode
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.errors import EpisodeError


def test_an_episode_comes_back_as_it_was_written(tmp_path, make_episode):
    episode = make_episode(7)
    back = read_episode(write_episode(episode, tmp_path / "000000.safetensors"))
    assert torch.equal(back.frames, episode.frames)
    assert torch.equal(back.times, episode.times)
    assert torch.equal(back.actions, episode.actions)
    assert back.info.keys() == episode.info.keys()
    assert all(torch.equal(back.info[name], episode.info[name]) for name in back.info)
    assert back.metadata == {"seed": "100", "task": "any"}
    assert back.source == str(tmp_path / "000000.safetensors")


def test_without_actions_it_is_a_video_only(tmp_path, make_episode):
    path = write_episode(replace(make_episode(4), actions=None), tmp_path / "0.safetensors")
    assert read_episode(path).actions is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"actions": torch.zeros(5, 2)}, "9 frames need 8 actions"),
        ({"actions": torch.zeros(8, 2, dtype=torch.float64)}, "must be float32"),
        ({"actions": torch.full((8, 2), float("nan"))}, "8 actions are NaN or infinite.*step .0."),
        ({"times": torch.zeros(9, dtype=torch.float64)}, "increase"),
        ({"times": torch.arange(8, dtype=torch.float64)}, "9 frames need as many times"),
        ({"times": torch.arange(9.0)}, "float64"),
        ({"frames": torch.zeros(9, 8, 8, 3)}, "uint8"),
        ({"frames": torch.zeros(0, 8, 8, 3, dtype=torch.uint8)}, "not empty"),
        ({"info": {"position": torch.zeros(3, 2)}}, "'position' must have an entry for each of 9"),
    ],
)
def test_an_episode_checks_itself(make_episode, change, message):
    with pytest.raises(EpisodeError, match=message):
        replace(make_episode(9), **change)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda t: t["actions"].__setitem__((3, 0), float("nan")), "1 actions are NaN.*step .3."),
        (lambda t: t.update(actions=t["actions"][:-2]), "9 frames need 8 actions"),
        (lambda t: t.pop("times"), "has no times"),
    ],
)
def test_a_spoilt_file_is_named(tmp_path, make_episode, spoil, message):
    path = write_episode(make_episode(9), tmp_path / "000004.safetensors")
    tensors = load_file(path)
    spoil(tensors)
    save_file(tensors, path, {"format_version": "1"})
    with pytest.raises(EpisodeError, match=f"000004.safetensors: .*{message}.*collect") as caught:
        read_episode(path)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_episode(tmp_path, make_episode):
    whole = write_episode(make_episode(9), tmp_path / "whole.safetensors")
    cases = {
        "truncated": whole.read_bytes()[:700],
        "header": whole.read_bytes()[:5],
        "empty": b"",
        "text": b"hello\n" * 300,
    }
    for name, content in cases.items():
        (tmp_path / f"{name}.safetensors").write_bytes(content)
    (tmp_path / "folder.safetensors").mkdir()
    os.mkfifo(tmp_path / "pipe.safetensors")
    for name in (*cases, "folder", "pipe", "missing"):
        with pytest.raises(EpisodeError, match=re.escape(f"{name}.safetensors: ")) as caught:
            read_episode(tmp_path / f"{name}.safetensors")
        assert "\n" not in str(caught.value) and ";" in str(caught.value)


def test_another_format_version_is_refused(tmp_path, make_episode):
    path = write_episode(make_episode(3), tmp_path / "0.safetensors")
    save_file(load_file(path), path, {"format_version": "2"})
    with pytest.raises(EpisodeError, match="format 2, this version reads 1"):
        read_episode(path)


def test_a_failed_write_leaves_what_was_there(tmp_path, make_episode, monkeypatch):
    path = write_episode(make_episode(3), tmp_path / "000000.safetensors")
    before = path.read_bytes()

    def fail(tensors, name, header):
        Path(name).write_bytes(b"half")
        raise OSError("disk full")

    monkeypatch.setattr("worldmodel.storage.tensors.save_file", fail)
    with pytest.raises(OSError, match="disk full"):
        write_episode(make_episode(5), path)
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["000000.safetensors"]


def test_a_folder_is_a_sequence(folder):
    episodes = Episodes(folder)
    assert len(episodes) == 5
    assert episodes.lengths == [5, 6, 7, 8, 9] == [len(episode) for episode in episodes]
    assert episodes.info == FolderInfo(
        "test/World-v0", 10.0, (-1, -1), (1, 1), count=5, seeds=(100, 101, 102, 103, 104)
    )
    assert episodes.labelled.lengths == [5, 7, 9]
    assert episodes.unlabelled.lengths == [6, 8]
    assert episodes[1:3].lengths == [6, 7]
    assert isinstance(episodes[-1], Episode) and len(episodes[-1]) == 9
    assert episodes.labelled[-1:].paths == [folder / "000004.safetensors"]


def test_an_interrupted_collection_is_known_and_goes_on(tmp_path, make_episode):
    place = tmp_path / "episodes"
    info = FolderInfo("test/World-v0", 10.0, (), ())
    with pytest.raises(KeyboardInterrupt), EpisodeWriter(place, info) as writer:
        writer.write(make_episode(3), 0)
        writer.write(make_episode(3), 2)
        raise KeyboardInterrupt
    with pytest.raises(EpisodeError, match="interrupted.*collect"):
        Episodes(place)
    with EpisodeWriter(place, info) as writer:
        assert writer.done == {0, 2}
        writer.write(make_episode(4), 1)
    assert Episodes(place).lengths == [3, 4, 3]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "not an episode index"),
        ("[1, 2]", "not an episode index"),
        (json.dumps({"format_version": 1, "env_id": "x"}), "KeyError: 'fps'"),
        (json.dumps({"format_version": 7}), "format 7"),
        ("", "empty"),
    ],
)
def test_a_bad_index_is_named(folder, content, message):
    (folder / "episodes.json").write_text(content)
    with pytest.raises(EpisodeError, match=f"episodes.json: .*{message}"):
        Episodes(folder)


def test_a_lost_episode_is_noticed(folder):
    (folder / "000002.safetensors").unlink()
    with pytest.raises(EpisodeError, match="holds 4 episode files, episodes.json names 5"):
        Episodes(folder)


def test_no_folder(tmp_path):
    with pytest.raises(EpisodeError, match="nowhere: no such folder of episodes"):
        Episodes(tmp_path / "nowhere")


def test_numpy_of_any_kind_becomes_the_stated_types():
    frames = np.zeros((3, 4, 4, 3), np.uint8)[:, ::-1]
    episode = Episode.from_numpy(frames, np.ones((2, 1), np.float64), fps=4.0)
    assert episode.actions.dtype == torch.float32
    assert episode.times.tolist() == [0.0, 0.25, 0.5]


def test_the_same_episode_is_the_same_bytes(tmp_path, make_episode):
    """safetensors alone orders the strings of its header at random."""
    episode = replace(make_episode(), metadata={k: f"{k} é\t" for k in "task seed a b c".split()})
    written = {write_episode(episode, tmp_path / f"{i}.safetensors").read_bytes() for i in range(9)}
    assert len(written) == 1
    assert read_episode(tmp_path / "0.safetensors").metadata == episode.metadata
