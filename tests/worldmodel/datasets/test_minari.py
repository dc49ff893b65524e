"""Minari's data sets: what they become, and what is wrong with them in one line."""

import json

import gymnasium
import h5py
import numpy as np
import pytest
import torch
from gymnasium import spaces

from tests.worldmodel.datasets.layouts import LENGTHS, jpeg, minari_about
from worldmodel.datasets import find_format, open_catalogue, open_episodes
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError


def refused(path, message, error=EpisodeError, **options):
    with pytest.raises(error, match=message) as caught:
        open_episodes(path, **options)[1]
    assert "\n" not in str(caught.value)


def describe(path, **about):
    (path / "data/metadata.json").write_text(json.dumps(minari_about(**about)))


def edit(path, episodes=range(3), **arrays):
    """Other datasets in episodes; None removes one."""
    with h5py.File(path / "data/main_data.hdf5", "a") as file:
        for number in episodes:
            for name, values in arrays.items():
                key = f"episode_{number}/{name.replace('__', '/')}"
                if key in file:
                    del file[key]
                if values is not None:
                    file[key] = values(LENGTHS[number]) if callable(values) else values


def test_observations_and_what_steps_led_to_become_infos(make_layout):
    path = make_layout("minari").path
    store = open_episodes(path, fps=20)
    assert store.info.env_id == "minari/test/World-v0" and store.info.fps == 20
    info = store[1].info
    assert set(info) == {"state", "rewards", "terminations", "goal_distance"}
    assert info["state"][:, 0].tolist() == [i + 0.5 for i in range(8)]
    # The first step led to the second frame.
    assert info["rewards"][0].isnan() and info["rewards"][1:].tolist() == list(range(1, 8))
    assert info["terminations"].tolist() == [False] * 7 + [True]
    assert info["terminations"].dtype == torch.bool


def test_no_action_is_left_out(make_layout):
    """Actions lie between frames: no one leads out of the episode."""
    path = make_layout("minari").path
    edit(path, actions=lambda length: np.arange(length - 1, dtype=np.float32))
    assert open_episodes(path)[0].actions.flatten().tolist() == [0, 1, 2, 3]
    assert open_episodes(path).info.action_high == (6.0,)
    edit(path, actions=lambda length: np.ones((length - 1, 2, 3)))  # a Box of two axes
    assert open_episodes(path)[0].actions.shape == (4, 6)


def test_older_versions_describe_themselves_in_attributes(make_layout):
    path = make_layout("minari_jpeg").path
    with h5py.File(path / "main_data.hdf5", "a") as file:
        file.attrs["action_space"] = json.dumps({"type": "MultiDiscrete", "nvec": [9, 3]})
        file.attrs["env_spec"] = json.dumps({"id": "Old-v0"})
    assert open_episodes(path).info.action_choices == (9, 3)
    assert open_episodes(path.parent).info.env_id == "minari/Old-v0"


@pytest.mark.parametrize(
    ("space", "actions", "choices", "low", "high"),
    [
        ({"type": "Discrete", "n": 4, "start": 2}, [2, 5], (4,), (2,), (5,)),
        ({"type": "Discrete", "n": 9}, [0, 8], (9,), (0,), (8,)),
        ({"type": "MultiDiscrete", "nvec": [3, 5], "start": [1, 0]}, [[1, 0], [3, 4]], (3, 5),
         (1, 0), (3, 4)),
        ({"type": "MultiDiscrete", "nvec": [[3], [5]]}, [[[1], [0]]], (3, 5), (0, 0), (2, 4)),
        ({"type": "MultiBinary", "n": 2}, [[0, 1]], (2, 2), (0, 0), (1, 1)),
        ({"type": "MultiBinary", "n": [1, 2]}, [[[0, 1]]], (2, 2), (0, 0), (1, 1)),
    ],
)  # fmt: skip
def test_choices_are_told_with_their_alternatives(make_layout, space, actions, choices, low, high):
    path = make_layout("minari").path
    describe(path, action_space=json.dumps(space))
    edit(path, actions=lambda length: np.resize(actions, (length - 1, *np.shape(actions)[1:])))
    store = open_episodes(path)
    assert store.info.action_choices == choices
    assert (store.info.action_low, store.info.action_high) == (low, high)
    assert store[0].actions.shape == (4, len(choices)) and store[0].actions[0].tolist() == list(
        np.ravel(actions[0])
    )
    learned = load_arrays(store.labelled)
    assert learned.actions[0].shape[-1] == sum(choices)


