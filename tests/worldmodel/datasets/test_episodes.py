"""Episodes of every format: the same frames and actions come out, and what is wrong is named."""

import json
import shutil
from dataclasses import replace

import h5py
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from tests.worldmodel.datasets.layouts import (
    CAMERA,
    LAYOUTS,
    LENGTHS,
    actions_of,
    frames_of,
    images_of,
    jpeg,
    write_mp4,
)
from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.episodes.episode import write_episode
from worldmodel.episodes.store import EpisodeStore
from worldmodel.episodes.windows import EpisodeDataset, load_arrays
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError
from worldmodel.video.decoding import Decoding

THIRD_PARTY = (
    "lerobot_v21", "lerobot_v3", "hdf5_columns", "hdf5_groups", "dino_wm_videos", "dino_wm_tensors",
    "lerobot_v21_images", "lerobot_v3_images", "minari", "minari_jpeg", "act", "act_jpeg",
    "diffusion_policy", "diffusion_policy_zip",
)  # fmt: skip
WITH_ACTIONS = (*THIRD_PARTY, "our_episodes")


@pytest.mark.parametrize("name", WITH_ACTIONS)
def test_stores_keep_their_contract(make_layout, name):
    made = make_layout(name)
    store = open_episodes(made.path)
    assert isinstance(store, EpisodeStore) and len(store) == made.count
    assert store.lengths == [len(episode) for episode in store]
    assert len(store.labelled) == made.count and len(store.unlabelled) == 0
    part = store[1:]
    assert isinstance(part, EpisodeStore) and len(part) == made.count - 1
    assert part.lengths == store.lengths[1:]
    assert torch.equal(part[0].frames, store[1].frames) and part[0].source == store[1].source
    assert part.info == store.info and store.info.fps > 0
    assert len(store.labelled[:2].labelled) == 2
    with pytest.raises(IndexError):
        store[made.count]
    arrays = load_arrays(store.labelled)
    assert arrays.actions is not None and len(arrays) == made.count
    segments = EpisodeDataset(arrays).sample(0, 4, seed=0, length=2)
    assert segments.frames.shape[:2] == (4, 4)


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_frames_and_actions_are_those_that_were_written(make_layout, name):
    store = open_episodes(make_layout(name).path)
    for number, episode in enumerate(store):
        length = LENGTHS[number]
        wanted = frames_of(number, length).astype(int)
        # Video is lossy: a grey level is 4 from the next frame's.
        assert np.abs(episode.frames.numpy().astype(int) - wanted).max() < 2
        assert np.array_equal(episode.actions, actions_of(number, length)[:-1])
        assert np.allclose(np.diff(episode.times), 1 / store.info.fps)
        assert episode.source.removesuffix(".hdf5").endswith(
            (f"episode {number}", f"episode_{number}", f"demo_{number}")
        )
    assert store.info.action_low == (0.0, 0.0)
    assert store.info.action_high[1] == 2.0


@pytest.mark.parametrize("name", WITH_ACTIONS)
def test_the_catalogue_shows_the_same_frames(make_layout, name):
    made = make_layout(name)
    for item, episode in zip(open_catalogue(made.path), open_episodes(made.path), strict=True):
        source = item.open(Decoding())
        times = source.times(np.arange(source.num_frames))
        begin, end = item.window or (0.0, np.inf)
        inside = np.flatnonzero((times >= begin) & (times <= end))
        frames = source.read(inside)
        assert torch.equal(frames.movedim(1, -1), episode.frames)
        source.close()


@pytest.mark.parametrize("name", THIRD_PARTY)
def test_episodes_come_in_the_size_asked_for(make_layout, name):
    store = open_episodes(make_layout(name).path, size=16)
    assert {tuple(episode.frames.shape[1:]) for episode in store} == {(16, 16, 3)}
    assert abs(int(store[1].frames[3, 8, 8, 0]) - (20 + 60 + 12)) < 3


