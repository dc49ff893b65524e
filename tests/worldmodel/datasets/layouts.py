"""Every format, made small in a folder: what the contract suite and the fuzzing start from."""

import io
import json
import pickle
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import av
import fsspec
import h5py
import numcodecs
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
import zarr
from PIL import Image

from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter

Build = Callable[[Path, Path], "Made"]  # an empty folder and a video to copy
LAYOUTS: dict[str, Build] = {}


@dataclass(frozen=True)
class Made:
    """A data set that was made."""

    path: Path | str
    format: str  # as it must be recognised
    count: int
    options: dict[str, Any] = field(default_factory=dict)
    labels: list[int] | None = None
    has_actions: bool = False


def layout(build: Build) -> Build:
    LAYOUTS[build.__name__] = build
    return build


def put(video: Path, *places: Path) -> None:
    for place in places:
        place.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(video, place)


@layout
def single_file(root: Path, video: Path) -> Made:
    put(video, root / "one.mp4")
    return Made(root / "one.mp4", "file", 1)


@layout
def folder(root: Path, video: Path) -> Made:
    put(video, root / "b.mp4", root / "a" / "c d.mp4", root / "a" / "e.mp4")
    (root / "notes.md").write_text("text")
    return Made(root, "folder", 3)


@layout
def class_folder(root: Path, video: Path) -> Made:
    put(video, root / "run" / "b.mp4", root / "jump" / "c.mp4", root / "run" / "deep" / "a.mp4")
    return Made(root, "folder", 3, {"classes": True}, labels=[0, 1, 1])


@layout
def manifest(root: Path, video: Path) -> Made:
    put(video, root / "v" / "a b.mp4", root / "v" / "c.mp4")
    (root / "list.csv").write_text("v/a b.mp4 3\nv/c.mp4 0\n")
    return Made(root / "list.csv", "manifest", 2, labels=[3, 0])


@layout
def array_manifest(root: Path, video: Path) -> Made:
    put(video, root / "a.mp4")
    np.save(root / "list.npy", np.array([str(root / "a.mp4"), "b.mp4"]))
    put(video, root / "b.mp4")
    return Made(root / "list.npy", "manifest", 2)


@layout
def images(root: Path, video: Path) -> Made:
    for number, name in enumerate(("dog/1.png", "cat/x/2.jpg", "dog/3.webp")):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        image = np.full((20, 30, 3), 50 * number, np.uint8)
        Image.fromarray(image).save(root / name)
    return Made(root, "images", 3, labels=[0, 1, 1])


