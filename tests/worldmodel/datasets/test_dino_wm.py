"""DINO-WM's folders: what they become, and what is wrong with them in one line."""

import os
import pickle

import numpy as np
import pytest
import torch

from tests.worldmodel.datasets.layouts import (
    LENGTHS,
    actions_of,
    dino_wm_tables,
    frames_of,
    write_mp4,
)
from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError
from worldmodel.storage.pickles import read_list
from worldmodel.video.decoding import Decoding


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


def refused(path, message, error=EpisodeError, **options):
    with pytest.raises(error, match=message) as caught:
        open_episodes(path, **options)[1]
    assert "\n" not in str(caught.value)


def test_tables_become_actions_and_infos(make_layout):
    path = make_layout("dino_wm_videos").path
    store = open_episodes(path)
    assert store.lengths == list(LENGTHS) and store.info.env_id == "dino_wm/train"
    assert set(store[0].info) == {"abs_actions", "states", "velocities"}
    assert store[2].info["states"][:, 1].tolist() == [1.5 + i for i in range(LENGTHS[2])]
    other = open_episodes(path, action="velocities", fps=5)
    assert other[0].actions.abs().sum() == 0 and other.info.fps == 5
    assert np.allclose(other[0].times, np.arange(LENGTHS[0]) / 5)


def test_states_of_particles_are_rows(make_layout):
    path = make_layout("dino_wm_tensors").path
    torch.save(torch.arange(3 * 8 * 6 * 4).reshape(3, 8, 6, 4).float(), path / "states.pth")
    states = open_episodes(path)[1].info["states"]
    assert states.shape == (8, 24) and states[0, 0] == 192


def test_frames_in_a_folder_for_each_and_no_list_of_lengths(tmp_path):
    """As the rope comes."""
    frames = torch.from_numpy(np.stack([frames_of(n, 8) for n in range(2)]))
    torch.save(torch.zeros(2, 8, 5, 4), tmp_path / "states.pth")
    torch.save(torch.from_numpy(np.stack([actions_of(n, 8) for n in range(2)])),
               tmp_path / "actions.pth")  # fmt: skip
    for number in range(2):
        (tmp_path / f"{number:06d}").mkdir()
        torch.save(frames[number].clone(), tmp_path / f"{number:06d}" / "obses.pth")
    store = open_episodes(tmp_path)
    assert store.lengths == [8, 8] and torch.equal(store[1].frames, frames[1])


def test_splits_are_chosen_by_name(make_layout):
    path = make_layout("dino_wm_videos").path
    (path / "val" / "obses").mkdir(parents=True)
    dino_wm_tables(path / "val", "rel_actions")
    for number in range(3):
        frames = frames_of(number + 1, 8)
        write_mp4(path / "val" / "obses" / f"episode_{number:03d}.mp4", frames)
    refused(path, "has several, name one with split=: train, val", ConfigError)
    refused(path, "has no split 'test': train, val", ConfigError, split="test")
    refused(path / "val", "has no split 'val': none", ConfigError, split="val")
    assert open_episodes(path, split="val").lengths == [8, 8, 8]
    assert open_episodes(path, split="train").lengths == list(LENGTHS)


def test_nothing_is_executed(make_layout, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = make_layout("dino_wm_videos").path / "train"
    (path / "seq_lengths.pkl").write_bytes(pickle.dumps(Payload()))
    refused(path, "seq_lengths.pkl: is a pickle of something else than a list of whole numbers; it "
                  "was not executed; save such a list of lengths with torch.save, as "
                  "seq_lengths.pth")  # fmt: skip
    (path / "seq_lengths.pkl").unlink()
    torch.save(Payload(), path / "rel_actions.pth")
    refused(path, "rel_actions.pth: holds more than tensors and plain values; it was not executed")
    tensors = make_layout("dino_wm_tensors").path
    torch.save(Payload(), tensors / "obses" / "episode_001.pth")
    refused(tensors, "episode_001.pth: holds more than tensors and plain values")
    torch.save(Payload(), tensors / "states.pth")
    refused(tensors, "states.pth: holds more than tensors and plain values")
    assert not (tmp_path / "executed").exists()


@pytest.mark.parametrize(
    ("lengths", "message"),
    [
        ([5, 8], "no list of 3 whole numbers from 1 to 8"),
        ([5, 9, 6], "no list of 3 whole numbers from 1 to 8"),
        ([5, 0, 6], "no list of 3 whole numbers"),
        ([5, -8, 6], "no list of 3 whole numbers"),
        ([5, 8.0, 6], "something else than a list of whole numbers"),
        ([True, 8, 6], "something else than a list of whole numbers"),
        ("abc", "something else than a list of whole numbers"),
        (np.array([5, 8, 6]), "something else than a list of whole numbers"),
        ([5, 8, [6]], "holds 2 lists"),
        (6, "holds 0 lists"),
    ],
)
def test_lengths_that_do_not_fit(make_layout, lengths, message):
    path = make_layout("dino_wm_videos").path / "train"
    (path / "seq_lengths.pkl").write_bytes(pickle.dumps(lengths))
    refused(path, f"seq_lengths.pkl: .*{message}")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (torch.zeros(3, 7, 2), r"actions.pth: has \(3, 7\) episodes and rows, states.pth \(3, 8\)"),
        (torch.zeros(24), "actions.pth is no table of numbers"),
        ({"a": 1}, "actions.pth is no table of numbers"),
        (torch.zeros(1).expand(3, 8, 10**8), "actions.pth is no table of numbers"),
        (torch.zeros(3, 8, 2, dtype=torch.complex64), "actions.pth is no table of numbers"),
        (torch.full((3, 8, 2), torch.nan), "episode 1: 7 actions are NaN"),
    ],
)
def test_actions_that_do_not_fit(make_layout, table, message):
    path = make_layout("dino_wm_tensors").path
    torch.save(table, path / "actions.pth")
    refused(path, message)