@pytest.mark.parametrize("fps", [29.97, 7.3, 240, 1 / 3])
def test_frames_of_hdf5_are_rows_at_any_rate(make_layout, fps):
    path = make_layout("hdf5_groups").path
    for item, episode in zip(open_catalogue(path, fps=fps), open_episodes(path, fps=fps),
                             strict=True):  # fmt: skip
        source = item.open(Decoding())
        times = source.times(np.arange(source.num_frames))
        assert item.part(times) == (0, len(episode)) and np.allclose(times, episode.times)
        assert torch.equal(source.read(np.arange(len(times))).movedim(1, -1), episode.frames)


def test_our_episodes_are_read_by_number_whatever_their_clock(tmp_path, make_episode):
    """Their times may begin anywhere and jitter; clips of them still show consecutive frames."""
    episode = make_episode(9)
    times = 1e6 + torch.tensor([0.0, 0.02, 0.31, 0.32, 0.33, 0.7, 0.9, 0.91, 2.0]).double()
    file = write_episode(replace(episode, times=times), tmp_path / "000000.safetensors")
    item = open_catalogue(file)[0]
    source = item.open(Decoding())
    assert item.part(source.times(np.arange(9))) == (0, 9)
    assert source.read(np.arange(9))[:, 0, 0, 0].tolist() == list(range(9))
    assert np.allclose(source.times(np.arange(9)), times - times[0])


def test_states_become_infos(make_layout):
    assert open_episodes(make_layout("lerobot_v3").path)[0].info["state"].shape == (5, 2)
    columns = open_episodes(make_layout("hdf5_columns").path)
    assert columns[1].info["proprio"][:, 0].tolist() == list(range(5, 13))
    assert set(open_episodes(make_layout("hdf5_groups").path)[0].info) == {"eef"}


def test_robomimic_s_rate_and_splits(make_layout):
    made = make_layout("hdf5_groups")
    assert open_episodes(made.path).info.fps == 20
    assert open_episodes(made.path, fps=5).info.fps == 5
    assert open_episodes(made.path, split="train").lengths == [5, 6]
    with pytest.raises(ConfigError, match="no split 'trian': did you mean 'train'"):
        open_episodes(made.path, split="trian")


def test_several_cameras_ask_for_a_choice(make_layout):
    made = make_layout("hdf5_groups")
    with h5py.File(made.path, "a") as file:
        for number, length in enumerate(LENGTHS):
            file[f"data/demo_{number}/obs/wrist_image"] = 255 - frames_of(number, length)
    with pytest.raises(ConfigError, match="several, name one with camera=: .*agentview.*wrist"):
        open_episodes(made.path)
    assert open_episodes(made.path, camera="wrist_image")[0].frames[0, 0, 0, 0] == 235
    with pytest.raises(ConfigError, match="no camera 'wirst_image': did you mean"):
        open_catalogue(made.path, camera="wirst_image")


def test_lerobot_cameras_go_by_their_last_part(make_layout):
    made = make_layout("lerobot_v21")
    path = made.path / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.images.side"] = info["features"][CAMERA]
    path.write_text(json.dumps(info))
    with pytest.raises(ConfigError, match=r"several, name one with camera=: .*top, .*side"):
        open_episodes(made.path)
    assert len(open_episodes(made.path, camera="top")[0]) == 5


def test_a_format_without_actions_says_so(make_layout):
    with pytest.raises(ConfigError, match="format=folder, which holds videos without actions"):
        open_episodes(make_layout("folder").path)


def one_line(error):
    assert "\n" not in str(error.value)


def edit_json(path, **changes):
    values = json.loads(path.read_text())
    path.write_text(json.dumps(values | changes))


@pytest.mark.parametrize("version", ["lerobot_v21", "lerobot_v3"])
@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"codebase_version": "v1.6"}, "codebase_version is 'v1.6'; v2.0, v2.1 and v3"),
        ({"codebase_version": None}, "codebase_version is 'None'"),
        ({"fps": 0}, "fps is '0'"),
        ({"fps": "ten"}, "fps is 'ten'"),
        ({"features": []}, "has no features"),
        ({"features": {}}, "has no camera"),
        ({"data_path": "../../{episode_index}{chunk_index}"}, "has a field|leads out"),
        ({"video_path": "/etc/passwd"}, "'/etc/passwd' leads out of the data set"),
        ({"video_path": "{video_key.__class__}"}, "leads out|no such video|no such"),
    ],
)
def test_bad_descriptions(make_layout, version, changes, message):
    made = make_layout(version)
    edit_json(made.path / "meta" / "info.json", **changes)
    with pytest.raises(WorldModelError, match=message) as caught:
        open_episodes(made.path)[0]
    one_line(caught)


