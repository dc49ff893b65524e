"""What the `meta` folder of a LeRobot data set says: where each episode lies, in both versions.

v2 has a parquet and a video file per episode and `meta/episodes.jsonl`; v3 packs many episodes in
a file and says in `meta/episodes/` which rows and which seconds each of them is.
"""

import json
import math
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worldmodel.datasets.listing import shown
from worldmodel.datasets.parquet import read_table
from worldmodel.errors import EpisodeError
from worldmodel.storage.files import require_file

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
class EpisodePlace:
    """Where an episode is."""

    index: int
    length: int  # frames
    task: str
    data: str  # file of its rows
    video: str  # file of its frames; empty where they are images in the rows
    begin: float  # seconds in that file
    end: float  # seconds; infinite for all of the file


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

    def is_images(self, camera: str) -> bool:
        """Whether the frames of a camera are images in the rows, and not videos."""
        return self.features[camera].get("dtype") == "image"

    @staticmethod
    def read(root: str) -> "LeRobotMeta":
        """Read and check it.

        Raises:
            EpisodeError: naming the file, what is wrong and what to do.
        """
        path = os.path.join(root, "meta", "info.json")
        info = read_json(path)
        found = re.match(r"v?(\d+)\.", str(info.get("codebase_version")))
        if found is None or int(found[1]) not in (2, 3):
            raise EpisodeError(
                f"{shown(path)}: codebase_version is '{str(info.get('codebase_version'))[:40]}'; "
                f"v2.0, v2.1 and v3 are read: convert it with LeRobot's own tools"
            )
        fps, features = info.get("fps"), info.get("features")
        if isinstance(fps, bool) or not isinstance(fps, int | float) or not 0 < fps < 1e6:
            raise EpisodeError(f"{shown(path)}: fps is '{str(fps)[:40]}'; write a positive number")
        if not isinstance(features, dict) or not all(
            isinstance(f, dict) for f in features.values()
        ):
            raise EpisodeError(f"{shown(path)}: has no features; write it again")
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
                raise EpisodeError(f"{shown(self.root)}: {kind} has a field '{match[1]}' that is "
                                   f"not known; write meta/info.json again")  # fmt: skip
            return str(value).zfill(min(int(match[2] or 0), 20))

        inside = os.path.normpath(_FIELD.sub(put, str(pattern)))
        if os.path.isabs(inside) or inside.split(os.sep)[0] == ".." or "\0" in inside:
            raise EpisodeError(
                f"{shown(self.root)}: {kind} '{shown(inside)[:200]}' leads out of the data set; "
                f"write meta/info.json again"
            )
        return os.path.join(self.root, inside)

    def places(self, camera: str) -> list[EpisodePlace]:
        """Where the episodes are, in order.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """
        rows = _rows_v2(self) if self.version == 2 else _rows_v3(self, camera)
        name = shown(self.root)
        try:
            found = sorted((self._place(row, camera) for row in rows), key=lambda p: p.index)
        except (KeyError, TypeError, ValueError, OverflowError) as cause:
            raise EpisodeError(
                f"{name}: its list of episodes is not whole ({type(cause).__name__}: "
                f"{shown(str(cause))[:100]}); write the data set again"
            ) from cause
        if not found:
            raise EpisodeError(f"{name}: lists no episode; write the data set again")
        twice = [a.index for a, b in zip(found, found[1:], strict=False) if a.index == b.index]
        if twice:
            raise EpisodeError(f"{name}: lists episode {twice[0]} twice; write the data set again")
        return found

    def _place(self, row: Mapping[str, Any], camera: str) -> EpisodePlace:
        index, length = int(row["episode_index"]), int(row["length"])
        if length < 1 or index < 0:
            raise EpisodeError(
                f"{shown(self.root)}: episode {index} has a length of {length}; write it again"
            )
        tasks = row.get("tasks")
        task = str(tasks[0]) if isinstance(tasks, list) and tasks else ""
        if self.version == 2:
            chunk = index // max(1, int(self.info.get("chunks_size", 1000)))
            fields: dict[str, int | str] = {
                "episode_chunk": chunk,
                "episode_index": index,
                "video_key": camera,
            }
            data = self.path("data_path", **fields)
            video = "" if self.is_images(camera) else self.path("video_path", **fields)
            return EpisodePlace(index, length, task, data, video, 0.0, math.inf)
        at = {k: int(row[f"data/{k}"]) for k in ("chunk_index", "file_index")}
        data = self.path("data_path", **at)
        if self.is_images(camera):
            return EpisodePlace(index, length, task, data, "", 0.0, math.inf)
        begin, end = (float(row[f"videos/{camera}/{at}_timestamp"]) for at in ("from", "to"))
        if not 0 <= begin < end < math.inf:
            raise EpisodeError(
                f"{shown(self.root)}: episode {index} is from {begin} s to {end} s; write it again"
            )
        of = {k: int(row[f"videos/{camera}/{k}"]) for k in ("chunk_index", "file_index")}
        video = self.path("video_path", video_key=camera, **of)
        return EpisodePlace(index, length, task, data, video, begin, end)


def read_json(path: str) -> dict[str, Any]:
    """An object of a JSON file.

    Raises:
        EpisodeError: it is none.
    """
    require_file(Path(path), "LeRobot description", EpisodeError)
    try:
        with open(path, encoding="utf-8") as file:
            values = json.load(file)
        if not isinstance(values, dict):
            raise ValueError("not an object")
        return values
    except (ValueError, RecursionError) as cause:
        raise EpisodeError(
            f"{shown(path)}: is not whole JSON ({shown(str(cause))[:100]}); write it again"
        ) from cause


def _rows_v2(meta: LeRobotMeta) -> list[dict[str, Any]]:
    path = os.path.join(meta.root, "meta", "episodes.jsonl")
    require_file(Path(path), "list of episodes", EpisodeError)
    rows: list[dict[str, Any]] = []
    number = 0
    try:
        with open(path, encoding="utf-8") as file:
            for line in file:
                number += 1
                if line.strip():
                    rows.append(json.loads(line))
                    rows[-1]["episode_index"], rows[-1]["length"]
    except (ValueError, KeyError, TypeError, IndexError, RecursionError) as cause:
        raise EpisodeError(
            f"{shown(path)}: line {number} is no episode ({shown(str(cause))[:80]}); write it again"
        ) from cause
    return rows


def _rows_v3(meta: LeRobotMeta, camera: str) -> list[dict[str, Any]]:
    folder = Path(meta.root) / "meta" / "episodes"
    files = sorted(folder.glob("*/*.parquet")) if folder.is_dir() else []
    if not files:
        raise EpisodeError(f"{shown(str(folder))}: holds no list of episodes; fetch it again")
    columns = ["episode_index", "length", "tasks", "data/chunk_index", "data/file_index"]
    if not meta.is_images(camera):
        columns += [f"videos/{camera}/{key}" for key in
                    ("chunk_index", "file_index", "from_timestamp", "to_timestamp")]  # fmt: skip
    rows: list[dict[str, Any]] = []
    for file in files:
        rows += read_table(str(file), columns).to_pylist()
    return rows
