"""Every format, made small in a folder: what the contract suite and the fuzzing start from."""

import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

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