def test_tables_that_are_something_else_are_left_alone(make_layout):
    path = make_layout("dino_wm_tensors").path
    torch.save({"mean": torch.zeros(2)}, path / "stats.pth")
    torch.save(torch.zeros(2, 2), path / "camera.pth")
    assert set(open_episodes(path)[0].info) == {"states"}
    (path / "velocities.pth").write_bytes(b"PK\x03\x04 cut")
    refused(path, "velocities.pth: not a complete PyTorch file")


def test_frames_that_are_missing_or_too_few(make_layout):
    path = make_layout("dino_wm_videos").path / "train"
    write_mp4(path / "obses" / "episode_001.mp4", frames_of(1, 4))
    refused(path, "episode 1: .*episode_001.mp4 has 4 frames, its list of lengths says 8")
    (path / "obses" / "episode_001.mp4").unlink()
    refused(path, "has no frames of episode 1: neither obses/episode_001.mp4 nor")
    tensors = make_layout("dino_wm_tensors").path
    file = tensors / "obses" / "episode_001.pth"
    torch.save(torch.zeros(7, 20, 24, 3, dtype=torch.uint8), file)
    refused(tensors, "episode_001.pth has 7 frames, its list of lengths says 8")
    torch.save(torch.zeros(8, 20, 24, 3), file)
    refused(tensors, "episode_001.pth: holds no frames t h w c of uint8")
    file.write_bytes(file.read_bytes()[:900])
    refused(tensors, "episode_001.pth: not a complete PyTorch file")


def test_longer_files_are_cut_at_the_end_of_the_episode(make_layout):
    path = make_layout("dino_wm_videos").path / "train"
    write_mp4(path / "obses" / "episode_000.mp4", frames_of(0, 12))
    source = open_catalogue(path)[0].open(Decoding())
    assert source.num_frames == len(open_episodes(path)[0]) == LENGTHS[0]
    source.close()


def test_rows_have_their_frames_whatever_the_clock_of_the_video(make_layout, make_video):
    """The tables know no times: row k has frame k."""
    path = make_layout("dino_wm_videos").path
    file = path / "train" / "obses" / "episode_001.mp4"
    for times in ([0, 90, 330, 340, 500, 510, 520, 900], [n * 137 for n in range(11)]):
        make_video(file, len(times), milliseconds=times)
        episode, item = open_episodes(path)[1], open_catalogue(path)[1]
        wanted = [10 + 5 * n for n in range(8)]
        assert np.abs(episode.frames[:, 9, 9, 0].numpy() - wanted).max() <= 2
        source = item.open(Decoding())
        seen = source.read(np.arange(*item.part(source.times(np.arange(8)))))
        assert torch.equal(seen.movedim(1, -1), episode.frames)
        assert np.allclose(source.times(np.arange(8)), np.arange(8) / 10)
        source.close()


def test_what_is_there_twice_is_said(make_layout):
    path = make_layout("dino_wm_videos").path / "train"
    torch.save(torch.zeros(8, 20, 24, 3, dtype=torch.uint8), path / "obses" / "episode_001.pth")
    with pytest.warns(UserWarning, match="obses/episode_001.mp4 is read, and episode_001.pth"):
        assert open_episodes(path)[1].frames.max() > 90
    torch.save(torch.tensor([5, 6, 6]), path / "seq_lengths.pth")
    with pytest.warns(UserWarning, match="seq_lengths.pth is read, and seq_lengths.pkl beside"):
        assert open_episodes(path).lengths == [5, 6, 6]


def test_a_folder_without_states_is_named(tmp_path):
    refused(tmp_path, "holds no states.pth with frames below obses/", WorldModelError,
            format="dino_wm")  # fmt: skip


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickled_list_is_read_by_looking_at_it(tmp_path, protocol):
    lengths = np.random.default_rng(0).integers(-(2**40), 2**40, 3000).tolist()
    lengths += [0, 1, 255, 256, 65535, 65536, 2**31 - 1, 2**31, -1]
    path = tmp_path / "list.pkl"
    path.write_bytes(pickle.dumps(lengths, protocol=protocol))
    assert read_list(path, "list", EpisodeError) == lengths
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(EpisodeError, match="list.pkl: not a complete pickle"):
        read_list(path, "list", EpisodeError)
