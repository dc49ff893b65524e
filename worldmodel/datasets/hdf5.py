"""Episodes in one HDF5 file, in the two layouts that are published.

- Rows of all episodes one after another in columns (`pixels`, `action`, ...), and `ep_len` and
  `ep_offset` that say which rows each episode is: stable-worldmodel, LeWM, and the data sets of
  DINO-WM that come with them.
- A group for each episode, `data/demo_<i>`, with `actions` and `obs/<camera>`: robomimic.

Nothing outside the file is read: links to other files, external and virtual datasets are refused.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from worldmodel.datasets.episode_source import (
    DEFAULT_FPS,
    EpisodeFormat,
    check_positive,
)
from worldmodel.datasets.hdf5_episodes import (
    HDF5Episodes,
    HDF5Video,
    choose_action,
    choose_frames,
    how_coded,
    info_keys,
    is_video,
    size_of_frames,
    with_info_names,
)
from worldmodel.datasets.hdf5_file import (
    Rows,
    by_number,
    dataset,
    group_keys,
    looks_like_hdf5,
    opened_h5,
    read_list,
)
from worldmodel.errors import ConfigError, EpisodeError, nearest, printable
from worldmodel.video.decoding import Decoding

_OTHERS = {  # names in a file, and who writes such files
    "observations": ", as ACT and ALOHA write each episode; name the folder that it lies in",
    "episode_0": ", as Minari writes episodes; name the folder of the data set",
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
        return looks_like_hdf5(path)

    def source(self, path: str, video: Decoding) -> HDF5Episodes:
        """The episodes of the file; no video file is decoded, but the limits count."""
        with opened_h5(path) as file:
            env, videos = read_layout(file, path, self)
        return HDF5Episodes(path, env, videos, size=self.size, limits=video.limits)


def read_layout(file: Any, path: str, options: HDF5) -> tuple[str, list[HDF5Video]]:
    """Find the episodes, and what stands for their environment.

    Raises:
        EpisodeError: naming the file, the episode and what is wrong with it.
        ConfigError: a camera, an action or a split that is not there.
    """
    if dataset(file, path, "ep_len") is not None and dataset(file, path, "ep_offset") is not None:
        if options.split is not None:
            raise ConfigError(
                f"{path}: split={options.split} is for robomimic's files; leave it out"
            )
        return f"hdf5/{Path(path).stem}", _columns(file, path, options)
    if group_keys(file, path, "data"):
        return f"robomimic/{Path(path).stem}", _groups(file, path, options)
    keys = group_keys(file, path)
    likely = next((who for key, who in _OTHERS.items() if key in keys), "")
    raise EpisodeError(
        f"{path}: holds neither ep_len and ep_offset nor data/demo_0, but "
        f"{', '.join(keys)[:200] or 'nothing'}{likely or '; convert it to one of those'}"
    )


def _columns(file: Any, path: str, options: HDF5) -> list[HDF5Video]:
    """Columns of all episodes, `ep_len` and `ep_offset`."""
    columns = [dataset(file, path, key) for key in ("ep_len", "ep_offset")]
    if any(c.ndim != 1 or c.dtype.kind not in "iu" or len(c) != len(columns[0]) for c in columns):
        raise EpisodeError(
            f"{path}: ep_len and ep_offset are not two rows of as many whole numbers; write it "
            f"again"
        )
    spans = [read_list(column, path).tolist() for column in columns]
    arrays = {key: dataset(file, path, key) for key in group_keys(file, path)}
    arrays = {k: a for k, a in arrays.items() if a is not None and k not in ("ep_len", "ep_offset")}
    camera = options.camera
    if camera is None and "pixels" in arrays and is_video(arrays["pixels"]):
        camera = "pixels"
    frames = choose_frames(arrays, camera, path)
    actions = choose_action(arrays, options.action, path)
    total = len(arrays[frames])
    infos = tuple((key, key) for key in info_keys(arrays, [total], [actions, frames]))
    if actions is not None and len(arrays[actions]) != total:
        raise EpisodeError(
            f"{path}: '{frames}' has {total} rows, '{actions}' {len(arrays[actions])}; write it "
            f"again"
        )
    size, coded = size_of_frames(arrays[frames], path), how_coded(arrays[frames])
    fps = options.fps or DEFAULT_FPS
    videos: list[HDF5Video] = []
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
        rows, name = Rows(frames, start, end), printable(f"{path}::episode {index}")
        videos.append(HDF5Video(name, name, path, rows, size, fps, actions, infos, coded))
    return videos


def _groups(file: Any, path: str, options: HDF5) -> list[HDF5Video]:
    """`data/demo_<i>` with `obs/<camera>` and `actions`."""
    demos = sorted(group_keys(file, path, "data"), key=by_number)
    split = options.split
    if split is not None:
        splits = group_keys(file, path, "mask")
        if split not in splits:
            raise ConfigError(f"{path}: no split '{split}': {nearest(split, splits)}")
        mask = dataset(file, path, f"mask/{split}")
        if mask is None or mask.ndim != 1:
            raise EpisodeError(f"{path}: mask/{split} lists no episodes; write it again")
        kept = {n.decode() if isinstance(n, bytes) else str(n) for n in read_list(mask, path)}
        demos = [demo for demo in demos if demo in kept]
    if not demos:
        raise EpisodeError(f"{path}: holds no episode below data/; check the file or the split")
    fps = options.fps or _control_rate(file["data"]) or DEFAULT_FPS
    videos = [_demo(file, path, demo, options, fps) for demo in demos]
    return with_info_names(videos, "obs/")


def _demo(file: Any, path: str, demo: str, options: HDF5, fps: float) -> HDF5Video:
    """A demonstration; its infos go by their keys."""
    base, name = f"data/{demo}", printable(f"{path}::{demo}")
    inside = [f"obs/{key}" for key in group_keys(file, path, f"{base}/obs")]
    inside += group_keys(file, path, base)
    found = {key: dataset(file, path, f"{base}/{key}") for key in inside}
    arrays = {key: array for key, array in found.items() if array is not None and array.shape}
    if not any(len(array) for array in arrays.values()):
        raise EpisodeError(
            f"{name}: is an empty demonstration; remove its group, or name the others in a list "
            f"below mask/ and choose that with split="
        )
    frames = choose_frames(arrays, options.camera, name)
    actions = choose_action(arrays, options.action, name)
    length = len(arrays[frames])
    for key in (frames, actions):
        if key is not None and (len(arrays[key]) != length or length < 1):
            raise EpisodeError(
                f"{name}: '{frames}' has {length} rows, '{key}' {len(arrays[key])}; write it again"
            )
    inside = info_keys(arrays, [length], [actions, frames])
    return HDF5Video(
        name, name, path, Rows(f"{base}/{frames}", 0, length), size_of_frames(arrays[frames], name),
        fps, None if actions is None else f"{base}/{actions}",
        tuple((key, f"{base}/{key}") for key in inside), how_coded(arrays[frames]),
    )  # fmt: skip


def _control_rate(group: Any) -> float | None:
    """Steps per second that robomimic's `env_args` tell of."""
    text = group.attrs.get("env_args")
    try:
        values = json.loads(text) if isinstance(text, str | bytes) else {}
        rate = values["env_kwargs"]["control_freq"]
        return float(rate) if 0 < float(rate) < 1e6 else None
    except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
        return None