def write_tar(path: Path, entries: dict[str, bytes]) -> Path:
    """A tar with these members in this order."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in entries.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


@layout
def shards(root: Path, video: Path) -> Made:
    data = video.read_bytes()
    write_tar(root / "a-000.tar", {"x/1.mp4": data, "x/1.cls": b"4", "x/2.cls": b"1",
                                   "x/2.left.mp4": data, "x/2.txt": b"two"})  # fmt: skip
    write_tar(root / "a-001.tar", {"1.json": b'{"label": 9}', "1.MP4": data})
    (root / "a-000.json").write_text("{}")
    return Made(root, "shards", 3, labels=[4, 1, 9])


@layout
def one_shard(root: Path, video: Path) -> Made:
    data = video.read_bytes()
    write_tar(root / "s.tar", {"1.mp4": data, "1.cls": b"run", "2.mp4": data, "2.cls": b"jump"})
    return Made(root / "s.tar", "shards", 2, labels=[1, 0])


@layout
def shards_by_pattern(root: Path, video: Path) -> Made:
    for number in (0, 1, 3):
        write_tar(root / f"s-{number:03d}.tar", {f"{number}.mp4": video.read_bytes()})
    return Made(f"{root}/s-{{000..001}}.tar", "shards", 2)


@layout
def shards_in_memory(root: Path, video: Path) -> Made:
    local = write_tar(root / "s.tar", {"1.mp4": video.read_bytes(), "1.cls": b"3"})
    url = f"memory://{root.parent.name}/{root.name}/s.tar"
    system, path = fsspec.core.url_to_fs(url)
    system.pipe_file(path, local.read_bytes())
    return Made(url, "shards", 1, labels=[3])


@layout
def our_episodes(root: Path, video: Path) -> Made:
    with EpisodeWriter(root, FolderInfo("test/World-v0", 10.0, (-1,), (1,))) as writer:
        for number in range(3):
            frames = np.full((6, 20, 24, 3), 40 * number, np.uint8)
            writer.write(Episode.from_numpy(frames, np.zeros((5, 1)), fps=10))
    return Made(root, "episodes", 3, has_actions=True)


def frames_of(number: int, length: int, size: tuple[int, int] = (20, 24)) -> np.ndarray:
    """Frames t h w 3 whose grey says which episode and which frame they are."""
    levels = 20 + 60 * number + 4 * np.arange(length)
    return np.broadcast_to(levels[:, None, None, None].astype(np.uint8), (length, *size, 3)).copy()


def actions_of(number: int, length: int) -> np.ndarray:
    """Actions t 2: the frame's number and the episode's; the last row is not used."""
    return np.stack([np.arange(length), np.full(length, number)], axis=1).astype(np.float32)


def write_mp4(path: Path, frames: np.ndarray, fps: int = 10) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        stream.bit_rate = 4_000_000
        for image in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    return path


LENGTHS = (5, 8, 6)
CAMERA = "observation.images.top"


def lerobot_rows(number: int, first: int) -> dict[str, list]:
    length = LENGTHS[number]
    return {
        "observation.state": [[float(i), 0.5] for i in range(length)],
        "action": actions_of(number, length).tolist(),
        "timestamp": [i / 10 for i in range(length)],
        "frame_index": list(range(length)),
        "episode_index": [number] * length,
        "index": list(range(first, first + length)),
        "task_index": [0] * length,
    }


def lerobot_info(version: str, **more: Any) -> dict[str, Any]:
    camera = {"dtype": "video", "shape": [20, 24, 3], "names": ["height", "width", "channels"]}
    return {
        "codebase_version": version, "robot_type": "arm", "fps": 10, "chunks_size": 1000,
        "total_episodes": len(LENGTHS), "total_frames": sum(LENGTHS),
        "features": {
            CAMERA: camera,
            "observation.state": {"dtype": "float32", "shape": [2], "names": None},
            "action": {"dtype": "float32", "shape": [2], "names": None},
            "timestamp": {"dtype": "float32", "shape": [1], "names": None},
            "episode_index": {"dtype": "int64", "shape": [1], "names": None},
        },
        **more,
    }  # fmt: skip


def write_table(path: Path, rows: dict[str, list]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table(rows), path)


@layout
def lerobot_v21(root: Path, video: Path) -> Made:
    (root / "meta").mkdir()
    (root / "meta" / "info.json").write_text(json.dumps(lerobot_info("v2.1")))
    lines = []
    for number, length in enumerate(LENGTHS):
        write_table(root / f"data/chunk-000/episode_{number:06d}.parquet", lerobot_rows(number, 0))
        write_mp4(
            root / f"videos/chunk-000/{CAMERA}/episode_{number:06d}.mp4", frames_of(number, length)
        )
        lines.append({"episode_index": number, "tasks": ["push"], "length": length})
    text = "\n".join(json.dumps(line) for line in lines)
    (root / "meta" / "episodes.jsonl").write_text(text)
    return Made(root, "lerobot", 3, has_actions=True)


@layout
def lerobot_v3(root: Path, video: Path) -> Made:
    (root / "meta").mkdir()
    (root / "meta" / "info.json").write_text(json.dumps(lerobot_info("v3.0")))
    starts = np.cumsum([0, *LENGTHS])
    rows: dict[str, list] = {}
    for number in range(3):
        for key, values in lerobot_rows(number, int(starts[number])).items():
            rows.setdefault(key, []).extend(values)
    write_table(root / "data/chunk-000/file-000.parquet", rows)
    every = np.concatenate([frames_of(n, length) for n, length in enumerate(LENGTHS)])
    write_mp4(root / f"videos/{CAMERA}/chunk-000/file-000.mp4", every)
    episodes = {
        "episode_index": [0, 1, 2], "tasks": [["push"]] * 3, "length": list(LENGTHS),
        "data/chunk_index": [0] * 3, "data/file_index": [0] * 3,
        "dataset_from_index": starts[:-1].tolist(), "dataset_to_index": starts[1:].tolist(),
        f"videos/{CAMERA}/chunk_index": [0] * 3, f"videos/{CAMERA}/file_index": [0] * 3,
        f"videos/{CAMERA}/from_timestamp": (starts[:-1] / 10).tolist(),
        f"videos/{CAMERA}/to_timestamp": (starts[1:] / 10).tolist(),
    }  # fmt: skip
    write_table(root / "meta/episodes/chunk-000/file-000.parquet", episodes)
    return Made(root, "lerobot", 3, has_actions=True)


def images_of(number: int, size: int = 100) -> list[dict]:
    """Frames as PNG, as a column of LeRobot's images has them."""
    rows = []
    for frame in frames_of(number, LENGTHS[number])[:, :size, :size]:
        file = io.BytesIO()
        Image.fromarray(frame).save(file, "PNG")
        rows.append({"bytes": file.getvalue(), "path": None})
    return rows


