"""How far apart the frames of a clip are: in frames (`stride`) or in time (`fps`, `duration`).

Pure arithmetic on frame numbers and times; knows no files and no tensors.
"""

import numpy as np

from worldmodel.errors import ConfigError, VideoError
from worldmodel.types import Origin
from worldmodel.video.arguments import is_count, real, shown
from worldmodel.video.nearest import HAIR, nearest_frames, show_none_twice, slack


class Sampling:
    """Which frames make a clip of `num_frames`.

    Args:
        num_frames: Frames of the clip.
        stride: Frames from one to the next; 1 where nothing is given.
        fps: Frames per second: for each time the nearest frame is taken.
        duration: Seconds that the clip covers, its frames spread evenly: `num_frames / duration`
            frames per second.

    Raises:
        ConfigError: more than one is given, or one makes no sense.
    """

    def __init__(
        self,
        num_frames: int,
        *,
        stride: int | None = None,
        fps: float | None = None,
        duration: float | None = None,
    ) -> None:
        given = {"stride": stride, "fps": fps, "duration": duration}
        named = ", ".join(
            f"{name}={shown(value)}" for name, value in given.items() if value is not None
        )
        if len([value for value in given.values() if value is not None]) > 1:
            raise ConfigError(f"give one of stride, fps and duration, not both ({named})")
        counts = is_count(num_frames) and (stride is None or is_count(stride))
        if duration is not None and counts and real(duration) > 0:
            fps = num_frames / real(duration)
        if not counts or not all(v is None or 0 < real(v) < np.inf for v in (fps, duration)):
            raise ConfigError(
                f"num_frames and stride must be whole numbers of at least 1 and at most 2**53, "
                f"fps and duration positive numbers, got num_frames={shown(num_frames)}"
                f"{', ' if named else ''}{named}"
            )
        self.num_frames = num_frames
        self.stride = stride or 1
        self.fps = None if fps is None else real(fps)

    def indices(self, times: np.ndarray, start: int) -> np.ndarray:
        """Frame numbers of the clip that begins at frame `start` of a video with these times."""
        if self.fps is None:
            return start + self.stride * np.arange(self.num_frames)
        return nearest_frames(times, times[start] + np.arange(self.num_frames) / self.fps)

    def origin(self, name: str, start: float) -> Origin:
        """Where a clip of this sampling comes from: `start` seconds into the video `name`."""
        return Origin(name, float(start), None if self.fps else self.stride, self.fps)

    def clip(self, times: np.ndarray, start: float, *, name: str) -> np.ndarray:
        """Frame numbers of the clip that begins at the first frame from `start` seconds on.

        Raises:
            VideoError: the video ends before the clip, or a frame would be shown twice.
        """
        first = int(np.searchsorted(times, start - HAIR))
        left = times[first:]
        if self._room(left) < 1:
            called = f"{name} from {start:g} s on" if start else name
            seconds = float(left[-1] - left[0]) if len(left) else 0.0
            raise self.too_short(called, frames=len(left), seconds=seconds)
        if self.fps is None:
            return self.indices(times, first)
        if self.num_frames > len(left):  # said before there is a number for each
            raise self._shows_twice(name, left, left)
        indices = self.indices(times, first)
        if (np.diff(indices) < 1).any():
            raise self._shows_twice(name, left, times[first : indices[-1] + 2])
        return indices

    def starts(self, times: np.ndarray, *, name: str) -> np.ndarray:
        """The frames that a clip can begin at, in a video with these times (`t`, seconds).

        With `fps` or `duration` not all that have room: a clip that meets a gap may show a frame
        twice.

        Raises:
            VideoError: there is none.
        """
        count = self._room(times)
        if count < 1:
            seconds = float(times[-1] - times[0]) if len(times) else 0.0
            raise self.too_short(name, frames=len(times), seconds=seconds)
        if self.fps is None:
            return np.arange(count)
        once = show_none_twice(times, count, num_frames=self.num_frames, fps=self.fps)
        if not once.any():
            raise self._shows_twice(name, times, times)
        return np.flatnonzero(once)

    def num_starts(self, times: np.ndarray, *, name: str) -> int:
        """How many frames a clip can begin at; see `starts`."""
        return len(self.starts(times, name=name))

    def _room(self, times: np.ndarray) -> int:
        """How many frames have a whole clip after them; 0 or less if none has."""
        if self.fps is None:
            return len(times) - (self.num_frames - 1) * self.stride
        if len(times) < min(self.num_frames, 2):
            return 0
        end = times[-1] + slack(times)
        return int((times + (self.num_frames - 1) / self.fps <= end).sum())

    def too_short(self, name: str, *, frames: int, seconds: float) -> VideoError:
        """The error for a video that has only `frames`, `seconds` between first and last."""
        if self.fps is None:
            need = (self.num_frames - 1) * self.stride + 1
            wanted = f"{need} frames ({self.num_frames} at stride {self.stride})"
        else:
            wanted = (
                f"{(self.num_frames - 1) / self.fps:.3g} s ({self.num_frames} at {self.fps:g}/s)"
            )
        return VideoError(
            f"{name}: is shorter than the clip: {frames} frames, {seconds:.3g} s, where the clip "
            f"takes {wanted}; ask for fewer frames or leave the video out"
        )

    def _shows_twice(self, name: str, left: np.ndarray, met: np.ndarray) -> VideoError:
        """The same for the times `left` of a video, of which the clip has `met` some."""
        widest = int(np.diff(met).argmax())
        gap = float(met[widest]), float(met[widest + 1])
        return self.shows_twice(name, rate=float(1 / np.diff(left).mean()), gap=gap)

    def shows_twice(self, name: str, *, rate: float, gap: tuple[float, float]) -> VideoError:
        """The error for a clip in which a frame would be shown twice.

        Args:
            name: Of the video.
            rate: Frames per second that it has.
            gap: The longest time, in seconds, without a frame.
        """
        assert self.fps is not None
        if rate < self.fps:
            return VideoError(
                f"{name}: has {rate:.4g} frames/s, too few for fps={self.fps:g} without showing a "
                f"frame twice; ask for a lower fps, or give stride"
            )
        return VideoError(
            f"{name}: has no frame between {gap[0]:.6g} and {gap[1]:.6g} s, too long for "
            f"fps={self.fps:g} without showing a frame twice; ask for a lower fps, give stride, or "
            f"take a clip elsewhere"
        )
