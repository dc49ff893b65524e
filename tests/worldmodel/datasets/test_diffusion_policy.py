"""Diffusion Policy's stores: what they become, and what is wrong with them in one line."""

import json
import os
import pickle
import re
import shutil

import numcodecs
import numpy as np
import pytest
import torch
import zarr

from tests.worldmodel.datasets.layouts import LENGTHS, frames_of, write_zarr, zarr_arrays
from worldmodel.datasets import find_format, open_catalogue, open_episodes
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError
from worldmodel.video.decoding import Decoding

TOTAL = sum(LENGTHS)


def refused(path, message, error=EpisodeError, **options):
    with pytest.raises(error, match=message) as caught:
        open_episodes(path, **options)[1]
    assert "\n" not in str(caught.value)


def made(root, **arrays):
    write_zarr(root / "push.zarr", **zarr_arrays(**arrays))
    return root / "push.zarr"


def edit_json(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


@pytest.mark.parametrize("name", ["diffusion_policy", "diffusion_policy_zip"])
def test_arrays_become_infos(make_layout, name):
    store = open_episodes(make_layout(name).path, fps=5)
    assert store.info.env_id == "diffusion_policy/push" and store.info.fps == 5
    info = store[1].info
    assert {key: tuple(rows.shape) for key, rows in info.items()} == {
        "state": (8, 5), "keypoint": (8, 18),
    }  # fmt: skip
    assert info["state"][0, 0] == 5 * LENGTHS[0]


def test_rows_after_the_last_end_are_no_episode(tmp_path):
    """A buffer may be longer than what was written into it."""
    path = made(tmp_path, episode_ends_in_meta=np.cumsum(LENGTHS)[:2])
    assert open_episodes(path).lengths == list(LENGTHS[:2])


@pytest.mark.parametrize("kind", [np.uint8, np.float16, np.float32, np.float64])
def test_whole_numbers_are_pixels_whatever_their_type(tmp_path, kind):
    frames = np.concatenate([frames_of(n, length) for n, length in enumerate(LENGTHS)])
    frames[3, 0, 0], frames[3, 0, 1] = 0, 255
    path = made(tmp_path, img_in_data=frames.astype(kind))
    assert np.array_equal(open_episodes(path)[0].frames, frames[: LENGTHS[0]])
    source = open_catalogue(path)[0].open(Decoding())
    some = source.read(np.array([0, 1, 4, 4]))  # not in equal steps
    assert torch.equal(some.movedim(1, -1), torch.from_numpy(frames[[0, 1, 4, 4]]))


@pytest.mark.parametrize("value", [0.5, -1, 256, np.nan, np.inf, 1e30])
def test_other_floats_are_no_pixels(tmp_path, value):
    path = made(tmp_path)
    group = zarr.open_group(path, mode="r+")
    group["data/img"][6, 2, 3, 1] = value
    shown = re.escape(f"{value:g}")
    refused(path, f"episode 1, 'data/img': holds {shown}, and frames are whole numbers from 0 to")
    assert len(open_episodes(path)[0]) == 5


def test_several_cameras_ask_for_a_choice(tmp_path):
    path = made(tmp_path, wrist_in_data=np.zeros((TOTAL, 3, 8, 8), np.uint8))
    refused(path, "several, name one with camera=: data/img, data/wrist", ConfigError)
    assert open_episodes(path, camera="wrist")[0].frames.shape == (5, 8, 8, 3)
    assert set(open_episodes(path, camera="img")[0].info) == {"state", "keypoint"}


def test_long_rows_are_no_info(tmp_path):
    path = made(tmp_path, depth_in_data=np.zeros((TOTAL, 40, 40), np.float32))
    assert set(open_episodes(path)[0].info) == {"state", "keypoint"}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"episode_ends_in_meta": np.array([5, 5, 19])}, "episode 1 begins at row 5 and ends at 5"),
        ({"episode_ends_in_meta": np.array([5, 3])}, "episode 1 begins at row 5 and ends at 3"),
        ({"episode_ends_in_meta": np.array([-5, 3])}, "episode 0 begins at row 0 and ends at -5"),
        ({"episode_ends_in_meta": np.array([5, 20])}, "'data/.*' has 19 rows, the last .* at 20"),
        ({"episode_ends_in_meta": np.array([5.0])}, "'meta/episode_ends' is no list of at most"),
        ({"episode_ends_in_meta": np.array([[5]])}, "'meta/episode_ends' is no list of at most"),
        ({"action_in_data": np.zeros((7, 2))}, "'data/action' has 7 rows, the last episode ends"),
        ({"img_in_data": np.zeros((TOTAL, 8, 8, 5))}, "has no camera: frames are n h w 3, uint8"),
        ({"img_in_data": np.zeros((TOTAL, 8, 8, 3), int)}, "has no camera: frames are n h w 3"),
        ({"action_in_data": np.full((TOTAL, 2), np.nan)}, "episode 1: 7 actions are NaN"),
    ],
)
def test_what_does_not_fit_is_named(tmp_path, arrays, message):
    refused(made(tmp_path, **arrays), f"push.zarr.*{message}", WorldModelError)


def test_no_array_of_actions_is_video_alone(tmp_path):
    path = made(tmp_path)
    shutil.rmtree(path / "data/action")
    store = open_episodes(path)
    assert store.has_actions == [False] * 3 and store[0].actions is None


class Payload:
    def __reduce__(self):
        return os.mkdir, ("executed",)


