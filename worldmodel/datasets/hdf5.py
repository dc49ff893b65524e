"""Episodes in one HDF5 file, in the two layouts that are published.

- Rows of all episodes one after another in columns (`pixels`, `action`, ...), and `ep_len` and
  `ep_offset` that say which rows each episode is: stable-worldmodel, LeWM, and the data sets of
  DINO-WM that come with them.
- A group for each episode, `data/demo_<i>`, with `actions` and `obs/<camera>`: robomimic.

Nothing outside the file is read: links to other files, external and virtual datasets are refused.
"""

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo, frame_size, images, looks_like_frames
from worldmodel.datasets.episode_source import (
    ACTION_NAMES,
    EpisodeFormat,
    EpisodeItem,
    EpisodeRows,
    EpisodeSource,
    check_positive,
    choose,
    fetch_again,
    info_names,
)
from worldmodel.datasets.format import require_extra
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError, nearest, printable
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.video import Video

DEFAULT_FPS = 10.0
_MAGIC = b"\x89HDF\r\n\x1a\n"
_MOST_BYTES = 2**32  # of one dataset's rows of one episode
_ENTRY_BYTES = 16  # of an entry in a list of episodes
_OTHERS = {  # names in a file, and who writes such files
    "observations": ", as ACT and ALOHA write each episode",
    "episode_0": ", as Minari writes episodes",
}


