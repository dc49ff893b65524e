"""LeRobot's episodes whose frames are images in their rows, and not a video."""

import io
from dataclasses import dataclass

import numpy as np

from worldmodel.datasets.array_video import ArrayVideo
from worldmodel.datasets.catalogue import Item
from worldmodel.datasets.episode_source import make_episode, stand_in
from worldmodel.datasets.image_file import read_image
from worldmodel.datasets.lerobot_meta import EpisodePlace
from worldmodel.datasets.lerobot_rows import RowReader
from worldmodel.datasets.listing import shown
from worldmodel.datasets.parquet import read_table
from worldmodel.errors import EpisodeError
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.video import Video


@dataclass(frozen=True)
class LeRobotImages(Item):
    """An episode as a video whose frames are decoded one by one."""

    name: str
    key: str
    camera: str
    place: EpisodePlace
    rows: RowReader

    def open(self, decoding: Decoding) -> Video:
        """Read the coded images of the episode; they are decoded when asked for."""
        rows = self.rows.read(self.place, self.name)
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

    def check_rows(self, source: Video) -> bool:
        """The numbers of its rows."""
        rows = self.rows.read(self.place, self.name)
        make_episode(self.name, stand_in(len(rows.times)), rows.times, rows.actions, rows.info, {})
        return rows.actions is not None

    def _coded(self) -> list[bytes]:
        """Its images as they are in the file."""
        path, index = self.place.data, self.place.index
        table = read_table(path, ["episode_index", self.camera], episode=index)
        try:
            mine = np.asarray(table.column("episode_index").to_numpy()).reshape(-1) == index
            cells = table.take(np.flatnonzero(mine)).column(self.camera).to_pylist()
            coded = [cell["bytes"] for cell in cells]
        except (ValueError, TypeError, KeyError, OverflowError) as cause:
            raise EpisodeError(
                f"{self.name}: '{shown(self.camera)}' holds no images "
                f"({shown(str(cause))[:100]}); write it again"
            ) from cause
        missing = [number for number, data in enumerate(coded) if not isinstance(data, bytes)]
        if missing or len(coded) != self.place.length:
            raise EpisodeError(
                f"{self.name}: {shown(path)} has {len(coded) - len(missing)} images of it, its "
                f"description says {self.place.length}; fetch or write the data set again"
            )
        return coded

    def _decode(self, coded: list[bytes], number: int, limits: Limits) -> np.ndarray:
        return read_image(io.BytesIO(coded[number]), f"{self.name}, frame {number}", limits)
