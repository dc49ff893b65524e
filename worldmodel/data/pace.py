"""How far apart the frames of a clip are: in frames (`stride`) or in time (`fps`, `duration`).

Pure arithmetic on frame numbers and times; knows no files and no tensors.
"""

import numpy as np

from worldmodel.data.arguments import is_count, real
from worldmodel.errors import ConfigError, VideoError
from worldmodel.types import Origin


class Pace:
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
        named = ", ".join(f"{name}={value!r}" for name, value in given.items() if value is not None)
        if len([value for value in given.values() if value is not None]) > 1:
            raise ConfigError(f"give one of stride, fps and duration, not both ({named})")
        counts = is_count(num_frames) and (stride is None or is_count(stride))
        if not counts or not all(v is None or 0 < real(v) < float("inf") for v in (fps, duration)):
            raise ConfigError(
                f"num_frames and stride must be whole numbers of at least 1, fps and duration "
                f"positive numbers, got num_frames={num_frames!r}{', ' if named else ''}{named}"
            )
        if duration is not None:
            fps = num_frames / real(duration)
        self.num_frames = num_frames
        self.stride = stride or 1
        self.fps = None if fps is None else real(fps)

    def indices(self, times: np.ndarray, start: int) -> np.ndarray:
        """Frame numbers of the clip that begins at frame `start` of a video with these times."""
        if self.fps is None:
            return start + self.stride * np.arange(self.num_frames)
        return nearest_frames(times, times[start] + np.arange(self.num_frames) / self.fps)

    def origin(self, name: str, start: float) -> Origin:
        """Where a clip of this pace comes from: `start` seconds into the video `name`."""
        return Origin(name, float(start), None if self.fps else self.stride, self.fps)

    def clip(self, times: np.ndarray, start: float, *, name: str) -> np.ndarray:
        """Frame numbers of the clip that begins at the first frame from `start` seconds on.

        Raises:
            VideoError: the video ends before the clip, or has fewer frames per second than asked.
        """
        first = int(np.searchsorted(times, start - 1e-6))
        left = times[first:]
        if self._room(left) < 1:
            called = f"{name} from {start:g} s on" if start else name
            seconds = float(left[-1] - left[0]) if len(left) else 0.0
            raise self.too_short(called, frames=len(left), seconds=seconds)
        indices = self.indices(times, first)
        if self.fps is not None and (np.diff(indices) < 1).any():
            raise self.too_slow(name, rate=float(1 / np.diff(left).mean()))
        return indices

    def num_starts(self, times: np.ndarray, *, name: str) -> int:
        """How many frames a clip can begin at, in a video with these times (`t`, seconds).

        Raises:
            VideoError: none, or the video has fewer frames per second than asked for.
        """
        count = self._room(times)
        if count < 1:
            seconds = times[-1] - times[0] if len(times) else 0.0
            raise self.too_short(name, frames=len(times), seconds=float(seconds))
        if self.fps is not None and self.num_frames > 1:
            if self._repeats(times, count):
                raise self.too_slow(name, rate=float(1 / np.diff(times).mean()))
        return count

    def _repeats(self, times: np.ndarray, count: int) -> bool:
        """Whether any of the first `count` clips would show a frame twice."""
        assert self.fps is not None
        offsets = np.arange(self.num_frames) / self.fps
        for at in range(0, count, 4096):  # in pieces: a video may have millions of frames
            chosen = nearest_frames(times, times[at : min(at + 4096, count), None] + offsets)
            if (np.diff(chosen, axis=1) < 1).any():
                return True
        return False

    def _room(self, times: np.ndarray) -> int:
        """How many frames have a whole clip after them; 0 or less if none has."""
        if self.fps is None:
            return len(times) - (self.num_frames - 1) * self.stride
        if len(times) == 0:
            return 0
        # A clip may end half a frame after the last one: that is still the nearest.
        slack = np.diff(times).mean() / 2 if len(times) > 1 else 0.0
        return int((times + (self.num_frames - 1) / self.fps <= times[-1] + slack).sum())

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

    def too_slow(self, name: str, *, rate: float) -> VideoError:
        """The error for a video of `rate` frames per second, fewer than `fps`."""
        return VideoError(
            f"{name}: has {rate:.4g} frames/s, too few for fps={self.fps:g} without showing a "
            f"frame twice; ask for a lower fps, or give stride"
        )


def nearest_frames(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted time the number of the frame nearest to it, the earlier one in a tie."""
    last = len(times) - 1
    right = np.searchsorted(times, wanted).clip(max=last)
    left = (right - 1).clip(min=0)
    # A hair's tolerance, so that rounding of times does not decide ties.
    return np.where(wanted - times[left] <= times[right] - wanted + 1e-6, left, right)
