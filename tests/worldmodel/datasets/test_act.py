"""ACT's and ALOHA's folders: what they become, and what is wrong with them in one line."""

import io

import h5py
import numpy as np
import pytest
from PIL import Image

from tests.worldmodel.datasets.layouts import LENGTHS, frames_of, write_act
from worldmodel.datasets import find_format, open_catalogue, open_episodes
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError


def refused(path, message, error=EpisodeError, **options):
    with pytest.raises(error, match=message) as caught:
        open_episodes(path, **options)[1]
    assert "\n" not in str(caught.value)


def test_states_become_infos(make_layout):
    path = make_layout("act").path
    store = open_episodes(path)
    assert store.info.env_id == "act/act" and store.info.fps == 50
    assert set(store[0].info) == {"qpos", "qvel"}
    assert store[1].info["qpos"][:, 1].tolist() == [i + 0.5 for i in range(LENGTHS[1])]
    by_position = open_episodes(path, action="qpos", fps=25)
    assert set(by_position[0].info) == {"action", "qvel"} and by_position.info.fps == 25


def test_episodes_come_in_the_order_of_their_numbers(tmp_path):
    write_act(tmp_path, compress=False)
    (tmp_path / "episode_2.hdf5").rename(tmp_path / "episode_10.hdf5")
    (tmp_path / "episode_0.hdf5").rename(tmp_path / "episode_9.h5")
    (tmp_path / "mirror_episode_1.hdf5").write_bytes(b"not looked at")
    names = [item.name.rpartition("/")[2] for item in open_catalogue(tmp_path)]
    assert names == ["episode_1.hdf5", "episode_9.h5", "episode_10.hdf5"]


def test_rows_of_another_robot_and_what_is_no_row(tmp_path):
    """Mobile ALOHA records efforts and a moving base, and the lengths of its JPEGs."""
    write_act(tmp_path, compress=True)
    for number, length in enumerate(LENGTHS):
        with h5py.File(tmp_path / f"episode_{number}.hdf5", "a") as file:
            file["observations/effort"] = np.ones((length, 14), np.float32)
            file["base_action"] = np.ones((length, 2), np.float32)
            file["compress_len"] = np.ones((length, length), np.float32)  # as of so many cameras
            file["observations/images_depth/top"] = np.zeros((length, 8, 8), np.uint16)
            file["language_raw"] = np.array([b"lift the cube"])
    assert set(open_episodes(tmp_path)[0].info) == {"qpos", "qvel", "effort", "base_action"}


@pytest.mark.parametrize("compress", [False, True])
def test_several_cameras_ask_for_a_choice(tmp_path, compress):
    write_act(tmp_path, compress=compress, cameras=("cam_high", "cam_low"))
    refused(tmp_path, r"episode_0.hdf5: has several, name one with camera=: .*high, .*low",
            ConfigError)  # fmt: skip
    refused(tmp_path, "no camera 'cam_hihg': choose from: .*cam_low", ConfigError,
            camera="cam_hihg")  # fmt: skip
    assert set(open_episodes(tmp_path, camera="cam_low")[0].info) == {"qpos", "qvel"}


def test_colours_are_those_that_the_recorder_saw(tmp_path):
    """It hands RGB to an encoder that takes it for BGR, so that viewers show red as blue."""
    red = np.zeros((20, 24, 3), np.uint8)
    red[..., 0] = 200

    def record(jpeg_of_red):
        write_act(tmp_path, compress=True)
        for number, length in enumerate(LENGTHS):
            with h5py.File(tmp_path / f"episode_{number}.hdf5", "a") as file:
                del file["observations/images/top"]
                file["observations/images/top"] = np.tile(jpeg_of_red, (length, 1))

    def encoded(pixels):
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        return np.frombuffer(file.getvalue() + bytes(9), np.uint8)

    record(encoded(red[..., ::-1]))  # what such an encoder makes of it
    assert np.abs(open_episodes(tmp_path)[0].frames[0].numpy().astype(int) - red).max() < 5
    record(encoded(red))
    seen = open_episodes(tmp_path, jpeg="rgb")[0].frames[0].numpy()
    assert np.abs(seen.astype(int) - red).max() < 5
    refused(tmp_path, "jpeg=RGB is unknown; .*rgb", ConfigError, jpeg="RGB")


def test_jpegs_of_opencv_have_the_colours_that_it_was_given(tmp_path):
    cv2 = pytest.importorskip("cv2")
    frames = frames_of(0, LENGTHS[0])
    frames[..., 0] = 220
    write_act(tmp_path, compress=True)
    with h5py.File(tmp_path / "episode_0.hdf5", "a") as file:
        coded = [cv2.imencode(".jpg", frame)[1].ravel() for frame in frames]
        longest = max(map(len, coded))
        del file["observations/images/top"]
        file["observations/images/top"] = [np.pad(c, (0, longest - len(c))) for c in coded]
    read = open_episodes(tmp_path)[0].frames.numpy().astype(int)
    assert np.abs(read - frames).max() < 5


