"""The frames of a clip of a suite as a model is shown them: at its size, resampled in time."""

from contextlib import closing
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms.v2.functional import resize

from worldmodel.errors import VideoError
from worldmodel.evaluation.suites.suite import SuiteClip
from worldmodel.types import Clip
from worldmodel.video.decoding import Decoding
from worldmodel.video.sampling import Sampling, nearest_frames


@dataclass(frozen=True)
class ShownClip:
    """What a model is shown of a clip.

    Attributes:
        clip: b = 1; whole time steps only.
        primed: how many of its time steps, from the first, are the priming and not scored.
        fps: frames per second that the file has.
    """

    clip: Clip
    primed: int
    fps: float


def show(
    clip: SuiteClip, *, size: int, tubelet_frames: int, fps: float | None, priming: bool,
    framing: Literal["whole", "centre"], decoding: Decoding,
) -> ShownClip:  # fmt: skip
    """Read a clip.

    Frames are taken at equal steps of time, counted from the first one that is scored; frames of
    the priming at the same steps before it. At the end, and at the beginning of a priming, frames
    that do not fill a time step are left out.

    Args:
        clip: of a suite.
        size: side of the square frames in pixels.
        tubelet_frames: frames of a time step.
        fps: frames per second, the nearest in time; None takes each frame of the file.
        priming: True shows what comes before the scored part too, where there is something.
        framing: `whole` squeezes what is not square, `centre` cuts it.
        decoding: how files are decoded.

    Raises:
        VideoError: the clip cannot be read, has fewer frames per second than asked for, or ends
            with its priming.
    """
    with closing(clip.read.open(decoding.at(size))) as video:
        times = video.times(np.arange(video.num_frames))
        if clip.start >= len(times):
            raise VideoError(
                f"{video.name}: has {len(times)} frames, and its priming is said to end after "
                f"frame {clip.start - 1}; correct the list, or fetch the video again"
            )
        before, after = _numbers(times, clip.start, fps, video.name)
        before = before[len(before) % tubelet_frames :] if priming else before[:0]
        after = after[: len(after) // tubelet_frames * tubelet_frames]
        numbers = np.concatenate([before, after])
        frames = video.read(numbers) if len(numbers) else torch.zeros(0, 3, size, size)
    own = clip.fps or (1 / float(np.diff(times).mean()) if len(times) > 1 else 0.0)
    if not len(after):
        raise VideoError(
            f"{video.name}: has {len(times) - clip.start} frames to score, fewer than the "
            f"{tubelet_frames} of a time step of this model; leave its scene out"
        )
    square = _square(frames, size, framing)
    shown = Clip.from_uint8(square[None], torch.from_numpy(times[numbers])[None])
    return ShownClip(shown, len(before) // tubelet_frames, own)


def _numbers(
    times: np.ndarray, start: int, fps: float | None, name: str
) -> tuple[np.ndarray, np.ndarray]:
    """The frames to take before the scored part and in it."""
    if fps is None:
        return np.arange(start), np.arange(start, len(times))
    slack = float(np.diff(times).mean()) / 2 if len(times) > 1 else 0.0
    count = int((times[-1] + slack - times[start]) * fps + 1e-6) + 1
    earlier = int((times[start] - times[0]) * fps + 1e-6)
    wanted = times[start] + np.arange(-earlier, count) / fps
    numbers = nearest_frames(times, wanted)
    if (np.diff(numbers) < 1).any():
        raise Sampling(len(numbers), fps=fps).shows_twice(name, times, np.diff(times))
    return numbers[:earlier], numbers[earlier:]


def _square(frames: Tensor, size: int, framing: str) -> Tensor:
    """Frames t c h w, whose short side is `size`, as squares."""
    height, width = frames.shape[-2:]
    if framing == "centre":
        top, left = (height - size) // 2, (width - size) // 2
        return frames[..., top : top + size, left : left + size].contiguous()
    return frames if height == width else resize(frames, [size, size], antialias=True)