def test_nested_actions_ask_for_a_choice(make_layout):
    path = make_layout("minari").path
    arm, grip = {"type": "Box", "shape": [2]}, {"type": "Discrete", "n": 2, "start": 0}
    space = {"type": "Dict", "subspaces": {"arm": arm, "hand": {"type": "Tuple",
             "subspaces": [grip]}}}  # fmt: skip
    describe(path, action_space=json.dumps(space))
    edit(path, actions=None)
    edit(path, actions__arm=lambda length: np.ones((length - 1, 2)),
         actions__hand___index_0=lambda length: np.ones(length - 1, int))  # fmt: skip
    refused(path, "has several, name one with action=: actions/arm, actions/hand/_index_0",
            ConfigError)  # fmt: skip
    assert open_episodes(path, action="arm").info.action_choices == ()
    store = open_episodes(path, action="_index_0")
    assert store.info.action_choices == (2,) and "actions_arm" in store[0].info


@pytest.mark.parametrize("value", [4, -1, 0.5])
def test_actions_that_are_no_alternatives(make_layout, value):
    path = make_layout("minari").path
    describe(path, action_space=json.dumps({"type": "Discrete", "n": 4}))
    edit(path, actions=lambda length: np.full(length - 1, value))
    refused(path, f"::episode_1: actions are choices among .4.*; got ..{value}")
    edit(path, actions=lambda length: np.ones((length - 1, 3), int))
    refused(path, r"::episode_1: actions are choices among \[4\].*shape \(7, 3\)")


@pytest.mark.parametrize(
    "space",
    [
        "{", "[]", "3", '{"type": "Discrete"}', '{"type": "Discrete", "n": 0}',
        '{"type": "Discrete", "n": 1e9}', '{"type": "Discrete", "n": 1000000000}',
        '{"type": "Discrete", "n": true}', '{"type": "MultiDiscrete", "nvec": [2, "a"]}',
        '{"type": "MultiDiscrete", "nvec": [2, 2], "start": [0]}', "[" * 9000,
        '{"type": "MultiBinary", "n": 1000000000000}', '{"type": "MultiDiscrete", "nvec": []}',
    ],
)  # fmt: skip
def test_spaces_that_are_none(make_layout, space):
    path = make_layout("minari").path
    describe(path, action_space=space)
    refused(path, "main_data.hdf5: its action_space is no space of Minari .*; fetch")


def test_whole_numbers_without_a_space_are_said_to_be_quantities(make_layout):
    path = make_layout("minari").path
    (path / "data/metadata.json").unlink()
    edit(path, actions=lambda length: np.ones(length - 1, np.int64))
    with pytest.warns(UserWarning, match="has no action_space.; whole numbers are taken for"):
        assert open_episodes(path).info.action_choices == ()


def test_sets_without_images_say_what_to_do(make_layout):
    """As most of them are."""
    path = make_layout("minari").path
    edit(path, observations__image=None)
    refused(path, r"episode_0: has no camera: no observation is an image h w 3 of uint8 "
                  r"\(observations/state \(1,\)\), as in most Minari data sets; .*worldmodel "
                  r"collect env=test/World-v0", ConfigError)  # fmt: skip
    with pytest.raises(ConfigError, match="worldmodel collect env="):
        open_catalogue(path)
    describe(path, env_spec="{")
    edit(path, observations=None)
    edit(path, observations=lambda length: np.zeros((length, 128), np.uint8))
    refused(path, r"no observation is an image .*\(128,\).*collect env=ID", ConfigError)


def test_several_images_ask_for_a_choice(make_layout):
    path = make_layout("minari").path
    edit(path, observations__wrist=lambda length: np.ones((length, 20, 24, 3), np.uint8))
    refused(path, "several, name one with camera=: observations/image, observations/wrist",
            ConfigError)  # fmt: skip
    assert open_episodes(path, camera="wrist")[0].frames.max() == 1


@pytest.mark.parametrize("stored", ["arrow", "parquet"])
def test_other_storage_is_named(tmp_path, stored):
    (tmp_path / "data/0").mkdir(parents=True)
    describe(tmp_path, data_format=stored)
    assert find_format(tmp_path).name == "minari"
    refused(tmp_path, f"stored as {stored}, and only hdf5 is read; create it again with "
                      f"data_format='hdf5'")  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"actions": np.zeros((8, 2))}, "episode_1: has 8 observations and 8 actions, not one"),
        ({"actions": None}, "episode_1: has no action: fetch"),
        ({"actions": np.full((7, 2), np.inf)}, "episode_1: 7 actions are NaN or infinite"),
        ({"actions": h5py.SoftLink("/episode_0/actions")}, "'episode_1/actions' is a link"),
        ({"observations__image": h5py.ExternalLink("x.h5", "/a")}, "image' is a link; copy"),
        ({"observations__image": np.zeros((8, 9, 9, 3), np.uint8)}, r"frames are \(9, 9\), those"),
        ({"infos__goal": h5py.SoftLink("/")}, "infos/goal' is a link"),
    ],
)
def test_what_does_not_fit_is_named(make_layout, changes, message):
    path = make_layout("minari").path
    edit(path, [1], **changes)
    refused(path, message, WorldModelError)


