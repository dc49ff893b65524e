"""Where the episodes of an HDF5 file lie: what is searched, checked and refused.

Nothing outside the file is read: links to other files, external and virtual datasets are refused.
"""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.datasets.array_video import frame_size, looks_like_frames
from worldmodel.datasets.episode_source import choose
from worldmodel.datasets.format import require_extra
from worldmodel.datasets.listing import shown
from worldmodel.errors import ConfigError, EpisodeError, WorldModelError, nearest
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Limits

_MOST_BYTES = 2**32  # of one dataset's rows of one episode
_ENTRY_BYTES = 16  # of an entry in a list of episodes
_ACTIONS = ("action", "actions")


@dataclass(frozen=True)
class Rows:
    """Rows of a dataset."""

    key: str
    start: int
    stop: int


@dataclass
class Table:
    """What a file holds, an entry for each episode."""

    env: str
    fps: float | None
    size: tuple[int, int]  # h w of the frames
    names: list[str] = field(default_factory=list)
    frames: list[Rows] = field(default_factory=list)
    actions: list[Rows | None] = field(default_factory=list)
    infos: list[Mapping[str, Rows]] = field(default_factory=list)


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
        reason = shown(" ".join(str(cause).split()))[:160]
        more = "; pip install hdf5plugin where a filter is missing" if "filter" in reason else ""
        raise EpisodeError(
            f"{shown(path)}: is no whole HDF5 file ({reason}){more}; fetch or write it again"
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
            raise EpisodeError(f"{shown(path)}: '{shown(key)}' is a link; copy what it leads to "
                               f"into the file")  # fmt: skip
        place = place[part]
    if not isinstance(place, h5py.Dataset):
        return None
    if place.external or place.is_virtual:
        raise EpisodeError(
            f"{shown(path)}: '{shown(key)}' lies in other files; copy it into this one"
        )
    return place


def group_keys(file: Any, path: str, key: str = "") -> list[str]:
    """The names in a group; none where it is no group."""
    import h5py

    place: Any = file
    for part in key.split("/") if key else []:
        link = place.get(part, getlink=True) if isinstance(place, h5py.Group) else None
        place = place[part] if isinstance(link, h5py.HardLink) else None
    return [str(name) for name in place] if isinstance(place, h5py.Group) else []


def rows_of(file: Any, path: str, rows: Rows, numbers: np.ndarray | None = None) -> np.ndarray:
    """All rows, or those with these increasing numbers.

    Raises:
        EpisodeError: they would not fit in memory.
    """
    array = dataset(file, path, rows.key)
    if array is None:
        raise EpisodeError(f"{shown(path)}: has no '{shown(rows.key)}' any more; write it again")
    count = rows.stop - rows.start if numbers is None else len(numbers)
    if count * int(np.prod(array.shape[1:], dtype=object)) * array.dtype.itemsize > _MOST_BYTES:
        raise EpisodeError(f"{shown(path)}: '{shown(rows.key)}' claims more than 4 GiB for one "
                           f"episode; write shorter ones")  # fmt: skip
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
            f"{shown(path)}: '{shown(array.name[1:])}' claims {array.size} entries, {array.nbytes} "
            f"bytes, of which the file holds {stored}; write it again, with at most {most}"
        )
    return np.asarray(array[()])


def read_layout(
    file: Any, path: str, *, camera: str | None, action: str | None, split: str | None
) -> Table:
    """Where the episodes are.

    Raises:
        EpisodeError: naming the file, the episode and what is wrong with it.
        ConfigError: a camera, an action or a split that is not there.
    """
    if dataset(file, path, "ep_len") is not None and dataset(file, path, "ep_offset") is not None:
        if split is not None:
            raise ConfigError(
                f"{shown(path)}: split={split} is for robomimic's files; leave it out"
            )
        return _columns(file, path, camera, action)
    if group_keys(file, path, "data"):
        return _groups(file, path, camera, action, split)
    raise EpisodeError(
        f"{shown(path)}: holds neither ep_len and ep_offset nor data/demo_0, but "
        f"{shown(', '.join(group_keys(file, path)))[:200] or 'nothing'}; convert it to one of those"
    )


