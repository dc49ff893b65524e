"""Episodes in HDF5 files, whatever the layout that says where each of them is.

Frames are pixels, or one coded image (JPEG or PNG) for each row. What finds the episodes, one file
for each layout, makes an `HDF5Video` of each.
"""

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from typing import Any, Literal

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo, frame_size, images, looks_like_frames
from worldmodel.datasets.episode_source import (
    ACTION_NAMES,
    DEFAULT_FPS,
    Choices,
    EpisodeItem,
    EpisodeRows,
    EpisodeSource,
    choose,
    info_names,
)
from worldmodel.datasets.hdf5_file import Rows, is_info, opened_h5, read_rows
from worldmodel.datasets.image_file import read_image
from worldmodel.errors import EpisodeError, printable
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.video import Video

Coded = Literal["pixels", "rgb", "bgr"]  # bgr: red and blue are exchanged in the coded images
_CODES = (b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n")  # how JPEG and PNG begin


def holds_coded_images(array: Any) -> bool:
    """True for a dataset with one JPEG or PNG in each row: bytes, padded to one length or not."""
    import h5py

    if array.ndim not in (1, 2) or not len(array):
        return False
    padded = array.ndim == 2 and array.dtype == np.uint8
    as_long_as_they_are = array.ndim == 1 and (
        array.dtype.kind == "S" or h5py.check_vlen_dtype(array.dtype) == np.uint8
    )
    return (padded or as_long_as_they_are) and _bytes(array[0]).startswith(_CODES)


def is_video(array: Any) -> bool:
    """True for a dataset that can be the frames of episodes."""
    return looks_like_frames(array) or holds_coded_images(array)


def how_coded(array: Any) -> Coded:
    """How the frames of such a dataset are stored."""
    return "pixels" if looks_like_frames(array) else "rgb"


def choose_frames(
    arrays: Mapping[str, Any], camera: str | None, name: str, *, missing: str = ""
) -> str:
    """The key of the dataset that holds the frames.

    Args:
        arrays: Datasets by their keys.
        camera: The one that was asked for.
        name: Of the episode, for messages.
        missing: Why there may be none, and what to do.

    Raises:
        ConfigError: there is none, or several and none was chosen.
    """
    cameras = [key for key, array in arrays.items() if is_video(array)]
    why = missing or (
        f"frames are t h w c or t c h w, uint8, or a JPEG in each row, and none of "
        f"{', '.join(arrays)[:200]} is"
    )
    return choose("camera", camera, cameras, name=name, missing=why)


def choose_action(arrays: Mapping[str, Any], asked: str | None, name: str) -> str | None:
    """The key of the actions: what was asked for, else `action` or `actions`, if there is one.

    Raises:
        ConfigError: what was asked for is not there.
    """
    if asked is not None:
        return choose("action", asked, list(arrays), name=name)
    return next((key for key in ACTION_NAMES if key in arrays), None)


def info_keys(
    arrays: Mapping[str, Any], lengths: Sequence[int], without: Sequence[str | None]
) -> list[str]:
    """The keys of the datasets that become infos.

    Args:
        arrays: Datasets by their keys.
        lengths: How many rows they may have.
        without: Keys of what is read otherwise: frames and actions.
    """
    return [
        key
        for key, array in arrays.items()
        if key not in without
        and is_info(array)
        and len(array) in lengths
        and not holds_coded_images(array)
    ]


def size_of_frames(array: Any, name: str) -> tuple[int, int]:
    """Height and width of the frames in a dataset; of coded ones the first is decoded.

    Raises:
        VideoError: the first image is damaged.
    """
    if looks_like_frames(array):
        height, width = frame_size(array.shape)
        return int(height), int(width)
    height, width, _ = read_image(io.BytesIO(_bytes(array[0])), f"{name}, frame 0", Limits()).shape
    return height, width


@dataclass(frozen=True)
class HDF5Video(EpisodeItem):
    """An episode in an HDF5 file.

    Attributes:
        name: Of the episode, for messages.
        key: The same: no two episodes share what is read.
        path: The file.
        frames: The rows of its frames.
        size: Height and width of them.
        fps: Frames per second.
        actions: The dataset of its actions.
        infos: The name and the dataset of each info.
        coded: How the frames are stored.
        between: Actions lie between frames, so that there is one fewer of them, as of what
            they lead to; otherwise there is a row of everything for each frame.
        choices: What the actions are numbers of, where they are choices.
    """

    name: str
    key: str
    path: str
    frames: Rows
    size: tuple[int, int]
    fps: float
    actions: str | None
    infos: tuple[tuple[str, str], ...]
    coded: Coded = "pixels"
    between: bool = False
    choices: Choices | None = None

    @property
    def length(self) -> int:
        """How many frames it has."""
        return self.frames.stop - self.frames.start

    def open(self, decoding: Decoding) -> Video:
        """Frames are read from the file when asked for."""

        def take(numbers: np.ndarray) -> np.ndarray:
            with opened_h5(self.path) as file:
                rows = read_rows(file, self.path, self.frames, numbers)
            return images(rows) if self.coded == "pixels" else self._decode(rows, numbers, decoding)

        return ArrayVideo(self.name, take, (self.length, *self.size), self.fps, decoding)

    def read_rows(self) -> EpisodeRows:
        """The numbers of every frame."""
        with opened_h5(self.path) as file:

            def read(key: str) -> np.ndarray:
                return read_rows(file, self.path, replace(self.frames, key=key))

            actions = None if self.actions is None else _flat(read(self.actions))
            info = {name: read(key) for name, key in self.infos}
        if self.between:
            info = {name: _from_the_second(rows, self.length) for name, rows in info.items()}
        times = np.arange(self.length) / self.fps
        return EpisodeRows(times, actions, info, self.between, self.choices)

    def _decode(self, rows: np.ndarray, numbers: np.ndarray, decoding: Decoding) -> np.ndarray:
        frames = np.empty((len(numbers), *self.size, 3), np.uint8)
        for frame, number, row in zip(frames, numbers, rows, strict=True):
            name = f"{self.name}, frame {number}"
            image = read_image(io.BytesIO(_bytes(row)), name, decoding.limits)
            if image.shape[:2] != self.size:
                raise EpisodeError(
                    f"{name}: is {image.shape[:2]}, the data set's first {self.size}; write all at "
                    f"one size"
                )
            frame[:] = image[..., ::-1] if self.coded == "bgr" else image
        return frames


def with_info_names(videos: Sequence[HDF5Video], *prefixes: str) -> list[HDF5Video]:
    """The episodes, whose infos went by their keys, with names for them: see `info_names`.

    One name for all episodes, also where one of them lacks a dataset that others have.
    """
    names = info_names(dict.fromkeys(key for v in videos for key, _ in v.infos), *prefixes)
    return [replace(v, infos=tuple((names[key], at) for key, at in v.infos)) for v in videos]


def _bytes(row: Any) -> bytes:
    """A coded image, as a row of a dataset holds it."""
    return row.tobytes() if isinstance(row, np.ndarray) else bytes(row)


def _flat(rows: np.ndarray) -> np.ndarray:
    """Rows of numbers, where each was a matrix; images are left for others to refuse."""
    return rows.reshape(len(rows), int(np.prod(rows.shape[1:]))) if rows.ndim == 3 else rows


def _from_the_second(rows: np.ndarray, length: int) -> np.ndarray:
    """Rows for each frame, where those of steps begin at the frame that the first step led to.

    Before any step there is no number: NaN, or zero where the type has none.
    """
    if len(rows) == length:
        return rows
    first = np.full((1, *rows.shape[1:]), np.nan if rows.dtype.kind == "f" else 0, rows.dtype)
    return np.concatenate([first, rows])


class HDF5Episodes(EpisodeSource):
    """Episodes in HDF5 files, as seen by one camera.

    Args:
        path: Of the data set.
        env_id: Stands for the environment.
        videos: The episodes, in order; frames of all have one size.
        size: Episodes are read as middle squares of this side.
        limits: What is refused when frames are read.

    Raises:
        EpisodeError: frames differ in size.
    """

    def __init__(
        self,
        path: str,
        env_id: str,
        videos: Sequence[HDF5Video],
        *,
        size: int | None,
        limits: Limits,
    ) -> None:
        self.name, self.env_id = printable(path), env_id
        self.fps = videos[0].fps if videos else DEFAULT_FPS
        self.lengths = [video.length for video in videos]
        self.has_actions = [video.actions is not None for video in videos]
        self.size, self.decoding = size, Decoding(limits=limits)
        self.choices = videos[0].choices if videos else None
        self._videos = videos
        for video in videos:
            if video.size != videos[0].size:
                raise EpisodeError(
                    f"{video.name}: frames are {video.size}, those before {videos[0].size}; write "
                    f"them at one size"
                )

    def actions(self) -> Iterator[np.ndarray]:
        """Those of each episode."""
        for path, videos in groupby(self._videos, key=lambda video: video.path):
            with opened_h5(path) as file:
                for video in videos:
                    if video.actions is not None:
                        yield read_rows(file, path, replace(video.frames, key=video.actions))

    def item(self, index: int) -> HDF5Video:
        """The episode as a video."""
        return self._videos[index]
