"""Folders of numbered images: each folder is a video, its frames in the order of the numbers."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from itertools import groupby, islice
from typing import ClassVar

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.episode_source import check_positive
from worldmodel.datasets.format import Format
from worldmodel.datasets.image_file import IMAGES, read_image
from worldmodel.datasets.listing import VIDEOS, FileCatalogue, names_in, walk
from worldmodel.datasets.published import lines_of
from worldmodel.errors import VideoError
from worldmodel.video.container import VideoInfo
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

RATE_FILE = "fps.txt"  # frames per second, beside the frames or in a folder above them
_LOOK_AT = 2000  # files, to tell frames of videos from single images
_NUMBER = re.compile(r"([0-9]+)")


@dataclass(frozen=True)
class FrameFolders(Format):
    """Folders of numbered images, each of them a video.

    Where every video lies in a folder below `path`, the names of those folders are the classes.

    Attributes:
        fps: Frames per second; without it, the number in the nearest `fps.txt`, beside the frames
            or in a folder above them up to `path`.
        only: Name of the folders to take, where a video has several, as `scene` beside `depth` and
            `masks`; the class is then the folder two above.
    """

    name: ClassVar[str] = "frames"
    rank: ClassVar[int] = 60
    looks: ClassVar[str] = "folders of images that differ in a number, which mostly counts on"

    fps: float | None = None
    only: str | None = None

    def __post_init__(self) -> None:
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the first files: most of the images are numbered and come one after another.

        Single images are often numbered too, but at random within their class; where they are not,
        they are taken for frames, and whoever opens them is asked for `fps`.
        """
        if not os.path.isdir(path):
            return False
        steps: Counter[int] = Counter()
        others = 0
        try:
            found = [(f, _images(names)) for f, names in _by_folder(islice(walk(path), _LOOK_AT))]
        except VideoError:
            return False
        for folder, images in found:
            try:
                steps.update(np.diff(np.sort(_numbers(images, folder))).tolist())
            except VideoError:
                others += len(images)
        return bool(steps) and 2 * max(steps.values()) > steps.total() + others

    def open(self, path: str) -> Catalogue:
        """The folders in the order of their paths; opens no image."""
        root = path.rstrip(os.sep) or path
        folders, video = [], ""
        for folder, names in _by_folder(walk(root)):
            videos = [name for name in names if name.lower().endswith(VIDEOS)]
            video = video or (os.path.join(folder, videos[0]) if videos else "")
            if _images(names) and self.only in (None, os.path.basename(folder)):
                folders.append(folder)
        if not folders:
            which = f" called '{self.only}'" if self.only else ""
            raise VideoError(f"{path}: has no folder{which} with images ({' '.join(IMAGES)})")
        if video:
            raise VideoError(
                f"{path}: holds folders of images ({folders[0]}) and videos ({video}); move them "
                f"apart, or read the videos alone with format=folder"
            )
        folders.sort(key=lambda folder: folder.split(os.sep))

        @cache
        def rate_above(folder: str) -> float | None:
            """The rate that is said in a folder, or else in the nearest one above it."""
            file = os.path.join(folder, RATE_FILE)
            if os.path.isfile(file):
                return rate_in(file)
            return None if folder == root else rate_above(os.path.dirname(folder))

        rates = {folder: self.fps or rate_above(folder) or 0.0 for folder in folders}
        unknown = [folder for folder, rate in rates.items() if not rate]
        if unknown:
            raise VideoError(
                f"{path}: holds {len(folders)} folders of numbered images, which are read as "
                f"videos; say how many frames a second {unknown[0]} has, with fps= or in a file "
                f"{RATE_FILE} beside or above the images; if each image stands for itself, say "
                f"format=images"
            )

        def make(name: str, key: str, label: int | None) -> Item:
            return FrameFolder(name, key, rates[key], label)

        above = [os.path.dirname(folder) for folder in folders]
        if self.only:
            above = [os.path.dirname(folder) for folder in above]
        if not all(folder.startswith(os.path.join(root, "")) for folder in above):
            return FileCatalogue(path, folders, make=make)
        classes, labels = np.unique([os.path.basename(f) for f in above], return_inverse=True)
        return FileCatalogue(path, folders, labels=labels, classes=classes.tolist(), make=make)