@dataclass(frozen=True)
class HDF5(EpisodeFormat):
    """One HDF5 file of episodes.

    Attributes:
        camera: Which frames, by their key or the last part of it; needed where there are several.
        action: Which actions; `action` or `actions` by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; by default what the file says (robomimic), else 10.
        split: A list of episodes below `mask/` (robomimic); all by default.
    """

    name: ClassVar[str] = "hdf5"
    rank: ClassVar[int] = 12
    looks: ClassVar[str] = "a file that begins as HDF5 does"

    camera: str | None = None
    action: str | None = None
    size: int | None = None
    fps: float | None = None
    split: str | None = None

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its first bytes, or by its ending where it has none."""
        if "://" in path or not os.path.isfile(path):
            return False
        try:
            with open(path, "rb") as file:
                return file.read(8) == _MAGIC or path.lower().endswith((".h5", ".hdf5"))
        except OSError:
            return path.lower().endswith((".h5", ".hdf5"))

    def source(self, path: str, video: Decoding) -> "HDF5Episodes":
        """The episodes of the file; no video file is decoded, but the limits count."""
        with opened_h5(path) as file:
            table = read_layout(
                file, path, camera=self.camera, action=self.action, split=self.split
            )
        fps = self.fps or table.fps or DEFAULT_FPS
        return HDF5Episodes(path, table, size=self.size, fps=fps, limits=video.limits)


@dataclass(frozen=True)
class Rows:
    """Rows of a dataset; those of other datasets of an episode have the same numbers."""

    key: str
    start: int
    stop: int


@dataclass
class EpisodeTable:
    """The contents of a file, an entry for each episode."""

    env: str
    fps: float | None
    size: tuple[int, int]  # h w of the frames
    names: list[str] = field(default_factory=list)
    frames: list[Rows] = field(default_factory=list)
    actions: list[str | None] = field(default_factory=list)  # datasets
    infos: list[Mapping[str, str]] = field(default_factory=list)  # datasets by the info's name


@contextmanager
def opened_h5(path: str) -> Iterator[Any]:
    """The file, to read; errors of the library become ours.

    Raises:
        EpisodeError: it is no HDF5 file, is cut, or holds what is not there.
    """
    h5py = require_extra("h5py", "hdf5", "HDF5")
    require_file(Path(path), "HDF5 file", EpisodeError)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except WorldModelError:
        raise
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, MemoryError, AttributeError,
            OverflowError, IndexError, NotImplementedError, UnicodeError) as cause:  # fmt: skip
        # A damaged file makes HDF5 fail wherever it happens to look.
        reason = " ".join(str(cause).split())[:160]
        more = "; pip install hdf5plugin where a filter is missing" if "filter" in reason else ""
        raise EpisodeError(
            f"{path}: is no valid HDF5 file ({reason}){more}; {fetch_again(path)}"
        ) from cause


def dataset(file: Any, path: str, key: str) -> Any:
    """A dataset that lies in this file itself, or None where there is none of that name.

    Raises:
        EpisodeError: it, or a group above it, lies somewhere else.
    """
    import h5py

    place: Any = file
    for part in key.split("/"):
        if not isinstance(place, h5py.Group) or part not in place:
            return None
        if not isinstance(place.get(part, getlink=True), h5py.HardLink):
            raise EpisodeError(f"{path}: '{key}' is a link; copy what it leads to into the file")
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        return None
    if place.external or place.is_virtual:
        raise EpisodeError(f"{path}: '{key}' lies in other files; copy it into this one")
    return place


def group_keys(file: Any, path: str, key: str = "") -> list[str]:
    """The names in a group; none where it is no group."""
    import h5py

    place: Any = file
    for part in key.split("/") if key else []:
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        place = place[part] if isinstance(link, h5py.HardLink) else None
    return [str(name) for name in place] if isinstance(place, h5py.Group) else []


def read_rows(file: Any, path: str, rows: Rows, numbers: np.ndarray | None = None) -> np.ndarray:
    """All rows, or those with these increasing numbers.

    Raises:
        EpisodeError: they would not fit in memory.
    """
    array = dataset(file, path, rows.key)
    if array is None:
        raise EpisodeError(f"{path}: has no '{rows.key}' any more; write it again")
    count = rows.stop - rows.start if numbers is None else len(numbers)
    if count * int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize > _MOST_BYTES:
        raise EpisodeError(
            f"{path}: '{rows.key}' claims more than 4 GiB for one episode; write shorter ones"
        )
    if numbers is None:
        return np.asarray(array[rows.start : rows.stop])
    steps = np.diff(numbers)
    first = rows.start + int(numbers[0])
    if len(steps) and (steps == steps[0]).all():  # a selection by step is many times faster
        return np.asarray(array[first : rows.start + int(numbers[-1]) + 1 : int(steps[0])])
    return np.asarray(array[rows.start + numbers])


def _whole(array: Any, path: str) -> np.ndarray:
    """All of a dataset that lists episodes.

    Raises:
        EpisodeError: it claims more than a list of episodes can be, or more than the file holds.
    """
    most = Limits().frames
    stored = array.id.get_storage_size()
    packed = array.id.get_create_plist().get_nfilters() > 0 and stored > 0
    if (
        array.size > most
        or array.nbytes > _ENTRY_BYTES * most
        or (array.nbytes > stored and not packed)
    ):
        raise EpisodeError(
            f"{path}: '{array.name[1:]}' claims {array.size} entries, {array.nbytes} "
            f"bytes, of which the file holds {stored}; write it again, with at most {most}"
        )
    return np.asarray(array[()])


def read_layout(
    file: Any, path: str, *, camera: str | None, action: str | None, split: str | None
) -> EpisodeTable:
    """Find the episodes.

    Raises:
        EpisodeError: naming the file, the episode and what is wrong with it.
        ConfigError: a camera, an action or a split that is not there.
    """
    if dataset(file, path, "ep_len") is not None and dataset(file, path, "ep_offset") is not None:
        if split is not None:
            raise ConfigError(f"{path}: split={split} is for robomimic's files; leave it out")
        return _columns(file, path, camera, action)
    if group_keys(file, path, "data"):
        return _groups(file, path, camera, action, split)
    keys = group_keys(file, path)
    likely = next((who for key, who in _OTHERS.items() if key in keys), "")
    raise EpisodeError(
        f"{path}: holds neither ep_len and ep_offset nor data/demo_0, but "
        f"{', '.join(keys)[:200] or 'nothing'}{likely}; convert it to one of those"
    )


def _columns(file: Any, path: str, camera: str | None, action: str | None) -> EpisodeTable:
    """Columns of all episodes, `ep_len` and `ep_offset`."""
    columns = [dataset(file, path, key) for key in ("ep_len", "ep_offset")]
    if any(c.ndim != 1 or c.dtype.kind not in "iu" or len(c) != len(columns[0]) for c in columns):
        raise EpisodeError(
            f"{path}: ep_len and ep_offset are not two rows of as many whole numbers; write it "
            f"again"
        )
    spans = [_whole(column, path).tolist() for column in columns]
    arrays = {key: dataset(file, path, key) for key in group_keys(file, path)}
    arrays = {k: a for k, a in arrays.items() if a is not None and k not in ("ep_len", "ep_offset")}
    if camera is None and "pixels" in arrays and looks_like_frames(arrays["pixels"]):
        camera = "pixels"
    frames = _choose_frames(arrays, camera, path)
    actions = _choose_action(arrays, action, path)
    total = len(arrays[frames])
    infos = {
        key: key
        for key, array in arrays.items()
        if _is_info(array) and key != actions and len(array) == total
    }
    if actions is not None and len(arrays[actions]) != total:
        raise EpisodeError(
            f"{path}: '{frames}' has {total} rows, '{actions}' {len(arrays[actions])}; write it "
            f"again"
        )
    table = EpisodeTable(f"hdf5/{Path(path).stem}", None, frame_size(arrays[frames].shape))
    end = 0
    for index, (length, start) in enumerate(zip(*spans, strict=True)):
        if length == 0:
            raise EpisodeError(
                f"{path}: episode {index} is empty (ep_len is 0); leave it out of ep_len and "
                f"ep_offset"
            )
        if length < 0 or start < end or start + length > total:
            raise EpisodeError(
                f"{path}: episode {index} is rows {start} to {start + length} of {total}, after "
                f"row {end}; write it again"
            )
        end = start + length
        table.names.append(f"episode {index}")
        table.frames.append(Rows(frames, start, end))
        table.actions.append(actions)
        table.infos.append(infos)
    return table


def _groups(
    file: Any, path: str, camera: str | None, action: str | None, split: str | None
) -> EpisodeTable:
    """`data/demo_<i>` with `obs/<camera>` and `actions`."""
    demos = sorted(group_keys(file, path, "data"), key=_by_number)
    if split is not None:
        splits = group_keys(file, path, "mask")
        if split not in splits:
            raise ConfigError(f"{path}: no split '{split}': {nearest(split, splits)}")
        mask = dataset(file, path, f"mask/{split}")
        if mask is None or mask.ndim != 1:
            raise EpisodeError(f"{path}: mask/{split} lists no episodes; write it again")
        kept = {n.decode() if isinstance(n, bytes) else str(n) for n in _whole(mask, path)}
        demos = [demo for demo in demos if demo in kept]
    if not demos:
        raise EpisodeError(f"{path}: holds no episode below data/; check the file or the split")
    table = EpisodeTable(f"robomimic/{Path(path).stem}", _control_rate(file["data"]), (0, 0))
    for demo in demos:
        _add_demo(table, file, path, demo, camera=camera, action=action)
    # One name for all demonstrations, also where one of them lacks a dataset that others have.
    names = info_names(dict.fromkeys(key for infos in table.infos for key in infos), "obs/")
    table.infos = [{names[key]: place for key, place in infos.items()} for infos in table.infos]
    return table


def _add_demo(
    table: EpisodeTable, file: Any, path: str, demo: str, *, camera: str | None, action: str | None
) -> None:
    base, name = f"data/{demo}", f"{path}::{demo}"
    inside = [f"obs/{key}" for key in group_keys(file, path, f"{base}/obs")]
    inside += group_keys(file, path, base)
    found = {key: dataset(file, path, f"{base}/{key}") for key in inside}
    arrays = {key: array for key, array in found.items() if array is not None and array.shape}
    if not any(len(array) for array in arrays.values()):
        raise EpisodeError(
            f"{name}: is an empty demonstration; remove its group, or name the others in a list "
            f"below mask/ and choose that with split="
        )
    frames = _choose_frames(arrays, camera, name)
    actions = _choose_action(arrays, action, name)
    length, size = len(arrays[frames]), frame_size(arrays[frames].shape)
    table.size = table.size if table.frames else size
    if size != table.size:
        raise EpisodeError(
            f"{name}: frames are {size}, those before {table.size}; write them at one size"
        )
    for key in (frames, actions):
        if key is not None and (len(arrays[key]) != length or length < 1):
            raise EpisodeError(
                f"{name}: '{frames}' has {length} rows, '{key}' {len(arrays[key])}; write it again"
            )
    table.names.append(demo)
    table.frames.append(Rows(f"{base}/{frames}", 0, length))
    table.actions.append(None if actions is None else f"{base}/{actions}")
    table.infos.append({
        key: f"{base}/{key}"
        for key, array in arrays.items()
        if key != actions and _is_info(array) and len(array) == length
    })  # fmt: skip


def _choose_frames(arrays: Mapping[str, Any], camera: str | None, name: str) -> str:
    cameras = [key for key, array in arrays.items() if looks_like_frames(array)]
    missing = f"frames are t h w c or t c h w, uint8, and none of {', '.join(arrays)[:200]} is"
    return choose("camera", camera, cameras, name=name, missing=missing)


def _choose_action(arrays: Mapping[str, Any], asked: str | None, name: str) -> str | None:
    if asked is not None:
        return choose("action", asked, list(arrays), name=name)
    return next((key for key in ACTION_NAMES if key in arrays), None)


def _is_info(array: Any) -> bool:
    return array.ndim in (1, 2) and array.dtype.kind in "fiub" and array.dtype.itemsize <= 8


def _by_number(demo: str) -> tuple[int, str]:
    digits = demo.rpartition("_")[2]
    return (int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 12 else -1, demo)


def _control_rate(group: Any) -> float | None:
    """Steps per second that robomimic's `env_args` tell of."""
    text = group.attrs.get("env_args")
    try:
        values = json.loads(text) if isinstance(text, str | bytes) else {}
        rate = values["env_kwargs"]["control_freq"]
        return float(rate) if 0 < float(rate) < 1e6 else None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None