def change_table(path, **columns):
    rows = pq.read_table(path).to_pydict()
    pq.write_table(__import__("pyarrow").table(rows | columns), path)


def test_lerobot_rows_that_do_not_match(make_layout):
    made = make_layout("lerobot_v3")
    place = made.path / "data/chunk-000/file-000.parquet"
    rows = pq.read_table(place).to_pydict()
    change_table(place, episode_index=[0] * 6 + rows["episode_index"][6:])
    with pytest.raises(EpisodeError, match="episode 0: .* has 6 rows of it.*says 5") as caught:
        open_episodes(made.path)[0]
    one_line(caught)
    change_table(place, action=[[float("nan"), 0.0]] * 19)
    with pytest.raises(EpisodeError, match="episode 2: 5 actions are NaN"):
        open_episodes(made.path)[2]


def test_lerobot_videos_that_are_too_short(make_layout):
    made = make_layout("lerobot_v21")
    place = made.path / f"videos/chunk-000/{CAMERA}/episode_000001.mp4"
    write_mp4(place, frames_of(1, 6))
    with pytest.raises(EpisodeError, match="episode 1: .* has no frame for each of its 8 rows"):
        open_episodes(made.path)[1]
    place.unlink()
    with pytest.raises(WorldModelError, match="episode_000001.mp4: no such video"):
        open_episodes(made.path)[1]
    assert len(open_episodes(made.path)[0]) == 5


@pytest.mark.parametrize("cut", [0, 20, 200, 700])
def test_cut_parquet_is_named(make_layout, cut):
    made = make_layout("lerobot_v3")
    place = made.path / "meta/episodes/chunk-000/file-000.parquet"
    place.write_bytes(place.read_bytes()[:cut])
    with pytest.raises(EpisodeError, match="file-000.parquet: is (empty|no valid)") as caught:
        open_catalogue(made.path)
    one_line(caught)


def test_a_list_of_episodes_with_a_bad_line(make_layout):
    made = make_layout("lerobot_v21")
    place = made.path / "meta" / "episodes.jsonl"
    text = place.read_text()
    place.write_text(text + "\n[1]")
    with pytest.raises(EpisodeError, match="episodes.jsonl: line 4 is no episode"):
        open_catalogue(made.path)
    place.write_text(text + "\n" + text)
    with pytest.raises(EpisodeError, match="lists episode 0 twice"):
        open_catalogue(made.path)


def rewrite(path, key, values):
    with h5py.File(path, "a") as file:
        del file[key]
        file[key] = values


@pytest.mark.parametrize(
    ("key", "values", "message"),
    [
        ("ep_len", [5, 8, 60], "e.h5: episode 2 is rows 13 to 73 of 19"),
        ("ep_len", [5, 0, 6], "episode 1 is empty .ep_len is 0.; leave it out"),
        ("ep_len", [5, -1, 6], "episode 1 is rows 5 to 4 of 19"),
        ("ep_offset", [0, 4, 13], "episode 1 is rows 4 to 12 of 19, after row 5"),
        ("ep_len", [5, 8], "not two rows of as many whole numbers"),
        ("ep_len", [5.0, 8.0, 6.0], "not two rows of as many whole numbers"),
        ("action", np.zeros((7, 2)), "'pixels' has 19 rows, 'action' 7"),
        ("pixels", np.zeros((19, 8, 8, 3)), "has no camera"),
        ("pixels", np.zeros((19, 8, 8, 5), np.uint8), "has no camera"),
    ],
)
def test_columns_that_do_not_match(make_layout, key, values, message):
    made = make_layout("hdf5_columns")
    rewrite(made.path, key, values)
    with pytest.raises(WorldModelError, match=message) as caught:
        open_episodes(made.path)
    one_line(caught)