@pytest.mark.parametrize("stored", ["text", "as long as they are"])
def test_jpegs_that_are_not_padded_with_bytes(make_layout, stored):
    """As recorders of other robots write them."""
    path = make_layout("act_jpeg").path
    before = open_episodes(path)[1].frames
    with h5py.File(path / "episode_1.hdf5", "a") as file:
        rows = file["observations/images/top"][()]
        del file["observations/images/top"]
        if stored == "text":
            file["observations/images/top"] = np.array([row.tobytes() for row in rows])
        else:
            kind = h5py.vlen_dtype(np.uint8)
            images = file.create_dataset("observations/images/top", (len(rows),), kind)
            for number, row in enumerate(rows):
                images[number] = row[: 1 + int(np.flatnonzero(row).max())]
    assert np.array_equal(open_episodes(path)[1].frames, before)


def edit(path, **arrays):
    """Other datasets in episode 1; None removes one."""
    with h5py.File(path / "episode_1.hdf5", "a") as file:
        for name, values in arrays.items():
            key = name.replace("__", "/")
            if key in file:
                del file[key]
            if values is not None:
                file[key] = values


TOP = "observations__images__top"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"action": np.zeros((7, 2))}, "episode_1.hdf5: '.*top' has 8 rows, 'action' 7; record"),
        ({TOP: np.zeros((0, 20, 24, 3), np.uint8)}, "has 0 rows, 'action' 8"),
        ({TOP: None}, "episode_1.hdf5: has no camera: below observations/images there are no"),
        ({TOP: np.zeros((8, 20, 24, 3))}, "has no camera: below observations/images"),
        ({TOP: np.zeros((8, 900), np.uint8)}, "has no camera: .*no JPEGs"),
        ({TOP: np.zeros((8, 10, 24, 3), np.uint8)}, r"frames are \(10, 24\), those before \(20"),
        ({"action": np.full((8, 2), np.nan)}, "episode_1.hdf5: 7 actions are NaN"),
        ({TOP: h5py.SoftLink("/action")}, "'observations/images/top' is a link"),
        ({TOP: h5py.ExternalLink("episode_0.hdf5", "/action")}, "is a link; copy what"),
        ({"action": h5py.ExternalLink("episode_0.hdf5", "/action")}, "'action' is a link"),
    ],
)
def test_what_does_not_fit_is_named(make_layout, changes, message):
    path = make_layout("act").path
    edit(path, **changes)
    refused(path, message, WorldModelError)


def test_jpegs_that_are_damaged_or_of_another_size(make_layout):
    path = make_layout("act_jpeg").path
    with h5py.File(path / "episode_1.hdf5", "a") as file:
        rows = file["observations/images/top"]
        good = rows[3]
        rows[3] = np.where(np.arange(rows.shape[1]) < 60, good, 0)
    refused(path, "episode_1.hdf5, frame 3: is not a complete image")
    assert len(open_episodes(path)[0]) == 5
    small = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(small, "JPEG")
    data = np.frombuffer(small.getvalue(), np.uint8)
    with h5py.File(path / "episode_1.hdf5", "a") as file:
        rows = file["observations/images/top"]
        rows[3] = np.pad(data, (0, rows.shape[1] - data.size))
    refused(path, r"episode_1.hdf5, frame 3: is \(8, 8\), the data set's first \(20, 24\)")


def test_a_damaged_file_is_named(make_layout):
    path = make_layout("act").path
    (path / "episode_1.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(90))
    refused(path, "episode_1.hdf5: is no valid HDF5 file")
    (path / "episode_1.hdf5").write_bytes(b"")
    refused(path, "episode_1.hdf5: is empty")


def test_one_of_its_files_and_a_folder_above_say_which_to_name(make_layout):
    path = make_layout("act").path
    refused(path / "episode_0.hdf5", "as ACT and ALOHA write .*; name the folder that it lies in")
    refused(path.parent, "ACT's episodes .* in several folders; name one that they lie in")
    refused(path.parent, "holds no episode_0.hdf5; name the folder", format="act")


def test_a_folder_is_recognised_by_names_alone(tmp_path):
    (tmp_path / "episode_0.hdf5").write_bytes(b"")
    assert find_format(tmp_path).name == "act"
    (tmp_path / "episode_0.hdf5").rename(tmp_path / "episode_one.hdf5")
    assert find_format(tmp_path).name == "folder"
