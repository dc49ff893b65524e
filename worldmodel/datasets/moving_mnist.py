"""Moving MNIST: `mnist_test_seq.npy`, frames t, videos n, 64 x 64, uint8."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo, load_array
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.episode_source import check_positive
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import FileCatalogue
from worldmodel.datasets.published import first_file
from worldmodel.errors import VideoError
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

_FILES = ("mnist_test_seq.npy", "MovingMNIST/mnist_test_seq.npy")
_FIRST = 10  # frames that `train` has, as torchvision cuts it


@dataclass(frozen=True)
class MovingMNIST(Format):
    """An array of videos, which stays on disk.

    Attributes:
        split: `train` is the first ten frames of each, `test` the rest; all by default.
        fps: Frames per second; the data set states none.
    """

    name: ClassVar[str] = "moving_mnist"
    rank: ClassVar[int] = 35
    looks: ClassVar[str] = "mnist_test_seq.npy, or a folder with it"

    split: Literal["train", "test"] | None = None
    fps: float = 10.0

    def __post_init__(self) -> None:
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its name."""
        return os.path.basename(path) == _FILES[0] or first_file(path, _FILES) is not None

    def open(self, path: str) -> Catalogue:
        """A video for each column."""
        file = first_file(path, _FILES) or path
        require_file(Path(file), "array of videos", VideoError)
        frames, videos = load(file).shape[:2]
        begin, end = {None: (0, frames), "train": (0, _FIRST), "test": (_FIRST, frames)}[self.split]
        if min(end, frames) <= begin:
            raise VideoError(f"{file}: has {frames} frames, none of them in {self.split}; "
                             f"leave split out")  # fmt: skip

        def make(name: str, key: str, label: int | None) -> Item:
            where, _, number = key.rpartition("::")
            return Column(name, key, where, int(number), begin, min(end, frames), self.fps)

        return FileCatalogue(path, [f"{file}::{number}" for number in range(videos)], make=make)


@dataclass(frozen=True)
class Column(Item):
    """One video of an array."""

    name: str
    key: str
    path: str
    number: int
    begin: int  # frames
    end: int
    fps: float

    def open(self, decoding: Decoding) -> Video:
        """Frames are read from the file when asked for."""
        array = load(self.path)[self.begin : self.end, self.number]

        def frames(numbers: np.ndarray) -> np.ndarray:
            return np.array(array[numbers])[..., None]

        return ArrayVideo(self.name, frames, array.shape, self.fps, decoding)


def load(path: str) -> np.ndarray:
    """The array t n h w, left on disk.

    Raises:
        VideoError: it is not such an array.
    """
    try:
        array = load_array(path)
    except ValueError as cause:
        reason = " ".join(str(cause).split())[:120]
        raise VideoError(f"{path}: is not a complete array ({reason}); fetch it again") from cause
    if array.ndim != 4 or array.dtype != np.uint8:
        raise VideoError(f"{path}: is not an array t n h w of uint8; fetch Moving MNIST again")
    if not array.size:
        raise VideoError(f"{path}: is an empty array {array.shape}; fetch it again")
    return array