def test_nan_actions_are_named_with_their_episode(make_layout):
    made = make_layout("hdf5_columns")
    actions = np.zeros((19, 2), np.float32)
    actions[7] = np.nan
    rewrite(made.path, "action", actions)
    store = open_episodes(made.path)
    assert len(store[0]) == 5
    with pytest.raises(EpisodeError, match="e.h5::episode 1: 1 actions are NaN.*step .2"):
        store[1]
    groups = make_layout("hdf5_groups")
    rewrite(groups.path, "data/demo_1/actions", np.full((8, 2), np.inf))
    with pytest.raises(EpisodeError, match="demo_1: 7 actions are NaN or infinite"):
        open_episodes(groups.path)[1]
    rewrite(groups.path, "data/demo_1/actions", np.zeros((3, 2)))
    with pytest.raises(EpisodeError, match="demo_1: 'obs/agentview_image' has 8 rows, 'actions' 3"):
        open_episodes(groups.path)


def test_hdf5_reads_nothing_outside_the_file(make_layout, tmp_path):
    made = make_layout("hdf5_columns")
    secret = tmp_path / "secret.bin"
    secret.write_bytes(bytes(19 * 8 * 8 * 3))
    with h5py.File(made.path, "a") as file:
        del file["pixels"]
        file.create_dataset(
            "pixels", (19, 8, 8, 3), "u1", external=[(str(secret), 0, h5py.h5f.UNLIMITED)]
        )
    with pytest.raises(EpisodeError, match="'pixels' lies in other files"):
        open_episodes(made.path)
    other = make_layout("hdf5_groups")
    with h5py.File(other.path, "a") as file:
        del file["data/demo_0/actions"]
        file["data/demo_0/actions"] = h5py.ExternalLink(str(made.path), "/action")
    with pytest.raises(EpisodeError, match="'data/demo_0/actions' is a link"):
        open_episodes(other.path)


def test_jpegs_in_rows_are_frames(make_layout):
    path = make_layout("hdf5_groups").path
    pixels = open_episodes(path)[1].frames.int()
    with h5py.File(path, "a") as file:
        for number, length in enumerate(LENGTHS):
            coded = [jpeg(frame) for frame in frames_of(number, length)]
            rows = [np.frombuffer(c.ljust(2000, b"\0"), np.uint8) for c in coded]
            del file[f"data/demo_{number}/obs/agentview_image"]
            file[f"data/demo_{number}/obs/agentview_image"] = np.stack(rows)
            file[f"data/demo_{number}/obs/wrist_image"] = np.stack(rows)
    episode = open_episodes(path, camera="agentview_image")[1]
    assert (episode.frames.int() - pixels).abs().max() < 3 and set(episode.info) == {"eef"}


def test_a_file_that_claims_too_much_is_refused_at_once(tmp_path):
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file.create_dataset("pixels", (10**9, 64, 64, 3), "u1", chunks=(1, 64, 64, 3))
        file["ep_len"], file["ep_offset"] = [10**9], [0]
    with pytest.raises(EpisodeError, match="1000000000 frames are more than the limit"):
        open_episodes(tmp_path / "e.h5")[0]
    with pytest.raises(WorldModelError, match="raise limits.frames"):
        open_catalogue(tmp_path / "e.h5")[0].open(Decoding())


@pytest.mark.parametrize("cut", [8, 100, 2000, 20_000])
def test_cut_hdf5_is_named(make_layout, cut):
    made = make_layout("hdf5_columns")
    made.path.write_bytes(made.path.read_bytes()[:cut])
    with pytest.raises(EpisodeError, match="e.h5: is no valid HDF5 file") as caught:
        open_episodes(made.path)[0]
    one_line(caught)


def test_other_hdf5_says_what_it_holds(tmp_path):
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(EpisodeError, match="holds neither ep_len .* but weights"):
        open_catalogue(tmp_path / "e.h5")


