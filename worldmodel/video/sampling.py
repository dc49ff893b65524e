"""Sampling: the frames of a clip, by number (`stride`) or nearest in time (`fps`, `duration`).

Seconds become frame numbers here and nowhere else. Pure arithmetic on frame numbers and times;
knows no files and no tensors.
"""

import numpy as np

from worldmodel.errors import ConfigError, VideoError
from worldmodel.types import Origin
from worldmodel.video.arguments import counted, is_count, real, shown

TOLERANCE = 1e-6  # seconds that rounding may be off by


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
        first = int(np.searchsorted(times, start - TOLERANCE))
        left = times[first:]
        if self._room(left) < 1:
            raise self.too_short(f"{name} from {start:g} s on" if start else name, left)
        if self.fps is None:
            return self.indices(times, first)
        if self.num_frames > len(left):  # said before there is a number for each
            raise self.shows_twice(name, left, np.diff(left))
        indices = self.indices(times, first)
        if (np.diff(indices) < 1).any():
            raise self.shows_twice(name, times[first : indices[-1] + 2], np.diff(left))
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
            raise self.too_short(name, times)
        if self.fps is None:
            return np.arange(count)
        once = _show_none_twice(times, count, num_frames=self.num_frames, fps=self.fps)
        if not once.any():
            raise self.shows_twice(name, times, np.diff(times))
        return np.flatnonzero(once)

    def _room(self, times: np.ndarray) -> int:
        """How many frames have a whole clip after them; 0 or less if none has."""
        if self.fps is None:
            return len(times) - (self.num_frames - 1) * self.stride
        if len(times) < min(self.num_frames, 2):
            return 0
        end = times[-1] + _slack(times)
        return int((times + (self.num_frames - 1) / self.fps <= end).sum())

    def too_short(self, name: str, times: np.ndarray) -> VideoError:
        """The error for a video that has frames only at these times."""
        seconds = float(times[-1] - times[0]) if len(times) else 0.0
        if self.fps is None:
            frames_needed = counted((self.num_frames - 1) * self.stride + 1, "frame")
            wanted = f"{frames_needed} ({self.num_frames} at stride {self.stride})"
        else:
            need = (self.num_frames - 1) / self.fps
            wanted = f"{need:.3g} s ({self.num_frames} at {self.fps:g}/s)"
        has = f"{counted(len(times), 'frame')}, {seconds:.3g} s"
        return VideoError(
            f"{name}: is shorter than the clip: {has}, where the clip takes {wanted}; ask for "
            f"fewer frames or leave the video out"
        )

    def shows_twice(self, name: str, met: np.ndarray, gaps: np.ndarray) -> VideoError:
        """The error for a clip in which a frame would be shown twice.

        Args:
            name: Of the video.
            met: Times of the frames that the clip meets, `t`, seconds.
            gaps: Seconds between frames: their mean gives the video's rate.
        """
        assert self.fps is not None
        rate = 1 / gaps.mean() if len(gaps) else np.inf
        widest = int(np.diff(met).argmax())
        begin, end = met[widest : widest + 2]
        if rate * (1 + 1e-9) < self.fps:
            return VideoError(
                f"{name}: has {rate:.4g} frames/s, too few for fps={self.fps:g} without showing a "
                f"frame twice; ask for a lower fps, or give stride"
            )
        return VideoError(
            f"{name}: has no frame between {begin:.6g} and {end:.6g} s, too long for "
            f"fps={self.fps:g} without showing a frame twice; ask for a lower fps, give stride, or "
            f"take a clip elsewhere"
        )


def nearest_frames(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """For each wanted time the number of the frame nearest to it, the earlier one in a tie."""
    last = len(times) - 1
    right = np.searchsorted(times, wanted).clip(max=last)
    left = (right - 1).clip(min=0)
    # With a tolerance, so that rounding of times does not decide ties.
    return np.where(wanted - times[left] <= times[right] - wanted + TOLERANCE, left, right)


def _slack(times: np.ndarray) -> float:
    """Seconds that a clip may end after the last frame: half a frame, it is the nearest still."""
    return float(np.diff(times).mean()) / 2 if len(times) > 1 else 0.0


def _show_none_twice(times: np.ndarray, count: int, *, num_frames: int, fps: float) -> np.ndarray:
    """For each of the first `count` frames, True if the clip that begins there repeats no frame.

    Clips want frames at times `1 / fps` apart. Each frame is the nearest to a span of time, and a
    clip repeats it if two of those times are in its span. So only frames with spans that are long
    enough for two matter, and of those each clip meets few.
    """
    # The span of a frame begins after `low` and ends with `high`.
    between = np.minimum((times[:-1] + times[1:] + TOLERANCE) / 2, times[1:])
    low = np.concatenate([times[:1], between])
    high = np.concatenate([between, times[-1:] + _slack(times) + TOLERANCE])
    long = np.flatnonzero(high - low > 1 / fps)
    once = np.ones(count, bool)
    starts = np.arange(count)  # those that may still repeat a frame
    met = np.searchsorted(long, starts)  # the first long span that a clip has not passed
    while len(starts):
        inside = met < len(long)
        starts, met = starts[inside], met[inside]
        frame = long[met]
        # Which wanted time of the clip is the first in the span.
        number = np.floor((low[frame] - times[starts]) * fps) + 1
        number[frame == starts] = 0
        inside = number + 1 < num_frames
        twice = inside & (times[starts] + (number + 1) / fps <= high[frame])
        once[starts[twice]] = False
        starts, met = starts[inside & ~twice], met[inside & ~twice] + 1
    return once
