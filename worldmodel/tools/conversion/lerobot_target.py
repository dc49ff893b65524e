"""Conversion to LeRobot v3: a parquet and a video file for each episode, then `meta/`.

v3 allows any number of episodes in a file; one in each is what can go on after an interruption
and lets videos be copied. `meta/info.json` comes last.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import av
import numpy as np
import torch

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.catalogue import Item
from worldmodel.datasets.format import require_extra
from worldmodel.datasets.parquet import read_table, rows_of
from worldmodel.episodes.episode import Episode
from worldmodel.errors import EpisodeError
from worldmodel.storage.files import whole_file
from worldmodel.tools.conversion.encode_video import (
    chunks_of,
    copy_video,
    encode,
    ending_of,
    raw_file,
)
from worldmodel.tools.conversion.target import Conversion, Target
from worldmodel.video.clip import VideoReader
from worldmodel.video.rgb import orientation

CAMERA = "observation.images.main"
_PER_CHUNK = 1000  # files in a folder
_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_TOLERANCE = 5e-5  # seconds that a copied frame may be off; LeRobot refuses 1e-4
_LOOKS = 100  # images that the statistics of the frames are of
_PIXELS = 150  # of their short side, at least, where they have more: every second one, or fewer


class LeRobotTarget(Target):
    """A LeRobot v3 data set with one camera.

    The action of the last frame, which leads nowhere, repeats the one before it.
    """

    def __init__(self, plan: Conversion) -> None:
        super().__init__(plan)
        self._arrow: Any = require_extra("pyarrow", "lerobot", "to=lerobot")
        self._parquet: Any = require_extra("pyarrow.parquet", "lerobot", "to=lerobot")
        self.fps = plan.rate()
        self._tasks: dict[str, int] = {}
        self._rows: list[dict[str, Any]] = []  # of meta/episodes
        self._shape: tuple[int, ...] | None = None  # of the frames: h w

    def write(self) -> Iterator[int]:
        """Two files an item."""
        for index in range(len(self.plan.catalogue)):
            data, video = self._data(index), self._video(index)
            if not (data.exists() and video.exists()):
                self._write(index, data, video)
                self.written += 1
            self._note(index, data)
            yield 1

    def finish(self) -> None:
        """Write `meta/`."""
        stats, features = self._numbers()
        root = self.plan.folder / "meta"
        self._write_table(root / "episodes/chunk-000/file-000.parquet", _columns(self._rows))
        tasks = list(self._tasks)
        self._write_table(
            root / "tasks.parquet", {"task_index": list(range(len(tasks))), "task": tasks},
            metadata={"pandas": json.dumps(_PANDAS)},
        )  # fmt: skip
        _write_json(root / "stats.json", stats)
        _write_json(root / "info.json", self._info(features))

    def _place(self, index: int) -> dict[str, int]:
        return {"chunk_index": index // _PER_CHUNK, "file_index": index % _PER_CHUNK}

    def _data(self, index: int) -> Path:
        return self.plan.folder / _DATA.format(**self._place(index))

    def _video(self, index: int) -> Path:
        return self.plan.folder / _VIDEO.format(video_key=CAMERA, **self._place(index))

    def _write(self, index: int, data: Path, video: Path) -> None:
        episode = self.plan.episode(index, self.fps)
        steps = episode.times.diff() * self.fps
        if len(steps) and float((steps - 1).abs().max()) > 0.02:
            raise EpisodeError(
                f"{episode.source}: its frames are not {self.fps:g} a second throughout, which "
                f"LeRobot asks for; collect it at one rate"
            )
        self._write_video(index, episode, video)
        task = self._tasks.setdefault(episode.metadata.get("task", ""), len(self._tasks))
        length, first = len(episode), self._rows[-1]["dataset_to_index"] if self._rows else 0
        rows: dict[str, Any] = {
            "timestamp": (np.arange(length) / self.fps).astype(np.float32),
            "frame_index": np.arange(length),
            "episode_index": np.full(length, index),
            "index": np.arange(first, first + length),
            "task_index": np.full(length, task),
        }
        if episode.actions is not None:
            actions = episode.actions if length > 1 else torch.zeros(1, episode.actions.shape[1])
            rows["action"] = np.concatenate([actions, actions[-1:]])[:length]
        for name, values in episode.info.items():
            if f"observation.{name}" == CAMERA:
                raise EpisodeError(f"{episode.source}: its info '{name}' has the name that frames "
                                   f"get in LeRobot, {CAMERA}; rename it")  # fmt: skip
            if values.ndim in (1, 2) and not values.is_complex():
                key = name if name.startswith("next.") else f"observation.{name}"
                rows[key] = _array(values)
        columns = {key: _arrow_column(self._arrow, values) for key, values in rows.items()}
        self._write_table(data, columns, {"task": episode.metadata.get("task", "")})

    def _write_video(self, index: int, episode: Episode, path: Path) -> None:
        """Copy an MP4 with exactly these frames at exactly this rate, upright; encode others."""
        item, plan = self.plan.catalogue[index], self.plan
        if plan.copies() and ending_of(item) == ".mp4":
            source = item.open(plan.decoding())
            times = source.times(np.arange(source.num_frames))
            source.close()
            goals = np.arange(len(episode)) / self.fps
            if (
                len(times) == len(goals)
                and np.abs(times - goals).max() < _TOLERANCE
                and _is_upright(item)
            ):
                copy_video(item, path)
                self.copied += 1
                return
        frames = episode.frames.numpy()
        video = ArrayVideo(
            episode.source, lambda n: frames[n], frames.shape[:3], self.fps, plan.decoding()
        )
        numbers = np.arange(len(frames))
        encode(path, chunks_of(video, numbers, numbers / self.fps), quality=plan.writing.quality)

    def _note(self, index: int, data: Path) -> None:
        """The row of an episode in `meta/episodes`, from its file."""
        try:
            with self._parquet.ParquetFile(data) as file:
                length = file.metadata.num_rows
                task = (file.schema_arrow.metadata or {}).get(b"task", b"").decode()
        except (OSError, ValueError) as cause:
            raise EpisodeError(
                f"{data}: is not complete ({cause}); remove it and run again"
            ) from cause
        self._tasks.setdefault(task, len(self._tasks))
        first = self._rows[-1]["dataset_to_index"] if self._rows else 0
        at = self._place(index)
        self._rows.append({
            "episode_index": index, "tasks": [task], "length": length,
            **{f"data/{key}": value for key, value in at.items()},
            "dataset_from_index": first, "dataset_to_index": first + length,
            **{f"videos/{CAMERA}/{key}": value for key, value in at.items()},
            f"videos/{CAMERA}/from_timestamp": 0.0,
            f"videos/{CAMERA}/to_timestamp": length / self.fps,
            "meta/episodes/chunk_index": 0, "meta/episodes/file_index": 0,
        })  # fmt: skip

    def _numbers(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Statistics and descriptions of the features, from what was written."""
        columns: dict[str, list[np.ndarray]] = {}
        count = len(self.plan.catalogue)
        for index in range(count):
            table = read_table(str(self._data(index)))
            for key in table.column_names:
                columns.setdefault(key, []).append(rows_of(table.column(key)))
        common = {key: parts for key, parts in columns.items() if len(parts) == count}
        partial = sorted(set(columns) - set(common))
        if partial:
            raise EpisodeError(f"{self.plan.folder}: not all episodes have '{partial[0]}'; convert "
                               f"those with and without it apart")  # fmt: skip
        stats, features = {}, {}
        for key, parts in common.items():
            kinds = sorted({f"{part.dtype} {part.shape[1:]}" for part in parts})
            if len(kinds) > 1:
                raise EpisodeError(
                    f"{self.plan.folder}: '{key}' is {kinds[0]} in some episodes and {kinds[1]} in "
                    f"others, LeRobot takes one; convert them apart"
                )
            values = np.concatenate(parts)
            values = values.reshape(len(values), -1)
            stats[key] = statistics(values.astype(np.float64))
            features[key] = {
                "dtype": str(values.dtype), "shape": [values.shape[1]], "names": None
            }  # fmt: skip
        stats[CAMERA], features[CAMERA] = self._look(count)
        return stats, features

    def _look(self, count: int) -> tuple[dict[str, Any], dict[str, Any]]:
        """Statistics of some frames, and the description of all."""
        chosen = np.unique(np.linspace(0, count - 1, min(count, _LOOKS)).round().astype(int))
        counts = np.zeros((3, 256), np.int64)  # pixels of each value of a channel
        sizes, codec, sound = set(), "", False
        for index in range(count) if count <= _LOOKS else chosen:
            path = str(self._video(int(index)))
            with av.open(path) as container:
                sound |= bool(container.streams.audio)
            reader = VideoReader(path)
            frames = reader.read(np.array([reader.num_frames // 2]))
            codec = reader.info.codec
            sizes.add(tuple(frames.shape[-2:]))
            step = max(1, min(frames.shape[-2:]) // _PIXELS)
            for channel, pixels in enumerate(frames[0, :, ::step, ::step].numpy()):
                counts[channel] += np.bincount(pixels.ravel(), minlength=256)
            reader.close()
        if len(sizes) > 1:
            raise EpisodeError(
                f"{self.plan.folder}: frames are of several sizes ({sorted(sizes)[:3]}), LeRobot "
                f"takes one; convert with size="
            )
        of_channels = [statistics(np.arange(256)[:, None] / 255, weights=row) for row in counts]
        stats = {key: [[of[key]] for of in of_channels] for key in of_channels[0]}
        stats["count"] = of_channels[0]["count"]
        height, width = sizes.pop()
        about = {"video.fps": self.fps, "video.height": height, "video.width": width,
                 "video.channels": 3, "video.codec": codec, "video.is_depth_map": False,
                 "has_audio": sound}  # fmt: skip
        return stats, {"dtype": "video", "shape": [height, width, 3],
                       "names": ["height", "width", "channels"], "info": about}  # fmt: skip

    def _info(self, features: Mapping[str, Any]) -> dict[str, Any]:
        count = len(self._rows)
        fps = int(self.fps) if self.fps == int(self.fps) else self.fps
        return {
            "codebase_version": "v3.0", "robot_type": self._robot(), "fps": fps,
            "total_episodes": count, "total_frames": self._rows[-1]["dataset_to_index"],
            "total_tasks": len(self._tasks), "chunks_size": _PER_CHUNK,
            "data_files_size_in_mb": 100, "video_files_size_in_mb": 200,
            "splits": {"train": f"0:{count}"}, "data_path": _DATA, "video_path": _VIDEO,
            "features": features,
        }  # fmt: skip

    def _robot(self) -> str | None:
        store = self.plan.store
        return None if store is None else store.info.env_id.removeprefix("lerobot/")

    def _write_table(
        self, path: Path, columns: Mapping[str, Any], metadata: Mapping[str, str] | None = None
    ) -> None:
        table = self._arrow.table(dict(columns)).replace_schema_metadata(dict(metadata or {}))
        with whole_file(path) as temporary:
            self._parquet.write_table(table, temporary)


# Tells pandas that the tasks are the index of their table, as LeRobot expects them.
_PANDAS = {
    "index_columns": ["task"],
    "column_indexes": [],
    "columns": [
        {"name": "task_index", "field_name": "task_index", "pandas_type": "int64",
         "numpy_type": "int64", "metadata": None},
        {"name": "task", "field_name": "task", "pandas_type": "unicode",
         "numpy_type": "object", "metadata": None},
    ],
    "pandas_version": "2.2.0",
}  # fmt: skip


def _is_upright(item: Item) -> bool:
    """True if images are stored as they are shown, as LeRobot's `shape` of them asks for."""
    with raw_file(item) as file, av.open(file) as container:
        return orientation(next(container.decode(container.streams.best("video")))) == (False, 0)


def statistics(rows: np.ndarray, weights: np.ndarray | None = None) -> dict[str, Any]:
    """Statistics of rows n k, column by column, as LeRobot states them; weights n: how often."""
    if weights is not None:
        rows, weights = rows[weights > 0], weights[weights > 0]
    mean = np.average(rows, axis=0, weights=weights)
    std = np.sqrt(np.average((rows - mean) ** 2, axis=0, weights=weights))
    return {
        "min": rows.min(0).tolist(), "max": rows.max(0).tolist(), "mean": mean.tolist(),
        "std": std.tolist(), "count": [len(rows) if weights is None else int(weights.sum())],
    }  # fmt: skip


def _columns(rows: list[dict[str, Any]]) -> dict[str, list[Any]]:
    return {key: [row[key] for row in rows] for key in rows[0]}


def _array(values: torch.Tensor) -> np.ndarray:
    """Numbers in their own type, or in float32 where numpy has none that is as short."""
    try:
        return values.numpy()
    except TypeError:  # bfloat16 and shorter: float32 holds all of them
        return values.to(torch.float32).numpy()


def _arrow_column(arrow: Any, values: np.ndarray) -> Any:
    """One number a row as a column of numbers, several as lists of a fixed size."""
    if values.ndim == 2 and values.shape[1] > 1:
        flat = arrow.array(np.ascontiguousarray(values).reshape(-1))
        return arrow.FixedSizeListArray.from_arrays(flat, values.shape[1])
    return arrow.array(values.reshape(-1))


def _write_json(path: Path, values: Mapping[str, Any]) -> None:
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1), encoding="utf-8")
