"""Several folders of episodes are learned from as if they were one."""

from dataclasses import replace

import pytest
import torch

from tests.worldmodel.datasets.layouts import write_act
from tests.worldmodel.toys import small
from worldmodel.datasets import open_episodes
from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.episodes.joined import join, named, read_episodes
from worldmodel.episodes.windows import EpisodeDataset, load_arrays
from worldmodel.errors import ConfigError, EpisodeError
from worldmodel.training.begin import begin

INFO = FolderInfo("test/World-v0", 10.0, (-1.0, -1.0), (1.0, 1.0))


@pytest.fixture
def write(tmp_path, make_episode):
    def write(name, numbers, *, info=INFO, held_out=(), size=16, seeds=True):
        """A folder of the made episodes with these numbers, numbered there from 0."""
        with EpisodeWriter(tmp_path / name, replace(info, held_out=held_out)) as writer:
            for index, number in enumerate(numbers):
                episode = make_episode(5 + number % 4, number=number, size=size)
                actions = episode.actions[:, : len(info.action_low)]
                metadata = episode.metadata if seeds else {}
                writer.write(replace(episode, actions=actions, metadata=metadata), index)
        return tmp_path / name

    return write


def test_the_same_data_in_one_folder_and_in_two_are_the_same_arrays(write):
    one = write("one", range(20), held_out=(9, 19))
    two = [write("a", range(10), held_out=(9,)), write("b", range(10, 20), held_out=(9,))]
    first, second = (load_arrays(open_episodes(where).training) for where in (one, two))
    assert len(first) == len(second) == 18
    for name in ("frames", "times", "offsets", "actions"):
        assert torch.equal(getattr(first, name), getattr(second, name)), name
    assert first.info.keys() == second.info.keys() == {"position"}
    assert torch.equal(first.info["position"], second.info["position"])
    models = [begin(small(), arrays, pretrained=None) for arrays in (first, second)]
    assert torch.equal(models[0].action_mean, models[1].action_mean)
    assert torch.equal(models[0].action_std, models[1].action_std)
    batches = [EpisodeDataset(a).sample(3, 32, seed=1, length=2) for a in (first, second)]
    assert torch.equal(batches[0].frames, batches[1].frames)
    assert torch.equal(batches[0].starts, batches[1].starts)


def test_each_folder_holds_out_its_own(write):
    a, b = write("a", range(5), held_out=(1, 7)), write("b", range(6), held_out=(0, 4))
    both = read_episodes([a, b])
    assert both.held_out.paths == [a / "000001.safetensors"] + [
        b / f"{number:06d}.safetensors" for number in (0, 4)
    ]
    assert both.training.paths == Episodes(a).training.paths + Episodes(b).training.paths
    # Number 7 is one that the first folder might have, so the second goes on from 8.
    assert both.numbers == [0, 1, 2, 3, 4, 8, 9, 10, 11, 12, 13]
    assert both.info.held_out == (1, 7, 8, 12) and both.info.count == len(both) == 11
    assert both.info.seeds == Episodes(a).info.seeds + Episodes(b).info.seeds
    assert both.name == f"{a}, {b}" == named([a, b])
    assert both[6:8].paths == Episodes(b).paths[1:3]


def test_one_folder_in_a_list_is_that_folder(write):
    a = write("a", range(3), held_out=(1,))
    assert read_episodes([a]).info == Episodes(a).info
    assert open_episodes([str(a)]).training.paths == Episodes(a).training.paths


@pytest.mark.parametrize(
    ("changed", "size", "words"),
    [
        ({"action_low": (-1.0,), "action_high": (1.0,)}, 16, "numbers of an action are 2 .* and 1"),
        ({"action_high": (1.0, 2.0)}, 16, r"bounds of actions are .* and \[-1.0, -1.0\] to"),
        ({"action_choices": (3, 3)}, 16, r"alternatives of an action are \[\] .* and \[3, 3\]"),
        ({"fps": 20.0}, 16, "frames a second are 10 in the one and 20"),
        ({}, 8, "frames are 16 x 16 pixels in the one and 8 x 8 pixels"),
    ],
)
def test_folders_that_differ_are_named(write, changed, size, words):
    a, b = write("a", range(3)), write("b", range(3), info=replace(INFO, **changed), size=size)
    with pytest.raises(EpisodeError, match=f"{a} and {b} do not go together: {words}") as caught:
        open_episodes([a, b])
    assert "\n" not in str(caught.value)


def test_what_was_converted_has_the_bounds_that_its_actions_happen_to_have(write):
    wide = replace(INFO, action_low=(-2.0, 0.0))
    a, b = write("a", range(3), seeds=False), write("b", range(3), info=wide, seeds=False)
    info = read_episodes([a, b]).info
    assert (info.action_low, info.action_high) == ((-2.0, -1.0), (1.0, 1.0)) and info.seeds == ()


def test_a_folder_without_actions_goes_with_one_that_has_them(write):
    a, b = write("a", range(2), info=replace(INFO, action_low=(), action_high=())), write("b", [2])
    both = join([Episodes(a), Episodes(b)])
    assert both.info.action_low == INFO.action_low and len(both) == 3


def test_worlds_of_several_names_keep_both(write):
    a, b = write("a", range(2)), write("b", [2], info=replace(INFO, env_id="test/Other-v0"))
    assert read_episodes([a, b, write("c", [3])]).info.env_id == "test/World-v0 + test/Other-v0"


def test_lists_that_are_none(write, tmp_path):
    a = write("a", range(3))
    with pytest.raises(ConfigError, match=f"{a}: is named twice"):
        read_episodes([a, tmp_path / "a/../a"])
    for wrong in ([], 5, [a, 3]):
        with pytest.raises(ConfigError, match=r"episodes=.*: say a folder, or several as \[a,b\]"):
            open_episodes(wrong)
    with pytest.raises(EpisodeError, match="nowhere: no such folder"):
        open_episodes([a, tmp_path / "nowhere"])
    (tmp_path / "transfer_cube").mkdir()
    write_act(tmp_path / "transfer_cube", compress=True)
    with pytest.raises(ConfigError, match="transfer_cube.* is in another format.*data convert"):
        open_episodes([a, tmp_path / "transfer_cube"])