def test_a_group_that_holds_itself_ends(make_layout):
    path = make_layout("minari").path
    with h5py.File(path / "data/main_data.hdf5", "a") as file:
        file["episode_1/infos/again"] = file["episode_1/infos"]  # a hard link
    assert len(open_episodes(path)[1]) == 8


def test_descriptions_and_files_that_are_damaged(make_layout):
    path = make_layout("minari").path
    about, main = path / "data/metadata.json", path / "data/main_data.hdf5"
    for text in ("{", "[" * 100_000, '"a'):
        about.write_text(text)
        refused(path, "metadata.json: is no JSON")
    about.write_text("[1]")
    refused(path, "metadata.json: describes no data set")
    about.unlink()
    main.write_bytes(main.read_bytes()[:900])
    refused(path, "main_data.hdf5: is no valid HDF5 file")
    with h5py.File(main, "w"):
        pass
    refused(path, "main_data.hdf5: holds no episode; fetch")
    refused(path.parent, "looks like Minari data sets, .*name the folder above its data/")
    refused(path.parent, "holds no data/main_data.hdf5; name", format="minari")


def test_images_that_are_damaged_or_of_another_size(make_layout):
    path = make_layout("minari_jpeg").path.parent

    def spoil(data):
        with h5py.File(path / "data/main_data.hdf5", "a") as file:
            file["episode_1/observations"][3] = np.frombuffer(data, np.uint8)

    good = jpeg(np.zeros((20, 24, 3), np.uint8))
    spoil(good[:80])
    refused(path, "episode_1, frame 3: is not a complete image")
    assert len(open_episodes(path)[0]) == 5
    spoil(b"")
    refused(path, "episode_1, frame 3: is not a complete image")
    spoil(jpeg(np.zeros((8, 8, 3), np.uint8)))
    refused(path, r"episode_1, frame 3: is \(8, 8\), the data set's first \(20, 24\)")


@pytest.mark.filterwarnings("ignore")  # theirs
@pytest.mark.parametrize("coded", [True, False])
def test_what_minari_itself_writes(tmp_path, coded):
    storage = pytest.importorskip("minari.dataset.minari_storage").MinariStorage
    buffer = pytest.importorskip("minari.data_collector.episode_buffer").EpisodeBuffer
    image = spaces.Box(0, 255, (64, 48, 3), np.uint8)
    state = spaces.Box(-1, 1, (3,))
    kept = storage.new(
        tmp_path / "data",
        observation_space=spaces.Dict(image=image, state=state),
        action_space=spaces.Discrete(4, start=1),
        env_spec=gymnasium.spec("CartPole-v1"),
        data_format="hdf5",
        jpeg_encoding=coded,
    )
    written = []
    for number in range(12):
        frames = np.zeros((6, 64, 48, 3), np.uint8)
        frames[...] = [200, 20 * number, 10]
        written.append(frames)
        kept.update_episodes([
            buffer(
                seed=number,
                observations={"image": list(frames), "state": [state.sample() for _ in range(6)]},
                actions=[1, 2, 3, 4, 1],
                rewards=[0.0, 1.0, 2.0, 3.0, 4.0],
                terminations=[False] * 5,
                truncations=[False] * 4 + [True],
                infos={"deep": {"er": list(range(6))}},
            )
        ])  # fmt: skip
    store = open_episodes(tmp_path)
    assert store.lengths == [6] * 12 and store.info.env_id == "minari/CartPole-v1"
    assert store.info.action_choices == (4,) and store.info.action_low == (1.0,)
    for frames, episode in zip(written, store, strict=True):
        assert np.abs(episode.frames.numpy().astype(int) - frames).max() <= (3 if coded else 0)
        assert episode.actions.flatten().tolist() == [1, 2, 3, 4, 1]
        assert episode.info["rewards"][1:].tolist() == [0, 1, 2, 3, 4]
        assert episode.info["deep_er"].tolist() == list(range(6))