@dataclass(frozen=True)
class FrameFolder(Item):
    """A folder of numbered images as a video."""

    name: str
    key: str
    fps: float
    label: int | None = None

    def open(self, decoding: Decoding) -> Video:
        """Order the images; each is decoded when it is asked for."""
        files = [os.path.join(self.key, name) for name in _in_order(self.key)]
        if not files:
            raise VideoError(f"{self.name}: holds no image; name a folder of numbered images")

        def decode(number: int) -> np.ndarray:
            return read_image(files[number], files[number], decoding.limits)

        size = decode(0).shape

        def take(numbers: np.ndarray) -> np.ndarray:
            images = [decode(number) for number in numbers]
            for number, image in zip(numbers, images, strict=True):
                if image.shape != size:
                    raise VideoError(
                        f"{files[number]}: is {image.shape[1]}x{image.shape[0]}, the first image "
                        f"of its folder {size[1]}x{size[0]}; frames of a video have one size: "
                        f"resize it, or move it away"
                    )
            return np.stack(images)

        return ArrayVideo(self.name, take, (len(files), *size[:2]), self.fps, decoding)


def timed_frames(
    folder: str, decoding: Decoding, *, fps: float | None = None
) -> tuple[VideoInfo, Iterator[tuple[float, np.ndarray]]]:
    """One folder of frames as `read_clip` takes it: what it is, and its images with their times.

    Args:
        folder: With numbered images in it.
        decoding: What is refused.
        fps: Frames per second, where no `fps.txt` beside the images or in the folder above says it.

    Raises:
        VideoError: it is no such folder, or nothing says its rate.
    """
    if not os.path.isdir(folder):
        raise VideoError(f"{folder}: is no folder of images; check the path")
    files = (os.path.join(folder, *up, RATE_FILE) for up in ((), (os.pardir,)))
    rate = next((rate_in(file) for file in files if os.path.isfile(file)), fps)
    if not rate:
        raise VideoError(
            f"{folder}: say how many frames a second its images are, with fps= or in a file "
            f"{RATE_FILE} beside them or in the folder above"
        )
    video = FrameFolder(folder, folder, rate).open(replace(decoding, short_side=None))
    count = video.num_frames
    height, width = video.read(np.array([0])).shape[-2:]
    info = VideoInfo(folder, count, rate, height, width, "frames", count / rate)
    images = (video.read(np.array([i]))[0].movedim(0, -1).numpy() for i in range(count))
    return info, zip(video.times(np.arange(count)).tolist(), images, strict=True)


def _by_folder(paths: Iterable[str]) -> Iterator[tuple[str, list[str]]]:
    """Folders with the names of the files in them."""
    for folder, found in groupby(paths, os.path.dirname):
        yield folder, [os.path.basename(path) for path in found]


def _images(names: Sequence[str]) -> list[str]:
    return [name for name in names if name.lower().endswith(IMAGES) and name[0] != "."]


def _numbers(names: Sequence[str], folder: str) -> np.ndarray:
    """The number of each image: what differs in their names.

    Raises:
        VideoError: an image has none, or they differ in something else.
    """
    parts = [_NUMBER.split(name) for name in names]
    if not parts:
        return np.array([], object)
    for name, part in zip(names, parts, strict=True):
        if part[::2] != parts[0][::2] or len(part) == 1:
            raise VideoError(
                f"{folder}: {name} is not numbered like {names[0]}; the frames of a video are "
                f"images that differ only in a number: move the others away"
            )
    differ = [i for i in range(1, len(parts[0]), 2) if len({part[i] for part in parts}) > 1]
    if len(differ) > 1:
        raise VideoError(
            f"{folder}: {names[0]} and {names[-1]} differ in several numbers; keep the one that "
            f"counts the frames, or put each video in a folder of its own"
        )
    at = differ[0] if differ else -2
    return np.array([int(part[at]) for part in parts], object)


def _in_order(folder: str) -> list[str]:
    """The names of the images in a folder by their numbers, all steps between which are equal.

    Raises:
        VideoError: a number is missing or there twice.
    """
    names = _images(names_in(folder))
    numbers = _numbers(names, folder)
    order = np.argsort(numbers, kind="stable")
    ordered = [names[i] for i in order]
    steps = np.diff(numbers[order]).tolist()
    usual = Counter(steps).most_common(1)[0][0] if steps else 0
    at = next((i for i, step in enumerate(steps) if step != usual or step == 0), None)
    if at is not None:
        number = numbers[order[at]]
        what = (
            f"number {number} is there twice ({ordered[at]} and {ordered[at + 1]})"
            if steps[at] == 0
            else f"number {number + usual} is missing after {ordered[at]}"
            if steps[at] > usual
            else f"{ordered[at + 1]} comes between frames that count in steps of {usual}"
        )
        raise VideoError(
            f"{folder}: {what}; extract the frames again, or number them one after the other if "
            f"none is missing"
        )
    return ordered


def rate_in(path: str) -> float:
    """The number in a file of a rate."""
    text = " ".join(line for _, line in lines_of(path))
    try:
        rate = float(text)
    except ValueError:
        rate = math.nan
    if not 0 < rate < math.inf:
        raise VideoError(f"{path}: '{text[:60]}' is not a number of frames per second; write one")
    return rate
