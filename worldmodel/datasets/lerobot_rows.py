"""The rows of a LeRobot episode: its numbers, and which frames of its video they belong to."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from worldmodel.datasets.episode_source import make_episode, stand_in
from worldmodel.datasets.lerobot_meta import EpisodePlace
from worldmodel.datasets.listing import VideoFile, shown
from worldmodel.datasets.parquet import read_table, rows_of
from worldmodel.errors import EpisodeError
from worldmodel.video.sampling import nearest_frames
from worldmodel.video.video import Video

BOOKS = frozenset("timestamp frame_index episode_index index task_index".split())


@dataclass(frozen=True)
class EpisodeRows:
    """The numbers of an episode, one row a frame."""

    times: np.ndarray  # t, seconds since the episode began
    actions: np.ndarray | None  # t a
    info: Mapping[str, np.ndarray]  # t ..., each


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

    def read(self, place: EpisodePlace, name: str) -> EpisodeRows:
        """The rows of an episode; `name` is for messages.

        Raises:
            EpisodeError: there are more or fewer than there should be, or their times are wrong.
        """
        rows = self._columns(place, name)
        times = rows.pop("timestamp")
        if times.dtype.kind != "f" or not np.isfinite(times).all() or (np.diff(times) <= 0).any():
            raise EpisodeError(f"{name}: its timestamps do not increase; write it again")
        actions = rows.pop(self.action) if self.action else None
        info = {key.removeprefix("observation.").replace("/", "_"): v for key, v in rows.items()}
        return EpisodeRows(times, actions, info)

    def frames(
        self, place: EpisodePlace, times: np.ndarray, source: Video, name: str
    ) -> np.ndarray:
        """The numbers of the frames of the opened video that rows at these times belong to.

        Raises:
            EpisodeError: a row has no frame.
        """
        stamps = source.times(np.arange(source.num_frames))
        goals = place.begin + times
        numbers = nearest_frames(stamps, goals)
        late = np.abs(stamps[numbers] - goals) > 0.5 / self.fps
        if late.any() or (np.diff(numbers) <= 0).any():
            raise EpisodeError(
                f"{name}: {shown(place.video)} has no frame for each of its {len(times)} rows "
                f"({source.num_frames} frames to {stamps[-1]:.3f} s); fetch it again"
            )
        return numbers

    def _columns(self, place: EpisodePlace, name: str) -> dict[str, np.ndarray]:
        columns = ("timestamp", *self.numbers)
        table = _table(place.data, ("episode_index", *columns), _stamp(place.data))
        try:
            mine = np.asarray(table.column("episode_index").to_numpy()).reshape(-1) == place.index
            chosen = np.flatnonzero(mine)
            if len(chosen) != place.length:
                raise EpisodeError(
                    f"{name}: {shown(place.data)} has {len(chosen)} rows of it, its description "
                    f"says {place.length}; fetch or write the data set again"
                )
            part = table.take(chosen)
            rows = {key: rows_of(part.column(key)) for key in columns}
            return rows | {"timestamp": np.asarray(rows["timestamp"], np.float64).reshape(-1)}
        except (ValueError, TypeError, KeyError, OverflowError) as cause:
            raise EpisodeError(
                f"{name}: its rows cannot be read ({shown(str(cause))[:100]}); write it again"
            ) from cause


@dataclass(frozen=True)
class LeRobotVideo(VideoFile):
    """An episode as a video, or as part of one."""

    place: EpisodePlace | None = None  # always there; a default because fields before have some
    rows: RowReader | None = None

    def check_rows(self, source: Video) -> bool:
        """Its rows, and that each of them has a frame."""
        assert self.place is not None and self.rows is not None
        rows = self.rows.read(self.place, self.name)
        self.rows.frames(self.place, rows.times, source, self.name)
        frames = stand_in(len(rows.times))
        make_episode(self.name, frames, rows.times, rows.actions, rows.info, {})
        return rows.actions is not None


def _stamp(path: str) -> tuple[int, int]:
    """What changes when a file is written again; nothing of a file that is not there."""
    try:
        status = os.stat(path)
        return status.st_mtime_ns, status.st_size
    except OSError:
        return 0, 0


@lru_cache(maxsize=2)  # neighbours share a file; two are enough
def _table(path: str, columns: tuple[str, ...], stamp: tuple[int, int]) -> Any:
    return read_table(path, list(columns))
