"""LeRobot data sets, v2.0, v2.1 and v3: rows in parquet, frames in videos or in the rows.

v2 has a parquet file and a video for each episode, and `meta/episodes.jsonl`. v3 joins many
episodes in a file; `meta/episodes/` says which file and which seconds of it each of them is.

The rows of an episode are consecutive frames. In v3 the seconds are sums of rounded durations,
which drift, and the rows' timestamps may come from a hardware clock. So where a video has as many
frames as its episodes have rows, rows are counted; only where it has not, times decide.
"""

import io
import json
import math
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.episode_source import (
    ACTION_NAMES,
    EpisodeFormat,
    EpisodeItem,
    EpisodeRows,
    EpisodeSource,
    check_positive,
    choose,
    info_names,
    stamp,
    warn_once,
)
from worldmodel.datasets.image_file import read_image
from worldmodel.datasets.listing import VideoFile
from worldmodel.datasets.parquet import read_table, rows_of
from worldmodel.datasets.published import json_of, lines_of
from worldmodel.errors import EpisodeError, printable
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.sampling import nearest_frames
from worldmodel.video.video import Video

_BOOKKEEPING = frozenset("timestamp frame_index episode_index index task_index".split())
_NOTED = 0.5  # frames by which counting and times may differ before it is said
_SURE = 0.25  # frames that a time may be from the nearest frame where times decide
_UNIX = 1e8  # seconds; no episode is that long
_UNITS = {1e3: "milliseconds", 1e6: "microseconds", 1e9: "nanoseconds"}
_FIELD = re.compile(r"\{(\w+)(?::0?(\d+)d)?\}")
_DEFAULTS = {  # of v2, then v3
    "data_path": (
        "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
    ),
    "video_path": (
        "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
        "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    ),
}


@dataclass(frozen=True)
class LeRobot(EpisodeFormat):
    """A folder with `meta/info.json`.

    Attributes:
        camera: Which frames, by their key or its last part; needed where there are several.
        action: Which feature the actions are; `action` or `actions` by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
    """

    name: ClassVar[str] = "lerobot"
    rank: ClassVar[int] = 11
    looks: ClassVar[str] = "a folder with meta/info.json"

    camera: str | None = None
    action: str | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        check_positive("size", self.size)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its description."""
        return os.path.isfile(os.path.join(path, "meta", "info.json"))

    def source(self, path: str, video: Decoding) -> "LeRobotEpisodes":
        """The episodes of the folder, as the camera sees them."""
        meta = LeRobotMeta.read(path)
        missing = "no feature in meta/info.json has the dtype video or image"
        camera = choose("camera", self.camera, meta.cameras, name=path, missing=missing)
        return LeRobotEpisodes(meta, camera, action=self.action, size=self.size, decoding=video)


@dataclass(frozen=True)
class VideoPart:
    """A stretch of a video file: by time, and by counting the frames of the episodes before it."""

    path: str
    begin: float = 0.0  # seconds
    end: float = math.inf  # seconds; infinite for all of the file
    first: int = 0  # frames of the file's episodes before it
    total: int = 0  # frames of all the file's episodes
    episodes: int = 1  # of the file
    between: float = 0.0  # frames from a begin to the next whole frame, the most of the file's
    drift: float = 0.0  # frames from a begin to where counting puts it, the most of the file's
    overlap: float = 0.0  # frames from a begin to the end of the episode before, the most likewise

    @property
    def is_exact(self) -> bool:
        """True if the begins of the file's episodes tell which frames those are."""
        return self.between <= _SURE and self.overlap <= _SURE


@dataclass(frozen=True)
class EpisodeLocation:
    """The files that hold an episode."""

    index: int
    length: int  # frames
    task: str
    data: str  # file of its rows
    video: VideoPart | None  # None where its frames are images in the rows


@dataclass(frozen=True)
class LeRobotMeta:
    """`meta/info.json`, checked."""

    root: str
    version: int  # 2 or 3
    fps: float
    features: Mapping[str, Mapping[str, Any]]
    info: Mapping[str, Any]

    @property
    def cameras(self) -> list[str]:
        """Keys of the features that are frames, in videos or as images in the rows."""
        return [key for key, of in self.features.items() if of.get("dtype") in ("video", "image")]

    @property
    def numbers(self) -> list[str]:
        """Keys of the features that are numbers, without LeRobot's own bookkeeping."""
        kinds = ("float", "int", "uint", "bool")
        return [
            key
            for key, of in self.features.items()
            if str(of.get("dtype")).startswith(kinds) and key not in _BOOKKEEPING
        ]

    def is_images(self, camera: str) -> bool:
        """True if the frames of a camera are images in the rows, and not a video."""
        return self.features[camera].get("dtype") == "image"

    @staticmethod
    def read(root: str) -> "LeRobotMeta":
        """Read and check it.

        Raises:
            EpisodeError: naming the file, what is wrong and what to do.
        """
        path = os.path.join(root, "meta", "info.json")
        info = json_of(path, "LeRobot description", EpisodeError)
        if not isinstance(info, dict):
            raise EpisodeError(f"{path}: is not a JSON object; write it again")
        found = re.match(r"v?(\d+)\.", str(info.get("codebase_version")))
        if found is None or int(found[1]) not in (2, 3):
            raise EpisodeError(
                f"{path}: codebase_version is '{str(info.get('codebase_version'))[:40]}'; v2.0, "
                f"v2.1 and v3 are read: convert it with LeRobot's own tools"
            )
        fps, features = info.get("fps"), info.get("features")
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
            raise EpisodeError(f"{path}: fps is '{str(fps)[:40]}'; write a positive number")
        if not isinstance(features, dict) or not all(
            isinstance(f, dict) for f in features.values()
        ):
            raise EpisodeError(f"{path}: has no features; write it again")
        return LeRobotMeta(root, int(found[1]), float(fps), features, info)

    def path(self, kind: str, **fields: int | str) -> str:
        """The file that `data_path` or `video_path` names; always below the root.

        Raises:
            EpisodeError: the pattern is wrong, or leads out of the root.
        """
        pattern = self.info.get(kind) or _DEFAULTS[kind][self.version - 2]

        def put(match: re.Match[str]) -> str:
            value = fields.get(match[1])
            if value is None:
                raise EpisodeError(
                    f"{self.root}: {kind} has a field '{match[1]}' that is not known; write "
                    f"meta/info.json again"
                )
            return str(value).zfill(min(int(match[2] or 0), 20))

        inside = os.path.normpath(_FIELD.sub(put, str(pattern)))
        if os.path.isabs(inside) or inside.split(os.sep)[0] == ".." or "\0" in inside:
            raise EpisodeError(
                f"{self.root}: {kind} '{inside[:200]}' leads out of the data set; write "
                f"meta/info.json again"
            )
        return os.path.join(self.root, inside)

    def locations(self, camera: str) -> list[EpisodeLocation]:
        """The locations of the episodes, in order.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """
        rows = _rows_v2(self) if self.version == 2 else _rows_v3(self, camera)
        try:
            found = sorted((self._place(row, camera) for row in rows), key=lambda p: p.index)
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise EpisodeError(
                f"{self.root}: its list of episodes cannot be read ({type(cause).__name__}: "
                f"{str(cause)[:100]}); write the data set again"
            ) from cause
        if not found:
            raise EpisodeError(f"{self.root}: lists no episode; write the data set again")
        twice = [a.index for a, b in zip(found, found[1:], strict=False) if a.index == b.index]
        if twice:
            raise EpisodeError(f"{self.root}: lists episode {twice[0]} twice; write it once")
        return _counted(found, self.fps)

    def _place(self, row: Mapping[str, Any], camera: str) -> EpisodeLocation:
        index, length = int(row["episode_index"]), int(row["length"])
        if length < 1 or index < 0:
            raise EpisodeError(
                f"{self.root}: episode {index} has a length of {length} frames; remove it from "
                f"the list of episodes"
            )
        tasks = row.get("tasks")
        task = str(tasks[0]) if isinstance(tasks, list) and tasks else ""
        if self.version == 2:
            fields: dict[str, int | str] = {
                "episode_chunk": index // max(1, int(self.info.get("chunks_size", 1000))),
                "episode_index": index,
                "video_key": camera,
            }
            data = self.path("data_path", **fields)
            part = None if self.is_images(camera) else VideoPart(self.path("video_path", **fields))
            return EpisodeLocation(index, length, task, data, part)

        def file_of(what: str) -> dict[str, int]:
            return {key: int(row[f"{what}/{key}"]) for key in ("chunk_index", "file_index")}

        data = self.path("data_path", **file_of("data"))
        if self.is_images(camera):
            return EpisodeLocation(index, length, task, data, None)
        key = f"videos/{camera}"
        begin, end = (float(row[f"{key}/{at}_timestamp"]) for at in ("from", "to"))
        if not 0 <= begin < end < math.inf:
            raise EpisodeError(
                f"{self.root}: episode {index} is from {begin} s to {end} s; write it again"
            )
        video = self.path("video_path", video_key=camera, **file_of(key))
        return EpisodeLocation(index, length, task, data, VideoPart(video, begin, end))


def _counted(locations: list[EpisodeLocation], fps: float) -> list[EpisodeLocation]:
    """The same, with what the episodes of each video file add up to."""
    files: dict[str, list[tuple[float, int]]] = {}
    for number, location in enumerate(locations):
        if location.video is not None:
            files.setdefault(location.video.path, []).append((location.video.begin, number))
    for episodes in files.values():
        numbers = [number for _, number in sorted(episodes)]
        begins = np.array([begin for begin, _ in sorted(episodes)]) * fps
        firsts = np.cumsum([0, *(locations[number].length for number in numbers)])
        of_file = {
            "total": int(firsts[-1]),
            "episodes": len(numbers),
            "between": float(np.abs(begins - np.rint(begins)).max()),
            "drift": float(np.abs(begins - firsts[:-1]).max()),
            "overlap": float((np.diff(firsts)[:-1] - np.diff(begins)).max(initial=0.0)),
        }
        for number, first in zip(numbers, firsts.tolist(), strict=False):
            part = replace(locations[number].video, first=first, **of_file)  # type: ignore[type-var]
            locations[number] = replace(locations[number], video=part)
    return locations


def _rows_v2(meta: LeRobotMeta) -> list[dict[str, Any]]:
    path = os.path.join(meta.root, "meta", "episodes.jsonl")
    rows = []
    for number, line in lines_of(path, "list of episodes", EpisodeError):
        try:
            row = json.loads(line)
            row["episode_index"], row["length"]
        except (ValueError, KeyError, TypeError, IndexError, RecursionError) as cause:
            raise EpisodeError(
                f"{path}: line {number} is no episode ({str(cause)[:80]}); write it again"
            ) from cause
        rows.append(row)
    return rows


def _rows_v3(meta: LeRobotMeta, camera: str) -> list[dict[str, Any]]:
    folder = Path(meta.root) / "meta" / "episodes"
    files = sorted(folder.glob("*/*.parquet")) if folder.is_dir() else []
    if not files:
        raise EpisodeError(f"{folder}: holds no list of episodes; fetch it again")
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    if not meta.is_images(camera):
        keys = ("chunk_index", "file_index", "from_timestamp", "to_timestamp")
        columns += [f"videos/{camera}/{key}" for key in keys]
    return [row for file in files for row in read_table(str(file), columns).to_pylist()]


@dataclass(frozen=True)
class RowReader:
    """Reads rows. Light and picklable: every item carries it.

    Attributes:
        fps: Frames per second of the data set.
        action: The feature that is the actions, if any.
        numbers: The features that are numbers.
    """

    fps: float
    action: str | None
    numbers: tuple[str, ...]

    def read(self, location: EpisodeLocation, name: str) -> EpisodeRows:
        """The rows of an episode; `name` is for messages.

        Raises:
            EpisodeError: there are more or fewer than there should be, or their times are wrong.
        """
        rows = self._columns(location, name)
        times = rows.pop("timestamp")
        self._check_times(times, location, name)
        actions = rows.pop(self.action) if self.action else None
        names = info_names(rows, "observation.")
        return EpisodeRows(times, actions, {names[key]: rows[key] for key in rows})

    def _check_times(self, times: np.ndarray, location: EpisodeLocation, name: str) -> None:
        if times.shape != (location.length,) or not np.isfinite(times).all():
            raise EpisodeError(f"{name}: its timestamps are not one number a row; write it again")
        steps = np.diff(times)
        if (steps <= 0).any():
            row = int((steps <= 0).argmax()) + 1
            unix = "; Unix time needs more digits than float32 has" if times[0] > _UNIX else ""
            raise EpisodeError(
                f"{name}: its timestamps do not increase: row {row} has {times[row]:.10g} s after "
                f"{times[row - 1]:.10g} s{unix}; write the rows in order, with "
                f"seconds since the episode began"
            )
        step = float(np.median(steps)) if len(steps) else 1 / self.fps
        if not 0.25 <= step * self.fps <= 4:
            unit = next((u for k, u in _UNITS.items() if 0.5 <= step * self.fps / k <= 2), "")
            raise EpisodeError(
                f"{name}: its timestamps are {step:g} apart, where fps={self.fps:g} in "
                f"meta/info.json makes it {1 / self.fps:g} s; "
                + (f"they look like {unit}: write seconds" if unit else "correct one of the two")
            )

    def _columns(self, location: EpisodeLocation, name: str) -> dict[str, np.ndarray]:
        columns = ("timestamp", *self.numbers)
        table = _table(location.data, ("episode_index", *columns), stamp(location.data))
        part = _rows_in(table, location, name)
        try:
            rows = {key: rows_of(part.column(key)) for key in columns}
            return rows | {"timestamp": np.asarray(rows["timestamp"], np.float64).reshape(-1)}
        except (ValueError, TypeError, KeyError, OverflowError) as cause:
            raise EpisodeError(
                f"{name}: its rows cannot be read ({str(cause)[:100]}); write it again"
            ) from cause


def _rows_in(table: Any, location: EpisodeLocation, name: str) -> Any:
    """The rows of a table that are the episode's."""
    try:
        numbers = np.asarray(table.column("episode_index").to_numpy()).reshape(-1)
        chosen = np.flatnonzero(numbers == location.index)
    except (ValueError, TypeError, NotImplementedError) as cause:
        raise EpisodeError(
            f"{location.data}: its column episode_index holds no numbers; write it again"
        ) from cause
    if len(chosen) != location.length:
        raise EpisodeError(
            f"{name}: {location.data} has {len(chosen)} rows of it, its description says "
            f"{location.length}; fetch or write the data set again"
        )
    return table.take(chosen)


@lru_cache(maxsize=2)  # neighbours share a file; two are enough
def _table(path: str, columns: tuple[str, ...], version: tuple[int, int]) -> Any:
    return read_table(path, list(columns))


@dataclass(frozen=True, kw_only=True)
class LeRobotVideo(EpisodeItem, VideoFile):
    """An episode as a video, or as part of one."""

    location: EpisodeLocation
    rows: RowReader

    def part(self, times: np.ndarray) -> tuple[int, int]:
        """Its frames, counted where the file has as many as its episodes add up to."""
        video = self._video
        if self.window is None:
            return 0, len(times)
        if len(times) != video.total:
            self._require_exact(len(times))
            return super().part(times)
        self._warn(abs(float(times[video.first]) - video.begin))
        return video.first, video.first + self.location.length

    def row_frames(self, times: np.ndarray, source: Video) -> np.ndarray:
        """The numbers of the frames of the opened file that rows at these times belong to.

        Raises:
            EpisodeError: a row has no frame, or which one it has is not known.
        """
        video = self._video
        stamps, goals = source.times(np.arange(source.num_frames)), video.begin + times
        if len(stamps) == video.total:
            numbers = video.first + np.arange(len(times))
            self._warn(float(np.abs(stamps[numbers] - goals).max()))
            return numbers
        self._require_exact(len(stamps))
        numbers = nearest_frames(stamps, goals)
        away = np.abs(stamps[numbers] - goals) * self.rows.fps
        if away.max() > _SURE or (np.diff(numbers) <= 0).any():
            raise EpisodeError(f"{self.name}: {self._why_not(stamps, times, away)}")
        return numbers

    def read_rows(self) -> EpisodeRows:
        """Its rows, with the times that are stored."""
        return self.rows.read(self.location, self.name)

    @property
    def _video(self) -> VideoPart:
        assert self.location.video is not None
        return self.location.video

    def _warn(self, seconds: float) -> None:
        """Say once that times are so far away from the frames that are counted."""
        away, drift = seconds * self.rows.fps, self._video.drift
        # A drift that the list of episodes shows was said when it was read.
        if away > _NOTED and (drift <= _NOTED or self._video.is_exact):
            warn_once(
                (self.name.rpartition("::")[0], "times"),
                f"{self.name}: its times (from_timestamp and timestamp) are {away:.2g} frames away "
                f"from its frames; there is a frame for each row, so frames are counted, here and "
                f"wherever else that is so",
            )

    def _require_exact(self, num_frames: int) -> None:
        video = self._video
        if not video.is_exact:
            raise EpisodeError(
                f"{self.name}: which frames are its own cannot be known: {video.path} has "
                f"{num_frames} frames, the lengths of its {video.episodes} episodes add up to "
                f"{video.total}, and their from_timestamps are up to {video.between:.2g} of a "
                f"frame away from any frame and put the episodes up to {video.overlap:.2g} frames "
                f"into each other; fetch the data set again, or write it again with exact times"
            )

    def _why_not(self, stamps: np.ndarray, times: np.ndarray, away: np.ndarray) -> str:
        """The reason why rows at these times find no frames at `stamps`: `away` frames from it."""
        video, row = self._video, int(away.argmax())
        has = (
            f"{video.path} has no frame for each of its {len(times)} rows: {len(stamps)} frames "
            f"to {stamps[-1]:.3f} s, where its episodes have {video.total} rows in all"
        )
        if times[0] > _UNIX:
            return (
                f"{has}; its timestamps begin at {times[0]:.10g}, as Unix time does: write "
                f"seconds since the episode began"
            )
        if times[0] * self.rows.fps > _NOTED:
            return (
                f"{has}; its timestamps begin at {times[0]:g} s: write seconds since the episode "
                f"began, or fetch the video again"
            )
        if video.begin + times[-1] > stamps[-1] + 0.5 / self.rows.fps:
            return f"{has}; the file is cut, fetch it again"
        return (
            f"{has}, and row {row} is {away[row]:.2g} frames away from the nearest; write a "
            f"frame for each row, or the times that the frames have"
        )


@dataclass(frozen=True)
class LeRobotImages(EpisodeItem):
    """An episode whose frames are images in its rows, decoded one by one."""

    name: str
    key: str
    camera: str
    location: EpisodeLocation
    rows: RowReader

    def open(self, decoding: Decoding) -> Video:
        """Read the coded images of the episode; they are decoded when asked for."""
        rows = self.rows.read(self.location, self.name)
        coded = self._coded()
        first = self._decode(coded, 0, decoding.limits)

        def take(numbers: np.ndarray) -> np.ndarray:
            frames = [self._decode(coded, int(number), decoding.limits) for number in numbers]
            for number, frame in zip(numbers, frames, strict=True):
                if frame.shape != first.shape:
                    raise EpisodeError(
                        f"{self.name}: frame {number} is {frame.shape[:2]}, the first "
                        f"{first.shape[:2]}; write it again"
                    )
            return np.stack(frames)

        shape = (len(coded), *first.shape[:2])
        return ArrayVideo(self.name, take, shape, rows.times - rows.times[0], decoding)

    def read_rows(self) -> EpisodeRows:
        """Its rows, with the times that are stored."""
        return self.rows.read(self.location, self.name)

    def _coded(self) -> list[bytes]:
        """Its images as they are in the file."""
        path = self.location.data
        table = read_table(path, ["episode_index", self.camera], episode=self.location.index)
        cells = _rows_in(table, self.location, self.name).column(self.camera).to_pylist()
        if not all(isinstance(cell, dict) for cell in cells):
            raise EpisodeError(f"{self.name}: '{self.camera}' holds no images; write it again")
        coded = [cell.get("bytes") for cell in cells]
        missing = [row for row, data in enumerate(coded) if not isinstance(data, bytes)]
        if missing and cells[missing[0]].get("path"):
            raise EpisodeError(
                f"{self.name}: row {missing[0]} of {path} only names its image, "
                f"'{str(cells[missing[0]]['path'])[:100]}', and does not hold it; write the data "
                f"set again with the images in the rows, or as video"
            )
        if missing:
            raise EpisodeError(
                f"{self.name}: {path} has {len(coded) - len(missing)} images of it, its "
                f"description says {len(coded)}; fetch or write the data set again"
            )
        return coded

    def _decode(self, coded: list[bytes], number: int, limits: Limits) -> np.ndarray:
        return read_image(io.BytesIO(coded[number]), f"{self.name}, frame {number}", limits)


class LeRobotEpisodes(EpisodeSource):
    """The episodes of a data set, as seen by one camera."""

    def __init__(
        self,
        meta: LeRobotMeta,
        camera: str,
        *,
        action: str | None,
        size: int | None,
        decoding: Decoding,
    ) -> None:
        self.name, self.fps = printable(meta.root), meta.fps
        robot = meta.info.get("robot_type") or os.path.basename(meta.root.rstrip(os.sep))
        self.env_id = f"lerobot/{robot}"
        self.locations, self._camera = meta.locations(camera), camera
        self.lengths = [location.length for location in self.locations]
        self._meta, self.size, self.decoding = meta, size, decoding
        if action is not None:
            action = choose("action", action, list(meta.features), name=self.name)
        else:
            action = next((name for name in ACTION_NAMES if name in meta.features), None)
        if action is not None and action not in meta.numbers:
            raise EpisodeError(
                f"{self.name}: the feature '{action}' is no row of numbers; choose another with "
                f"action="
            )
        self.has_actions = [action is not None] * len(self.locations)
        self._reader = RowReader(meta.fps, action, tuple(meta.numbers))
        if meta.version == 3:
            self._warn_of_drift()
        similar = [key for key in meta.numbers if key.split(".")[0] in ACTION_NAMES]
        if action is None and similar:
            warn_once(
                (self.name, "actions"),
                f"{self.name}: is read without actions, as no feature is called "
                f"{' or '.join(ACTION_NAMES)}; choose with action=: {', '.join(similar)}",
            )

    def actions(self) -> Iterator[np.ndarray]:
        """Those of each file of rows."""
        if (action := self._reader.action) is None:
            return
        for path in dict.fromkeys(location.data for location in self.locations):
            rows = read_table(path, [action]).column(action).to_pylist()
            try:
                yield np.array(rows, np.float64)
            except (ValueError, TypeError) as cause:
                raise EpisodeError(
                    f"{path}: '{action}' is not rows of numbers of one length; choose another "
                    f"with action="
                ) from cause

    def metadata(self, index: int) -> dict[str, str]:
        """The task that the episode shows."""
        return {"task": self.locations[index].task}

    def item(self, index: int) -> EpisodeItem:
        """The episode as part of a video."""
        location = replace(self.locations[index], task="")  # it may be long, and items are many
        name, video = f"{self.name}::episode {location.index}", location.video
        if video is None:
            return LeRobotImages(name, name, self._camera, location, self._reader)
        window = None
        if self._meta.version == 3:
            # Half a frame earlier at both ends: the next episode begins where this one ends.
            half = 0.5 / self.fps
            window = (max(0.0, video.begin - half), video.end - half)
        return LeRobotVideo(name, video.path, None, window, location=location, rows=self._reader)

    def _warn_of_drift(self) -> None:
        parts = [location.video for location in self.locations if location.video]
        drift = max((part.drift for part in parts if not part.is_exact), default=0.0)
        if drift > _NOTED:
            warn_once(
                (self.name, self._camera),
                f"{self.name}: the from_timestamps of '{self._camera}' are up to {drift:.2g} "
                f"frames away from where the lengths of the episodes put them; frames are counted "
                f"by the lengths, wherever a file has as many",
            )
