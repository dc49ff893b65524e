"""Every format, made small in a folder: what the contract suite and the fuzzing start from."""

import io
import shutil
import tarfile
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
from PIL import Image

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
        picture = np.full((20, 30, 3), 50 * number, np.uint8)
        Image.fromarray(picture).save(root / name)
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
