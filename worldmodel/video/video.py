"""The role of a video: it gives frames by their numbers, and their times."""

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np
from torch import Tensor

from worldmodel.errors import VideoError
from worldmodel.video.arguments import counted


class Damaged(VideoError):
    """Frames that were asked for cannot be read; others of the same video may be."""


class Video(ABC):
    """One video, whose frames are read by their numbers."""

    name: str  # for messages and `Clip.sources`
    num_frames: int

    @abstractmethod
    def read(self, indices: np.ndarray) -> Tensor:
        """Frames `t c h w`, uint8, at these increasing numbers (a number may repeat)."""

    def read_clips(self, clips: Sequence[np.ndarray]) -> list[Tensor]:
        """Several clips `t c h w`, for each the numbers of its frames."""
        return [self.read(clip) for clip in clips]

    @abstractmethod
    def times(self, indices: np.ndarray) -> np.ndarray:
        """Seconds since the first frame, float64, at these numbers."""

    def close(self) -> None:  # noqa: B027  # what is in memory has nothing to close
        """Let go of the file, if there is one."""


def require_numbers(indices: np.ndarray, count: int, name: str) -> None:
    """Refuse numbers of frames that a video of `count` frames does not have.

    Raises:
        VideoError: naming the video, what was asked for and what there is.
    """
    if len(indices) and not 0 <= indices.min() <= indices.max() < count:
        raise VideoError(
            f"{name}: was asked for frames {indices.min()} to {indices.max()}; it has "
            f"{counted(count, 'frame')}, numbered from 0"
        )
