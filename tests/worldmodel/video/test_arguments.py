"""Arguments that make no sense are refused as what they are, not blamed on the video."""

from fractions import Fraction

import numpy as np
import pytest
import torch

from worldmodel.errors import ConfigError
from worldmodel.video.arguments import is_count, real
from worldmodel.video.clip import VideoReader, decode, read_clip, video_info
from worldmodel.video.decoding import Decoding, Limits

FRAMES = np.zeros((20, 8, 8, 3), np.uint8)


def test_what_a_number_is():
    for one in (1, 1.0, np.float32(1), np.int64(1), Fraction(1), torch.tensor(1.0)):
        assert real(one) == 1
    for none in ("1", None, b"1", [1], 1j, np.zeros(2), torch.zeros(2), 10**400):
        assert np.isnan(real(none))
    assert is_count(3) and is_count(np.int64(3))
    assert not any(is_count(none) for none in (0, -3, 3.0, "3", None, Fraction(3), 2**53 + 1))


@pytest.mark.parametrize("kind", ["file", "array", "live"])
@pytest.mark.parametrize(
    ("ask", "message"),
    [
        ({"num_frames": 2.0}, "must be whole numbers of at least 1.*num_frames=2.0"),
        ({"num_frames": "3"}, "num_frames='3'"),
        ({"stride": 1.5}, "stride=1.5"),
        ({"fps": "8"}, "fps='8'"),
        ({"duration": [1]}, r"duration=\[1\]"),
        ({"size": 0}, "size, .*, must be a whole number of pixels, at least 1; got 0"),
        ({"size": -3}, "got -3"),
        ({"size": 2.5}, "got 2.5"),
        ({"stream": "0"}, "stream must be a whole number, .*; got '0'"),
        ({"start": float("nan")}, "start must be a finite number of seconds, got nan"),
        ({"start": float("inf")}, "got inf"),
        ({"start": "1"}, "got '1'"),
        ({"num_frames": 10**400}, "at most 2\\*\\*53, .*, got num_frames=1000"),
        ({"num_frames": 10**400, "fps": 1.0}, "at most 2\\*\\*53"),
        ({"num_frames": 10**5000, "duration": 1}, "num_frames=a number of thousands of digits"),
        ({"num_frames": 1, "stride": 10**30}, "at most 2\\*\\*53, .*, stride=1000"),
        ({"duration": 1e-320}, "fps and duration positive numbers"),
        ({"size": 10**400}, "size, .*, up to 2\\*\\*53, .*; got 1000"),
        ({"start": -(10**5000)}, "got a number of thousands of digits"),
        ({"backend": 0}, "backend must be a name, got 0; choose from: auto, pyav"),
        ({"backend": None}, "backend must be a name, got None"),
        ({"limits": 1}, r"limits must be Limits\(pixels=.*\), got 1"),
        ({"limits": []}, r"limits must be Limits\(pixels=.*\), got \[\]"),
    ],
)
def test_arguments_of_a_clip(tmp_path, make_video, kind, ask, message):
    source = {
        "file": lambda: make_video(tmp_path / "a.mp4"), "array": lambda: FRAMES,
        "live": lambda: iter(FRAMES),
    }[kind]()  # fmt: skip
    with pytest.raises(ConfigError, match=message):
        read_clip(source, **({"num_frames": 4, "rate": 10} | ask))


def test_numbers_of_other_types_are_numbers(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4")
    expected = read_clip(path, num_frames=3, fps=2.5, start=0.5)
    for fps, start in ((Fraction(5, 2), Fraction(1, 2)), (np.float32(2.5), torch.tensor(0.5))):
        clip = read_clip(path, num_frames=np.int64(3), fps=fps, start=start)
        assert torch.equal(clip.frames, expected.frames) and clip.origins == expected.origins


@pytest.mark.parametrize("name", ["pixels", "frames", "mib", "seconds"])
def test_limits_are_positive(name):
    for wrong in (0, -1, float("nan"), "100", None):
        with pytest.raises(ConfigError, match=f"limits must be positive .*{name}={wrong!r}"):
            Limits(**{name: wrong})
    if name in ("pixels", "frames"):
        for wrong in (1.5, float("inf")):
            with pytest.raises(ConfigError, match="pixels and frames whole ones"):
                Limits(**{name: wrong})
    assert Decoding(limits=Limits(pixels=1e6, mib=0.5, seconds=float("inf"))).limits.pixels == 10**6


def test_limits_may_be_larger_than_what_ffmpeg_counts(tmp_path, make_video):
    path, large = make_video(tmp_path / "a.mp4"), Limits(pixels=2**40)
    assert len(VideoReader(path, Decoding(limits=large)).read(np.array([0]))) == 1
    with pytest.raises(ConfigError, match="stream must be a whole number"):
        video_info(path, stream="0")
    with pytest.raises(ConfigError, match="stream must be a whole number"):
        next(decode(path, stream="0"))
    with pytest.raises(ConfigError, match="has no video stream a number of thousands of digits"):
        video_info(path, stream=10**5000)
    for read in (video_info, lambda path, limits: next(decode(path, limits=limits))):
        with pytest.raises(ConfigError, match="limits must be Limits"):
            read(path, limits=0)