@layout
def lerobot_v21_images(root: Path, video: Path) -> Made:
    lerobot_v21(root, video)
    shutil.rmtree(root / "videos")
    info = lerobot_info("v2.1")
    info["features"][CAMERA]["dtype"] = "image"
    (root / "meta" / "info.json").write_text(json.dumps(info))
    for number in range(3):
        rows = lerobot_rows(number, 0) | {CAMERA: images_of(number)}
        write_table(root / f"data/chunk-000/episode_{number:06d}.parquet", rows)
    return Made(root, "lerobot", 3, has_actions=True)


@layout
def lerobot_v3_images(root: Path, video: Path) -> Made:
    """With two groups of rows, the second of which begins in the middle of an episode."""
    lerobot_v3(root, video)
    shutil.rmtree(root / "videos")
    info = lerobot_info("v3.0")
    info["features"][CAMERA]["dtype"] = "image"
    (root / "meta" / "info.json").write_text(json.dumps(info))
    place = root / "meta/episodes/chunk-000/file-000.parquet"
    episodes = pq.read_table(place)
    kept = [name for name in episodes.column_names if not name.startswith("videos/")]
    pq.write_table(episodes.select(kept), place)
    rows: dict[str, list] = {CAMERA: [cell for n in range(3) for cell in images_of(n)]}
    for number in range(3):
        for key, values in lerobot_rows(number, sum(LENGTHS[:number])).items():
            rows.setdefault(key, []).extend(values)
    pq.write_table(pa.table(rows), root / "data/chunk-000/file-000.parquet", row_group_size=9)
    return Made(root, "lerobot", 3, has_actions=True)


@layout
def hdf5_columns(root: Path, video: Path) -> Made:
    starts = np.cumsum([0, *LENGTHS])
    with h5py.File(root / "e.h5", "w") as file:
        file["pixels"] = np.concatenate([frames_of(n, k) for n, k in enumerate(LENGTHS)])
        actions = np.concatenate([actions_of(n, k) for n, k in enumerate(LENGTHS)])
        actions[starts[1:] - 1] = np.nan  # as it is written where an episode ends
        file["action"] = actions
        file["proprio"] = np.arange(sum(LENGTHS), dtype=np.float32)[:, None]
        file["ep_len"], file["ep_offset"] = np.array(LENGTHS), starts[:-1]
    return Made(root / "e.h5", "hdf5", 3, has_actions=True)