def test_pointers_of_git_lfs_are_named(make_layout):
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 9\n"
    table = make_layout("lerobot_v3")
    (table.path / "data/chunk-000/file-000.parquet").write_bytes(pointer)
    file = make_layout("hdf5_columns")
    file.path.write_bytes(pointer)
    for path in (table.path, file.path):
        with pytest.raises(EpisodeError, match="fetch it with git lfs pull") as caught:
            open_episodes(path)
        one_line(caught)


def test_a_last_part_that_two_cameras_share_is_not_chosen_by(make_layout):
    made = make_layout("lerobot_v21")
    path = made.path / "meta" / "info.json"
    info = json.loads(path.read_text())
    info["features"]["observation.depth.top"] = info["features"][CAMERA]
    path.write_text(json.dumps(info))
    with pytest.raises(ConfigError, match="camera=top may be any of .*images.top, .*depth.top"):
        open_episodes(made.path, camera="top")
    assert len(open_episodes(made.path, camera=CAMERA)[0]) == 5


def test_the_layouts_of_others_are_named(tmp_path):
    for key, message in (("observations/images/top", "action, observations, as ACT"),
                         ("episode_0/observations", "episode_0, as Minari")):  # fmt: skip
        with h5py.File(tmp_path / "e.h5", "w") as file:
            file[key], file["action"] = np.zeros((3, 8, 8, 3), np.uint8), np.zeros((3, 2))
            if "episode" in key:
                del file["action"]
        with pytest.raises(EpisodeError, match=f"but {message}.*; name the folder") as caught:
            open_episodes(tmp_path / "e.h5")
        one_line(caught)


@pytest.mark.parametrize("empty", ["nothing", "no rows"])
def test_an_empty_demonstration_is_named_with_what_to_do(make_layout, empty):
    path = make_layout("hdf5_groups").path
    with h5py.File(path, "a") as file:
        del file["data/demo_1"]
        group = file.create_group("data/demo_1")
        if empty == "no rows":
            group["actions"] = np.zeros((0, 2))
            group["obs/agentview_image"] = np.zeros((0, 20, 24, 3), np.uint8)
    with pytest.raises(EpisodeError, match="demo_1: is an empty demonstration; .*split=") as caught:
        open_episodes(path)
    one_line(caught)
    assert open_episodes(path, split="train").lengths == [5, 6]


def test_demonstrations_without_images_say_so(make_layout):
    """As robomimic's files of low dimension are."""
    path = make_layout("hdf5_groups").path
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/agentview_image"]
    with pytest.raises(ConfigError, match="demo_0: has no camera: frames are .*obs/eef, actions"):
        open_episodes(path)


def test_two_datasets_of_one_name_are_both_kept(make_layout):
    """Also where one demonstration has only one of them."""
    path = make_layout("hdf5_groups").path
    with h5py.File(path, "a") as file:
        for number, length in enumerate(LENGTHS):
            file[f"data/demo_{number}/obs/states"] = np.full((length, 2), 2.0)
            if number != 1:
                file[f"data/demo_{number}/states"] = np.full((length, 5), 5.0)
    one, two, three = open_episodes(path)
    assert set(one.info) == set(three.info) == {"eef", "obs_states", "states"}
    assert one.info["obs_states"].shape == (5, 2) and one.info["states"].shape == (5, 5)
    assert set(two.info) == {"eef", "obs_states"}
    assert set(load_arrays(open_episodes(path)).info) == {"eef", "obs_states"}


def test_a_missing_library_says_how_to_get_it(make_layout, monkeypatch):
    import sys

    needs = [
        ("h5py", "hdf5_columns", "hdf5"),
        ("h5py", "act", "hdf5"),
        ("h5py", "minari", "hdf5"),
        ("pyarrow.parquet", "lerobot_v3", "lerobot"),
        ("zarr", "diffusion_policy", "zarr"),
    ]
    for path, name, extra in [(make_layout(layout).path, n, e) for n, layout, e in needs]:
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(ConfigError, match=rf"pip install 'worldmodel\[{extra}\]'"):
            open_catalogue(path)


def test_every_format_with_episodes_is_asked(make_layout):
    assert {name for name in LAYOUTS if make_layout(name).has_actions} == set(WITH_ACTIONS)