@pytest.mark.parametrize("place", ["filters", "compressor"])
@pytest.mark.parametrize("key", ["data/img", "data/action", "meta/episode_ends"])
def test_nothing_is_executed(tmp_path, monkeypatch, place, key):
    monkeypatch.chdir(tmp_path)
    path = made(tmp_path)
    codec = numcodecs.Pickle().get_config()
    rest = {"filters": None, "compressor": None}
    edit_json(path / key / ".zarray", **rest | {place: [codec] if place == "filters" else codec})
    for chunk in (path / key).glob("[0-9]*"):
        chunk.write_bytes(pickle.dumps(Payload()))
    refused(path, "push.zarr: .*pickle")
    assert not (tmp_path / "executed").exists()


def test_only_codecs_of_numbers_are_read(tmp_path):
    path = made(tmp_path)
    edit_json(path / "data/state/.zarray", compressor={"id": "base64"})
    refused(path, "'data/state' is in the codec 'base64', and only codecs of numbers that run no "
                  "code are read; write it again with blosc")  # fmt: skip


def test_texts_are_left_alone(tmp_path):
    path = made(tmp_path)
    texts = np.array(["push the T"] * TOTAL, dtype=object)
    zarr.open_group(path, mode="r+").create_array("data/task", data=texts.astype("U10"))
    assert set(open_episodes(path)[0].info) == {"state", "keypoint"}


@pytest.mark.parametrize("what", ["file", "folder", "pipe"])
def test_links_in_a_store_are_refused(tmp_path, what):
    """A store of a stranger's reads nothing but itself."""
    path = made(tmp_path)
    if what == "folder":
        shutil.move(path / "data/state", tmp_path / "elsewhere")
        (path / "data/state").symlink_to(tmp_path / "elsewhere")
    else:
        chunk = next((path / "data/state").glob("0*"))
        chunk.unlink()
        if what == "file":
            (tmp_path / "secret").write_bytes(bytes(80))
            chunk.symlink_to(tmp_path / "secret")
        else:
            os.mkfifo(chunk)
    refused(path, "push.zarr/data/state.*: is a link, or no file; copy what it leads to")
    link = tmp_path / "link.zarr"  # the store itself may be one
    link.symlink_to(made(tmp_path / "other"))
    assert len(open_episodes(link)) == 3


@pytest.mark.parametrize(
    ("key", "changes", "message"),
    [
        ("data/img", {"compressor": {"id": "imagecodecs_jpegxl"}}, "imagecodecs_jpegxl"),
        ("data/img", {"chunks": [4, 20, 24, 10**9]}, "'data/img' has chunks of more than 4 GiB"),
        ("data/img", {"chunks": "a"}, "is no valid zarr store"),
        ("data/img", {"dtype": "<q9"}, "is no valid zarr store"),
        ("data/img", {"zarr_format": 7}, "is no valid zarr store"),
        ("meta/episode_ends", {"shape": [10**9]}, "'meta/episode_ends' is no list of at most"),
    ],
)
def test_descriptions_that_are_damaged(tmp_path, key, changes, message):
    path = made(tmp_path)
    edit_json(path / key / ".zarray", **changes)
    refused(path, f"push.zarr: .*{message}")


def test_an_episode_that_claims_too_much_is_refused_unread(tmp_path):
    path = made(tmp_path)
    edit_json(path / "data/img/.zarray", shape=[10**9, 2000, 2000, 3])
    group = zarr.open_group(path, mode="r+")
    group["meta/episode_ends"][:] = [5, 5 + 10**3, 10**4]
    for key in ("action", "state", "keypoint"):
        edit_json(path / "data" / key / ".zarray",
                  shape=[10**9, *group[f"data/{key}"].shape[1:]])  # fmt: skip
    refused(path, "push.zarr.*(limit|more than 4 GiB)", WorldModelError)


def test_chunks_and_zips_that_are_damaged(make_layout):
    path = make_layout("diffusion_policy").path
    for chunk in (path / "data/img").glob("[1-9]*"):
        chunk.write_bytes(chunk.read_bytes()[:30])
    refused(path, "push.zarr: is no valid zarr store of format 2 .*; fetch or write it again")
    whole = make_layout("diffusion_policy_zip").path
    for data in (b"PK\x03\x04 cut", b"words", whole.read_bytes()[:-40]):
        whole.write_bytes(data)
        refused(whole, "push.zarr.zip: is no valid zarr store of format 2")
    whole.write_bytes(b"")
    refused(whole, "push.zarr.zip: is empty")


def test_format_3_is_named(tmp_path):
    group = zarr.open_group(tmp_path / "new.zarr", mode="w", zarr_format=3)
    group.create_array("meta/episode_ends", data=np.array([3]))
    group.create_array("data/img", data=np.zeros((3, 8, 8, 3), np.uint8))
    assert find_format(tmp_path / "new.zarr").name == "diffusion_policy"
    refused(tmp_path / "new.zarr", "new.zarr: is no valid zarr store of format 2")


def test_a_folder_above_and_other_stores_say_what_to_name(tmp_path):
    path = made(tmp_path / "pusht")
    refused(path.parent, "looks like zarr stores, .*name one that holds data/ and meta/episode_e")
    refused(path.parent, "pusht: is no valid zarr store", format="diffusion_policy")
    shutil.rmtree(path / "meta/episode_ends")
    refused(path, "looks like zarr stores")