@layout
def hdf5_groups(root: Path, video: Path) -> Made:
    with h5py.File(root / "e.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps({"env_kwargs": {"control_freq": 20}})
        for number, length in enumerate(LENGTHS):
            demo = data.create_group(f"demo_{number}")
            demo.attrs["num_samples"] = length
            demo["actions"] = actions_of(number, length)
            demo["obs/agentview_image"] = frames_of(number, length)
            demo["obs/eef"] = np.zeros((length, 3))
            demo["next_obs/agentview_image"] = frames_of(number, length)
        file["mask/train"] = np.array([b"demo_0", b"demo_2"])
    return Made(root / "e.hdf5", "hdf5", 3, has_actions=True)


def jpeg(frame: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(frame).save(file, "JPEG", quality=95)
    return file.getvalue()


BOX = {"type": "Box", "dtype": "float32", "shape": [2], "low": [0, 0], "high": [9, 9]}


def minari_about(**more: Any) -> dict[str, Any]:
    """What `metadata.json` says."""
    return {
        "total_episodes": len(LENGTHS), "total_steps": sum(LENGTHS) - len(LENGTHS),
        "data_format": "hdf5", "action_space": json.dumps(BOX),
        "env_spec": json.dumps({"id": "test/World-v0", "entry_point": "os:mkdir"}), **more,
    }  # fmt: skip


@layout
def minari(root: Path, video: Path) -> Made:
    """Pixels beside a state, in a group of observations."""
    (root / "data").mkdir()
    (root / "data/metadata.json").write_text(json.dumps(minari_about()))
    with h5py.File(root / "data/main_data.hdf5", "w") as file:
        for number, length in enumerate(LENGTHS):
            episode = file.create_group(f"episode_{number}")
            episode.attrs["total_steps"] = length - 1
            episode["observations/image"] = frames_of(number, length)
            episode["observations/state"] = np.arange(length, dtype=np.float64)[:, None] + 0.5
            episode["actions"] = actions_of(number, length)[:-1]
            episode["rewards"] = np.arange(1, length, dtype=np.float64)
            episode["terminations"] = np.arange(1, length) == length - 1
            episode["infos/goal/distance"] = np.arange(length, dtype=np.float32)
    return Made(root, "minari", 3, has_actions=True)


@layout
def minari_jpeg(root: Path, video: Path) -> Made:
    """Observations are images, as JPEGs of their own lengths; spaces are attributes of the file."""
    (root / "data").mkdir()
    with h5py.File(root / "data/main_data.hdf5", "w") as file:
        file.attrs.update({"action_space": json.dumps(BOX), "dataset_id": "test/world-v0"})
        for number, length in enumerate(LENGTHS):
            episode = file.create_group(f"episode_{number}")
            coded = [np.frombuffer(jpeg(f), np.uint8) for f in frames_of(number, length)]
            rows = episode.create_dataset("observations", (length,), h5py.vlen_dtype(np.uint8))
            for row, data in enumerate(coded):
                rows[row] = data
            episode["actions"] = actions_of(number, length)[:-1]
            episode["rewards"] = np.zeros(length - 1)
    return Made(root / "data", "minari", 3, has_actions=True)


def write_act(root: Path, *, compress: bool, cameras: Sequence[str] = ("top",)) -> None:
    """Episodes as ACT's recorder writes them."""
    for number, length in enumerate(LENGTHS):
        with h5py.File(root / f"episode_{number}.hdf5", "w") as file:
            file.attrs.update({"sim": not compress} | ({"compress": True} if compress else {}))
            file["action"] = actions_of(number, length)
            file["observations/qpos"] = np.arange(length, dtype=np.float32)[:, None] + [0, 0.5]
            file["observations/qvel"] = np.zeros((length, 2), np.float32)
            for camera in cameras:
                frames = frames_of(number, length)
                if compress:
                    coded = [jpeg(frame) for frame in frames]
                    longest = max(map(len, coded)) + 3
                    rows = [np.frombuffer(c.ljust(longest, b"\0"), np.uint8) for c in coded]
                    frames = np.stack(rows)
                    file[f"compress_len_{camera}"] = np.array([[len(c) for c in coded]])
                file[f"observations/images/{camera}"] = frames


@layout
def act(root: Path, video: Path) -> Made:
    write_act(root, compress=False)
    (root / "episode_0_video.mp4").write_bytes(video.read_bytes())  # as its tools leave beside
    return Made(root, "act", 3, has_actions=True)


@layout
def act_jpeg(root: Path, video: Path) -> Made:
    write_act(root, compress=True)
    return Made(root, "act", 3, has_actions=True)


def write_zarr(path: Path, **arrays: np.ndarray) -> None:
    """A store of format 2 with these arrays, whose names have / as _in_."""
    group = zarr.open_group(path, mode="w", zarr_format=2)
    for name, values in arrays.items():
        key = "/".join(reversed(name.split("_in_")))
        blosc = numcodecs.Blosc("zstd", clevel=5, shuffle=numcodecs.Blosc.BITSHUFFLE)
        chunks = (min(4, len(values)), *values.shape[1:])
        group.create_array(key, data=values, chunks=chunks, compressors=blosc)


def zarr_arrays(**more: np.ndarray) -> dict[str, np.ndarray]:
    actions = np.concatenate([actions_of(n, length) for n, length in enumerate(LENGTHS)])
    frames = np.concatenate([frames_of(n, length) for n, length in enumerate(LENGTHS)])
    return {
        "img_in_data": frames.astype(np.float32), "action_in_data": actions,
        "state_in_data": np.arange(sum(LENGTHS) * 5, dtype=np.float32).reshape(-1, 5),
        "keypoint_in_data": np.zeros((sum(LENGTHS), 9, 2), np.float32),
        "episode_ends_in_meta": np.cumsum(LENGTHS), **more,
    }  # fmt: skip


@layout
def diffusion_policy(root: Path, video: Path) -> Made:
    write_zarr(root / "push.zarr", **zarr_arrays())
    return Made(root / "push.zarr", "diffusion_policy", 3, has_actions=True)


@layout
def diffusion_policy_zip(root: Path, video: Path) -> Made:
    write_zarr(root / "push", **zarr_arrays())
    shutil.make_archive(str(root / "push.zarr"), "zip", root / "push")
    shutil.rmtree(root / "push")
    return Made(root / "push.zarr.zip", "diffusion_policy", 3, has_actions=True)


def padded(rows: Sequence[np.ndarray]) -> torch.Tensor:
    """Rows t ... of all episodes as a table n t ...; past the end of one there is no number."""
    table = np.full((len(rows), max(LENGTHS), *rows[0].shape[1:]), np.nan, np.float32)
    for of_all, of_one in zip(table, rows, strict=True):
        of_all[: len(of_one)] = of_one
    return torch.from_numpy(table)


def dino_wm_tables(root: Path, actions: str) -> None:
    rows = [actions_of(n, length) for n, length in enumerate(LENGTHS)]
    torch.save(padded(rows), root / f"{actions}.pth")
    states = [np.arange(length)[:, None] + [0.5, 1.5] for length in LENGTHS]
    torch.save(padded(states).double(), root / "states.pth")


@layout
def dino_wm_videos(root: Path, video: Path) -> Made:
    """As Push-T comes."""
    place = root / "train"
    place.mkdir()
    dino_wm_tables(place, "rel_actions")
    dino_wm_tables(place, "abs_actions")
    torch.save(torch.zeros(3, max(LENGTHS), 2), place / "velocities.pth")
    (place / "seq_lengths.pkl").write_bytes(pickle.dumps(list(LENGTHS)))
    (place / "shapes.pkl").write_bytes(pickle.dumps(["T"] * 3))
    for number, length in enumerate(LENGTHS):
        name = f"obses/episode_{number:03d}.mp4"
        write_mp4(place / name, frames_of(number, length))
    return Made(root, "dino_wm", 3, has_actions=True)


@layout
def dino_wm_tensors(root: Path, video: Path) -> Made:
    """As the maze comes, but with channels first, as the wall has them."""
    dino_wm_tables(root, "actions")
    torch.save(torch.tensor(LENGTHS), root / "seq_lengths.pth")
    (root / "obses").mkdir()
    for number, length in enumerate(LENGTHS):
        frames = torch.from_numpy(frames_of(number, length)).movedim(-1, 1).contiguous()
        torch.save(frames, root / "obses" / f"episode_{number:03d}.pth")
    return Made(root, "dino_wm", 3, has_actions=True)


ID = "abcdefghi-{}"


def kinetics_name(number: int) -> str:
    return f"{ID.format(number)}_{number:06d}_{number + 10:06d}.mp4"


@layout
def kinetics_folders(root: Path, video: Path) -> Made:
    put(
        video, root / "train" / "surf" / kinetics_name(1), root / "train" / "dig" / kinetics_name(2)
    )
    put(video, root / "val" / "surf" / kinetics_name(3))
    return Made(root, "kinetics", 3, labels=[0, 1, 1])


@layout
def kinetics_lists(root: Path, video: Path) -> Made:
    put(video, *(root / "train" / kinetics_name(i) for i in (1, 2)))
    put(video, root / "val" / kinetics_name(3))
    (root / "annotations").mkdir()
    for split, numbers in (("train", (1, 2, 7)), ("val", (3,))):
        lines = [f"{'surf' if i % 2 else 'dig'},{ID.format(i)},{i},{i + 10},{split}"
                 for i in numbers]  # fmt: skip
        text = "\n".join(["label,youtube_id,time_start,time_end,split", *lines])
        (root / "annotations" / f"{split}.csv").write_text(text)
    return Made(root, "kinetics", 3, labels=[1, 0, 1])


@layout
def something(root: Path, video: Path) -> Made:
    put(video, *(root / "20bn-something-something-v2" / f"{i}.webm" for i in (11, 12, 13, 14)))
    (root / "labels").mkdir()
    lists = {
        "labels": {"Holding something": "0", "Pushing something with something": "1"},
        "train": [
            {"id": "12", "label": "holding a cup", "template": "Holding [something]"},
            {"id": "11", "template": "Pushing [something] with [something]"},
            {"id": "99", "template": "Holding [something]"},
        ],
        "validation": [{"id": "13", "template": "Pushing [something] with [something]"}],
        "test": [{"id": "14"}],
    }
    for name, values in lists.items():
        (root / "labels" / f"{name}.json").write_text(json.dumps(values))
    return Made(root, "something", 3, labels=[0, 1, 1])


@layout
def ucf101(root: Path, video: Path) -> Made:
    names = ["Archery/v_Archery_g01_c01.avi", "Biking/v_Biking_g01_c01.avi",
             "Archery/v_Archery_g02_c01.avi"]  # fmt: skip
    put(video, *(root / "UCF-101" / name for name in names))
    lists = root / "ucfTrainTestlist"
    lists.mkdir()
    (lists / "classInd.txt").write_text("1 Archery\r\n2 Biking\r\n")
    (lists / "trainlist01.txt").write_text(f"{names[0]} 1\n{names[1]} 2\n")
    (lists / "testlist01.txt").write_text(f"{names[2]}\nBiking/v_Biking_g07_c01.avi\n")
    return Made(root, "ucf101", 3, labels=[0, 1, 0])


@layout
def hmdb51(root: Path, video: Path) -> Made:
    put(video, root / "wave" / "#1 wave[2].avi", root / "clap" / "b.avi", root / "clap" / "c.avi")
    lists = root / "testTrainMulti_7030_splits"
    lists.mkdir()
    (lists / "wave_test_split1.txt").write_text("#1 wave[2].avi 1 \n")
    (lists / "clap_test_split1.txt").write_text("b.avi 2 \nc.avi 0 \n")
    return Made(root, "hmdb51", 3, labels=[0, 0, 1])


@layout
def diving48(root: Path, video: Path) -> Made:
    put(video, *(root / "rgb" / f"d_{i}.mp4" for i in (1, 2)))
    rows = [{"vid_name": f"d_{i}", "label": i % 2, "start_frame": 0, "end_frame": 90}
            for i in (1, 2, 3)]  # fmt: skip
    (root / "Diving48_V2_train.json").write_text(json.dumps(rows[:1]))
    (root / "Diving48_V2_test.json").write_text(json.dumps(rows[1:]))
    vocabulary = [["Back", "15som", "05Twis", "FREE"], ["Inward", "25som", "NoTwis", "PIKE"]]
    (root / "Diving48_vocab.json").write_text(json.dumps(vocabulary))
    return Made(root, "diving48", 2, labels=[1, 0])


@layout
def moving_mnist(root: Path, video: Path) -> Made:
    levels = np.add.outer(5 * np.arange(20), 30 * np.arange(4))[..., None, None]
    np.save(root / "mnist_test_seq.npy", np.tile(levels, (1, 1, 64, 64)).astype(np.uint8))
    return Made(root, "moving_mnist", 4)


@layout
def frame_folders(root: Path, video: Path) -> Made:
    """Numbers without zeros before them, whose order by letters is another."""
    for clip, level in (("run/b", 60), ("jump/c", 20), ("run/a", 40)):
        (root / clip).mkdir(parents=True)
        for number in range(1, 13):
            image = np.full((20, 30, 3), level + number, np.uint8)
            Image.fromarray(image).save(root / clip / f"f{number}.png")
    (root / "fps.txt").write_text("10\n")
    return Made(root, "frames", 3, labels=[0, 1, 1])