@dataclass(frozen=True)
class HDF5Video(EpisodeItem):
    """An episode in an HDF5 file."""

    name: str
    key: str
    path: str
    frames: Rows
    shape: tuple[int, int, int]  # t h w
    fps: float
    actions: str | None
    infos: tuple[tuple[str, str], ...]  # name and dataset of each

    def open(self, decoding: Decoding) -> Video:
        """Frames are read from the file when asked for."""

        def take(numbers: np.ndarray) -> np.ndarray:
            with opened_h5(self.path) as file:
                return images(read_rows(file, self.path, self.frames, numbers))

        return ArrayVideo(self.name, take, self.shape, self.fps, decoding)

    def read_rows(self) -> EpisodeRows:
        """The numbers of every frame."""
        with opened_h5(self.path) as file:

            def read(key: str) -> np.ndarray:
                return read_rows(file, self.path, replace(self.frames, key=key))

            actions = None if self.actions is None else read(self.actions)
            info = {name: read(key) for name, key in self.infos}
        return EpisodeRows(np.arange(self.shape[0]) / self.fps, actions, info)


class HDF5Episodes(EpisodeSource):
    """The episodes of a file, as seen by one camera."""

    def __init__(
        self, path: str, table: EpisodeTable, *, size: int | None, fps: float, limits: Limits
    ) -> None:
        self.name, self.env_id, self.fps = printable(path), table.env, fps
        self.lengths = [rows.stop - rows.start for rows in table.frames]
        self.has_actions = [key is not None for key in table.actions]
        self.size, self.decoding = size, Decoding(limits=limits)
        self._path, self._table = path, table

    def actions(self) -> Iterator[np.ndarray]:
        """Those of each episode."""
        with opened_h5(self._path) as file:
            for rows, key in zip(self._table.frames, self._table.actions, strict=True):
                if key is not None:
                    yield read_rows(file, self._path, replace(rows, key=key))

    def item(self, index: int) -> HDF5Video:
        """The episode as a video."""
        table, name = self._table, f"{self.name}::{self._table.names[index]}"
        shape = (self.lengths[index], *table.size)
        return HDF5Video(
            name, name, self._path, table.frames[index], shape, self.fps,
            table.actions[index], tuple(table.infos[index].items()),
        )  # fmt: skip
