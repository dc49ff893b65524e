"""Diffusion Policy's data sets, as Push-T is published: a zarr store of rows (arXiv:2303.04137).

Rows of all episodes lie one after another in arrays below `data`: `img` (n h w 3), `action` (n a),
`state`, ...; `meta/episode_ends` says after which row each episode ends. The store is a folder or a
file that ends in `.zarr.zip`. Push-T's frames are float32, whole numbers from 0 to 255.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo, frame_size, images
from worldmodel.datasets.episode_source import (
    ACTION_NAMES,
    DEFAULT_FPS,
    EpisodeFormat,
    EpisodeItem,
    EpisodeRows,
    EpisodeSource,
    check_positive,
    choose,
)
from worldmodel.datasets.zarr_store import ZarrStore, opened_zarr, refuse_links
from worldmodel.errors import EpisodeError, printable
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.video import Video

_ENDS = "meta/episode_ends"
_LONGEST_ROW = 1024  # numbers of an info; longer rows are images of depth or clouds of points


@dataclass(frozen=True)
class DiffusionPolicy(EpisodeFormat):
    """A zarr store with `data/img`, `data/action` and `meta/episode_ends`.

    Attributes:
        camera: Which frames, by the name of their array; needed where there are several.
        action: Which actions; `action` or `actions` by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; the store does not say. Push-T has 10.
    """

    name: ClassVar[str] = "diffusion_policy"
    rank: ClassVar[int] = 16
    looks: ClassVar[str] = "a zarr store with meta/episode_ends, or a file that ends in .zarr.zip"

    camera: str | None = None
    action: str | None = None
    size: int | None = None
    fps: float = DEFAULT_FPS

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the description of the ends of episodes, or by the ending of a file."""
        if "\0" in path or "://" in path:
            return False
        if os.path.isfile(path):
            return path.lower().endswith(".zarr.zip")
        return any(os.path.isfile(f"{path}/{_ENDS}/{name}") for name in (".zarray", "zarr.json"))

    def source(self, path: str, video: Decoding) -> "ZarrEpisodes":
        """The episodes of the store; no video file is decoded, but the limits count."""
        if os.path.isdir(path):
            refuse_links(path)
        return ZarrEpisodes(path, self, video.limits)


def _ends(store: ZarrStore) -> list[int]:
    """After which row each episode ends.

    Raises:
        EpisodeError: they do not increase.
    """
    ends = store.whole_numbers(_ENDS)
    for index, (begin, end) in enumerate(pairwise([0, *ends])):
        if end <= begin:
            raise EpisodeError(
                f"{store.path}: episode {index} begins at row {begin} and ends at {end} "
                f"({_ENDS}); write it again"
            )
    return ends


def _is_video(array: Any) -> bool:
    """True for frames n h w c or n c h w: bytes, or floats that may be whole numbers."""
    if array.ndim != 4 or not (array.dtype == np.uint8 or array.dtype.kind == "f"):
        return False
    return array.shape[-1] in (1, 3) or array.shape[1] in (1, 3)


def as_bytes(frames: np.ndarray, name: str) -> np.ndarray:
    """Frames as uint8, where they are whole numbers from 0 to 255 of any type.

    Raises:
        EpisodeError: they are not.
    """
    if frames.dtype == np.uint8:
        return frames
    with np.errstate(invalid="ignore"):  # NaN
        small = frames.astype(np.uint8)
    wrong = small != frames
    if wrong.any():
        raise EpisodeError(
            f"{name}: holds {float(frames[wrong][0]):g}, and frames are whole numbers from 0 to "
            f"255; write them so, as uint8"
        )
    return small


@dataclass(frozen=True)
class ZarrVideo(EpisodeItem):
    """An episode in a zarr store."""

    name: str
    key: str
    path: str
    frames: str
    start: int
    shape: tuple[int, int, int]  # t h w
    fps: float
    actions: str | None
    infos: tuple[str, ...]

    def open(self, decoding: Decoding) -> Video:
        """Frames are read from the store when asked for."""

        def take(numbers: np.ndarray) -> np.ndarray:
            with opened_zarr(self.path) as store:
                frames = store.rows(self.frames, self.start, numbers)
            return images(as_bytes(frames, f"{self.name}, '{self.frames}'"))

        return ArrayVideo(self.name, take, self.shape, self.fps, decoding)

    def read_rows(self) -> EpisodeRows:
        """The numbers of every frame; what is in a row is flattened."""
        numbers = np.arange(self.shape[0])
        with opened_zarr(self.path) as store:
            rows = {
                key: store.rows(key, self.start, numbers)
                for key in (*self.infos, self.actions)
                if key is not None
            }
        actions = rows.pop(self.actions) if self.actions else None
        info = {
            key.removeprefix("data/"): a if a.ndim < 3 else a.reshape(len(a), -1)
            for key, a in rows.items()
        }
        return EpisodeRows(numbers / self.fps, actions, info)


class ZarrEpisodes(EpisodeSource):
    """The episodes of a store, as seen by one camera.

    Raises:
        EpisodeError: naming the store, what is wrong with it and what to do.
        ConfigError: a camera or an action that is not there.
    """

    def __init__(self, path: str, options: DiffusionPolicy, limits: Limits) -> None:
        self.name, self.fps, self.size = printable(path), options.fps, options.size
        stem = os.path.basename(os.path.abspath(path)).removesuffix(".zip").removesuffix(".zarr")
        self.env_id, self.decoding = f"diffusion_policy/{stem}", Decoding(limits=limits)
        with opened_zarr(path) as store:
            self._ends = _ends(store)
            found = {key: store.array(key) for key in store.keys("data")}
        arrays = {key: array for key, array in found.items() if array is not None}
        total = self._ends[-1] if self._ends else 0
        for key, array in arrays.items():
            if array.shape[0] < total:
                raise EpisodeError(
                    f"{path}: '{key}' has {array.shape[0]} rows, the last episode ends at {total} "
                    f"({_ENDS}); fetch or write the store again"
                )
        cameras = [key for key, array in arrays.items() if _is_video(array)]
        missing = (
            f"frames are n h w 3, uint8 or floats that are whole numbers, and none of "
            f"{', '.join(arrays)[:200] or 'no arrays'} is"
        )
        self._path = path
        self._camera = choose("camera", options.camera, cameras, name=self.name, missing=missing)
        self._size = frame_size(arrays[self._camera].shape)
        named = [f"data/{name}" for name in ACTION_NAMES if f"data/{name}" in arrays]
        self._action = named[0] if named else None
        if options.action is not None:
            self._action = choose("action", options.action, list(arrays), name=self.name)
        self._infos = tuple(
            key
            for key, array in arrays.items()
            if key not in (self._action, *cameras) and np.prod(array.shape[1:]) <= _LONGEST_ROW
        )
        self.lengths = np.diff([0, *self._ends]).tolist()
        self.has_actions = [self._action is not None] * len(self._ends)

    def actions(self) -> Iterator[np.ndarray]:
        """Those of each episode."""
        if self._action is not None:
            with opened_zarr(self._path) as store:
                for end, length in zip(self._ends, self.lengths, strict=True):
                    yield store.rows(self._action, end - length, np.arange(length))

    def item(self, index: int) -> ZarrVideo:
        """The episode as a video."""
        name, length = f"{self.name}::episode {index}", self.lengths[index]
        return ZarrVideo(
            name, name, self._path, self._camera, self._ends[index] - length,
            (length, *self._size), self.fps, self._action, self._infos,
        )  # fmt: skip
