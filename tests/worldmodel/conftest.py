"""Small videos and episodes that say by their grey level which frame is which."""

from collections.abc import Callable, Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import EpisodeWriter


def level(number: int) -> int:
    """The grey of frame `number` of a made video or episode."""
    return 10 + 5 * (number % 48)


@pytest.fixture
def make_video() -> Callable[..., Path]:
    def make(
        path: Path,
        num_frames: int = 20,
        *,
        fps: int = 10,
        size: tuple[int, int] = (48, 32),
        codec: str = "mpeg4",
        milliseconds: Sequence[int] | None = None,
    ) -> Path:
        """A video of `size` (width, height); `milliseconds` sets the frames' times."""
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=fps)
            stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
            stream.bit_rate = 2_000_000
            if milliseconds:
                stream.codec_context.time_base = Fraction(1, 1000)
            for number in range(num_frames):
                image = np.full((size[1], size[0], 3), level(number), np.uint8)
                frame = av.VideoFrame.from_ndarray(image, format="rgb24")
                if milliseconds:
                    frame.pts, frame.time_base = milliseconds[number], Fraction(1, 1000)
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
        return path

    return make


@pytest.fixture
def make_episode() -> Callable[..., Episode]:
    def make(length: int = 9, *, size: int = 8, number: int = 0, labelled: bool = True) -> Episode:
        """Frame `t` has level `t` in red and `number` in green; action `t` is (t, number)."""
        frames = np.zeros((length, size, size, 3), np.uint8)
        frames[..., 0] = np.arange(length)[:, None, None]
        frames[..., 1] = number
        steps = np.arange(length - 1, dtype=np.float32)
        actions = np.stack([steps, np.full_like(steps, number)], axis=1)
        info = {
            "position": np.stack([np.arange(length), np.full(length, number)], axis=1),
            "goal_image": np.full((size, size, 3), 200, np.uint8),
        }
        return Episode.from_numpy(
            frames,
            actions if labelled else None,
            fps=10.0,
            info=info,
            metadata={"seed": str(100 + number), "task": "any"},
        )

    return make


@pytest.fixture
def folder(tmp_path: Path, make_episode: Callable[..., Episode]) -> Path:
    """Five episodes of 5 to 9 frames; numbers 1 and 3 are videos only."""
    place = tmp_path / "episodes"
    with EpisodeWriter(place, FolderInfo("test/World-v0", 10.0, (-1, -1), (1, 1))) as writer:
        for number in range(5):
            writer.write(make_episode(5 + number, number=number, labelled=number not in (1, 3)))
    return place