def test_ours_interrupted_says_so(make_layout):
    made = make_layout("our_episodes")
    (made.path / "episodes.json").unlink()
    shutil.copytree(made.path, made.path.parent / "run" / "episodes")
    for path in (made.path, made.path.parent / "run"):
        with pytest.raises(EpisodeError, match="has no episodes.json.*interrupted"):
            open_episodes(path)
    shutil.rmtree(made.path)
    with pytest.raises(EpisodeError, match="no such folder of episodes"):
        open_episodes(made.path)


def test_frames_fit_where_they_can(make_layout):
    assert open_episodes(make_layout("hdf5_groups").path, fit=8)[0].frames.shape[1:3] == (8, 8)
    assert open_episodes(make_layout("our_episodes").path, fit=8)[0].frames.shape[1:3] == (20, 24)


@pytest.mark.parametrize("packed", [None, "gzip"])
@pytest.mark.parametrize("count", [10**9, 10**6])
def test_lists_of_episodes_that_claim_too_much_are_refused_unread(tmp_path, packed, count):
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["pixels"] = np.zeros((5, 8, 8, 3), np.uint8)
        for key in ("ep_len", "ep_offset"):
            file.create_dataset(key, (count,), "i8", chunks=(1000,), compression=packed)
    with pytest.raises(EpisodeError, match=f"'ep_len' claims {count} entries") as caught:
        open_episodes(tmp_path / "e.h5")
    one_line(caught)


def test_splits_that_are_no_list_or_claim_too_much(make_layout):
    made = make_layout("hdf5_groups")
    with h5py.File(made.path, "a") as file:
        file.create_group("mask/group")
        file.create_dataset("mask/bomb", (10**9,), "S8", chunks=(1000,))
    with pytest.raises(EpisodeError, match="mask/group lists no episodes"):
        open_episodes(made.path, split="group")
    with pytest.raises(EpisodeError, match="'mask/bomb' claims 1000000000 entries"):
        open_episodes(made.path, split="bomb")


def test_images_that_are_missing_or_damaged(make_layout):
    made = make_layout("lerobot_v3_images")
    place = made.path / "data/chunk-000/file-000.parquet"
    table = pq.read_table(place)
    cells, at = table.column(CAMERA).to_pylist(), table.column_names.index(CAMERA)

    def spoil(cell, message):
        rows = [*cells[:7], cell, *cells[8:]]  # the third frame of episode 1
        pq.write_table(table.set_column(at, CAMERA, [rows]), place)
        with pytest.raises(WorldModelError, match=message) as caught:
            open_episodes(made.path)[1]
        one_line(caught)
        assert len(open_episodes(made.path)[0]) == 5

    spoil({"bytes": None, "path": "a.png"}, "row 2 of .* only names its image, 'a.png'")
    spoil({"bytes": None, "path": None}, "has 7 images of it, its description says 8")
    spoil({"bytes": b"text", "path": None}, "episode 1, frame 2: is not a complete image")
    spoil({"bytes": cells[0]["bytes"][:60], "path": None}, "episode 1, frame 2: is not a comp")
    small = images_of(0, size=8)[0]
    spoil(small, r"episode 1: frame 2 is \(8, 8\), the first \(20, 24\)")
    numbers = table.set_column(at, CAMERA, [list(range(len(cells)))])
    pq.write_table(numbers, place)
    with pytest.raises(EpisodeError, match="'observation.images.top' holds no images"):
        open_episodes(made.path)[1]


@pytest.mark.parametrize("columns", [(), (2,)])
def test_an_episode_of_one_row_has_no_action(tmp_path, columns):
    with h5py.File(tmp_path / "one.hdf5", "w") as file:
        for number, length in enumerate((1, 4)):
            file[f"data/demo_{number}/actions"] = np.ones((length, *columns))
            file[f"data/demo_{number}/obs/top_image"] = np.zeros((length, 8, 8, 3), np.uint8)
    one, four = open_episodes(tmp_path / "one.hdf5")
    width = columns[0] if columns else 1
    assert one.actions.shape == (0, width) and four.actions.shape == (3, width)