def _columns(file: Any, path: str, camera: str | None, action: str | None) -> Table:
    """Columns of all episodes, `ep_len` and `ep_offset`."""
    name = shown(path)
    columns = [dataset(file, path, key) for key in ("ep_len", "ep_offset")]
    if any(c.ndim != 1 or c.dtype.kind not in "iu" for c in columns) or (
        len(columns[0]) != len(columns[1])
    ):
        raise EpisodeError(f"{name}: ep_len and ep_offset are not two rows of as many whole "
                           f"numbers; write it again")  # fmt: skip
    bounds = [_whole(column, path) for column in columns]
    arrays = {key: dataset(file, path, key) for key in group_keys(file, path)}
    arrays = {k: a for k, a in arrays.items() if a is not None and k not in ("ep_len", "ep_offset")}
    cameras = [key for key, array in arrays.items() if looks_like_frames(array)]
    asked = "pixels" if camera is None and "pixels" in cameras else camera
    frames = choose("camera", asked, cameras, name=name)
    actions = _choose_action(arrays, action, name)
    total = len(arrays[frames])
    others = {k: a for k, a in arrays.items() if k not in cameras and k != actions}
    infos = [k for k, a in others.items() if _is_info(a) and len(a) == total]
    if actions is not None and len(arrays[actions]) != total:
        raise EpisodeError(f"{name}: '{frames}' has {total} rows, '{actions}' "
                           f"{len(arrays[actions])}; write it again")  # fmt: skip
    table = Table(f"hdf5/{Path(path).stem}", None, frame_size(arrays[frames].shape))
    end = 0
    for index, (length, start) in enumerate(zip(*(b.tolist() for b in bounds), strict=True)):
        if length < 1 or start < end or start + length > total:
            raise EpisodeError(f"{name}: episode {index} is rows {start} to {start + length} of "
                               f"{total}, after row {end}; write it again")  # fmt: skip
        end = start + length
        table.names.append(f"episode {index}")
        table.frames.append(Rows(frames, start, end))
        table.actions.append(None if actions is None else Rows(actions, start, end))
        table.infos.append({key: Rows(key, start, end) for key in infos})
    return table


def _groups(
    file: Any, path: str, camera: str | None, action: str | None, split: str | None
) -> Table:
    """`data/demo_<i>` with `obs/<camera>` and `actions`."""
    name = shown(path)
    demos = sorted(group_keys(file, path, "data"), key=_by_number)
    if split is not None:
        splits = group_keys(file, path, "mask")
        if split not in splits:
            raise ConfigError(f"{name}: no split '{split}': {nearest(split, splits)}")
        mask = dataset(file, path, f"mask/{split}")
        if mask is None or mask.ndim != 1:
            raise EpisodeError(f"{name}: mask/{shown(split)} lists no episodes; write it again")
        kept = {n.decode() if isinstance(n, bytes) else str(n) for n in _whole(mask, path)}
        demos = [demo for demo in demos if demo in kept]
    fps = _control_rate(file["data"])
    table: Table | None = None
    for demo in demos:
        base = f"data/{demo}"
        inside = [f"obs/{key}" for key in group_keys(file, path, f"{base}/obs")]
        inside += group_keys(file, path, base)
        arrays = {key: dataset(file, path, f"{base}/{key}") for key in inside}
        arrays = {key: array for key, array in arrays.items() if array is not None}
        cameras = [key for key, array in arrays.items() if looks_like_frames(array)]
        frames = choose("camera", camera, cameras, name=f"{name}::{demo}")
        actions = _choose_action(arrays, action, f"{name}::{demo}")
        length, size = len(arrays[frames]), frame_size(arrays[frames].shape)
        table = table or Table(f"robomimic/{Path(path).stem}", fps, size)
        if size != table.size:
            raise EpisodeError(f"{name}::{demo}: frames are {size}, those before {table.size}; "
                               f"write them at one size")  # fmt: skip
        for key in (frames, actions):
            if key is not None and (len(arrays[key]) != length or length < 1):
                raise EpisodeError(f"{name}::{demo}: '{frames}' has {length} rows, '{key}' "
                                   f"{len(arrays[key])}; write it again")  # fmt: skip
        table.names.append(demo)
        table.frames.append(Rows(f"{base}/{frames}", 0, length))
        table.actions.append(None if actions is None else Rows(f"{base}/{actions}", 0, length))
        table.infos.append({
            key.removeprefix("obs/"): Rows(f"{base}/{key}", 0, length)
            for key, array in arrays.items()
            if key != actions and _is_info(array) and len(array) == length
        })  # fmt: skip
    if table is None:
        raise EpisodeError(f"{name}: holds no episode below data/; check the file or the split")
    return table


def _choose_action(arrays: Mapping[str, Any], asked: str | None, name: str) -> str | None:
    if asked is not None:
        return choose("action", asked, list(arrays), name=name)
    return next((key for key in _ACTIONS if key in arrays), None)


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
