"""How far apart the frames of a clip are: in frames (`stride`) or in time (`fps`).

Pure arithmetic on frame numbers and times; knows no files and no tensors.
"""

import numpy as np

from worldmodel.errors import ConfigError, VideoError


class Pace:
    """Which frames make a clip of `num_frames`.

    Args:
        num_frames: Frames of the clip.
        stride: Frames from one to the next; 1 without `stride` and `fps`.
        fps: Frames per second: for each time the nearest frame is taken.

    Raises:
        ConfigError: both are given, or one makes no sense.
    """

    def __init__(
        self, num_frames: int, *, stride: int | None = None, fps: float | None = None
    ) -> None:
        if stride is not None and fps is not None:
            raise ConfigError(f"give stride or fps, not both (stride={stride}, fps={fps})")
        if num_frames < 1 or (stride is not None and stride < 1) or (fps is not None and fps <= 0):
            raise ConfigError(
                f"num_frames and stride must be at least 1 and fps positive, "
                f"got num_frames={num_frames}, stride={stride}, fps={fps}"
            )
        self.num_frames = num_frames
        self.stride = stride or 1
        self.fps = fps

    def indices(self, times: np.ndarray, start: int) -> np.ndarray:
        """Frame numbers of the clip that begins at frame `start` of a video with these times."""
        if self.fps is None:
            return start + self.stride * np.arange(self.num_frames)
        return nearest_frames(times, times[start] + np.arange(self.num_frames) / self.fps)

    def num_starts(self, times: np.ndarray, *, name: str) -> int:
        """How many frames a clip can begin at, in a video with these times (`t`, seconds).

        Raises:
            VideoError: none, or the video has fewer frames per second than asked for.
        """
        gaps = np.diff(times)
        if self.fps is None:
            count = len(times) - (self.num_frames - 1) * self.stride
        else:
            # A clip may end half a frame after the last one: that is still the nearest.
            slack = gaps.mean() / 2 if len(gaps) else 0.0
            count = int((times + (self.num_frames - 1) / self.fps <= times[-1] + slack).sum())
        if count < 1:
            seconds = times[-1] - times[0] if len(times) else 0.0
            raise self.too_short(name, frames=len(times), seconds=float(seconds))
        if self.fps is not None and self.num_frames > 1:
            chosen = np.concatenate([np.diff(self.indices(times, s)) for s in range(count)])
            if (chosen < 1).any():
                raise self.too_slow(name, rate=float(1 / gaps.mean()))
        return count

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
