"""For every file, the frames are those of decoding it in order from its start."""

import os
import re
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.worldmodel.video.made_videos import MADE_VIDEOS, stripes
from worldmodel.errors import VideoError
from worldmodel.video.clip import VideoReader, decode, to_rgb
from worldmodel.video.decoders import why_not
from worldmodel.video.decoding import Decoding


def truth(path: Path, stream: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """All frames `t h w c` and their times, decoded in order."""
    times, frames = zip(*decode(path, stream=stream), strict=True)
    return np.stack([to_rgb(frame) for frame in frames]), np.array(times)


@pytest.fixture(scope="session")
def videos(tmp_path_factory):
    """Makes each video once."""
    folder, made = tmp_path_factory.mktemp("videos"), {}

    def video(name: str) -> Path:
        if name not in made:
            made[name] = MADE_VIDEOS[name].write(folder, name)
        return made[name]

    return video


def draws(count: int, seed: int, times: int = 6) -> list[np.ndarray]:
    random = np.random.default_rng(seed)
    sizes = random.integers(1, 8, times)
    return [np.sort(random.integers(count, size=size)) for size in sizes]


@pytest.mark.parametrize("name", MADE_VIDEOS)
def test_random_access_gives_the_frames_of_a_decode_in_order(videos, name):
    path = videos(name)
    frames, times = truth(path)
    reader = VideoReader(path)
    assert reader.num_frames == len(frames)
    np.testing.assert_allclose(reader.times(np.arange(len(frames))), times, atol=1e-9)
    for indices in [np.arange(len(frames)), *draws(len(frames), seed=0)]:
        got = reader.read(indices).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(got, frames[indices]), f"{name}: {indices}"
    mixed = np.random.default_rng(2).integers(len(frames), size=9)
    for clip, wanted in zip(reader.read_clips([mixed[:4], mixed[4:]]), (mixed[:4], mixed[4:]),
                            strict=True):  # fmt: skip
        assert np.array_equal(clip.permute(0, 2, 3, 1).numpy(), frames[wanted])
    reader.close()


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
@pytest.mark.parametrize("name", MADE_VIDEOS)
def test_other_decoders_are_right_or_passed_over(videos, name, backend):
    problem = why_not(backend)
    if problem:
        pytest.skip(problem)
    path = videos(name)
    frames, _ = truth(path)
    try:
        reader = VideoReader(path, Decoding(backend=backend))
        got = {}
        for indices in draws(len(frames), seed=1):
            got |= dict(zip(indices.tolist(), reader.read(indices), strict=True))
    except VideoError as cause:
        assert re.search(rf": {backend} would not give its right frames \(.+\); use", str(cause))
        return
    assert reader.backend == backend
    for number, frame in got.items():
        assert nearest_to(frame.permute(1, 2, 0).numpy(), frames, number) == number


def nearest_to(image: np.ndarray, frames: np.ndarray, number: int, around: int = 8) -> int:
    """Which of the frames around a number looks most like an image."""
    begin = max(0, number - around)
    some = frames[begin : number + around + 1].astype(np.int16)
    far = np.abs(some - image.astype(np.int16)).mean((1, 2, 3))
    # Frames that look the same cannot be told apart, where sizes are reduced in other ways.
    return number if far[number - begin] <= far.min() + 0.25 else begin + int(far.argmin())


REAL = (
    "Megamind.avi av1_video.mkv bigbuckbunny.mp4 bikes.mp4 carphone_distorted.mp4 "
    "carphone_pristine.mp4 h264_10bits.mp4 h265_video.mp4 nasa_13013.mp4 tree.avi vtest.avi"
).split()
PASSED_OVER = {
    "decord": {"Megamind.avi", "av1_video.mkv", "h265_video.mp4", "nasa_13013.mp4"},
    "torchcodec": {"Megamind.avi", "h265_video.mp4"},
    "pyav": set(),
}


@pytest.mark.slow
@pytest.mark.parametrize("backend", PASSED_OVER)
@pytest.mark.parametrize("name", REAL)
def test_real_files_are_right_or_passed_over(real_videos, name, backend):
    problem = why_not(backend)
    if problem:
        pytest.skip(problem)
    path, decoding = real_videos / name, Decoding(short_side=96, backend=backend)
    if name in PASSED_OVER[backend]:
        with pytest.raises(VideoError, match=f"{name}: {backend} would not give its right"):
            VideoReader(path, decoding)
        assert VideoReader(path, Decoding(short_side=96)).backend != backend
        return
    times, images = zip(*((t, to_rgb(f, 96)) for t, f in decode(path)), strict=True)
    frames, reader = np.stack(images), VideoReader(path, decoding)
    np.testing.assert_allclose(reader.times(np.arange(len(frames))), times, atol=1e-9)
    for indices in draws(len(frames), seed=3, times=3):
        for number, frame in zip(indices, reader.read(indices), strict=True):
            image = frame.permute(1, 2, 0).numpy()
            if backend == "pyav":
                assert np.array_equal(image, frames[number])
            else:
                assert nearest_to(image, frames, number) == number


@given(st.data())
@settings(max_examples=40, deadline=None, database=None, derandomize=True,
          suppress_health_check=[HealthCheck.function_scoped_fixture])  # fmt: skip
def test_any_numbers_in_any_order_are_the_same_frames(videos, data):
    """A reader that stays open gives what a decode in order gives, wherever it stands."""
    name = data.draw(st.sampled_from(["plain", "open-gop", "hevc", "mpeg4-b-avi", "edit-list"]))
    if name not in LAW:
        LAW[name] = (truth(videos(name))[0], VideoReader(videos(name)))
    frames, reader = LAW[name]
    numbers = data.draw(st.lists(st.integers(0, len(frames) - 1), min_size=1, max_size=12))
    got = reader.read(np.array(numbers)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(got, frames[numbers])


LAW: dict[str, tuple[np.ndarray, VideoReader]] = {}


def test_a_decoder_that_returns_another_frame_is_not_served(videos, monkeypatch):
    """When what comes does not fit the index, frames are counted instead."""
    frames, _ = truth(videos("plain"))
    reader = VideoReader(videos("plain"))
    reader._decoder._stamps[9] += 1  # the index is wrong about a frame
    got = reader.read(np.arange(24)).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(got, frames)
    assert reader.counted


LATE = """
import sys
import av
import numpy as np
from worldmodel.video.clip import VideoReader, decode, read_clip, video_info
path = sys.argv[1]
reader = VideoReader(path)
served = reader.read(np.arange(reader.num_frames))
print(reader.num_frames, len(served), sum(1 for _ in decode(path)), video_info(path).frames,
      len(read_clip(path, num_frames=5, fps=5).times[0]))
"""


def test_sound_that_begins_after_the_image(tmp_path):
    """PyAV looks at memory that it never wrote; here all of that is made to look like a stream."""
    path = tmp_path / "late.flv"
    with av.open(str(path), "w") as container:
        video = container.add_stream("flv", rate=10)
        video.width = video.height = 32
        sound = container.add_stream("pcm_s16le", rate=11025)
        for number in range(120):
            image = av.VideoFrame.from_ndarray(stripes(number % 100, 32, 32), format="rgb24")
            container.mux(video.encode(image))
        container.mux(video.encode(None))
        silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.int16), "s16", "mono")
        silence.sample_rate, silence.pts = 11025, 11025 * 12
        container.mux(sound.encode(silence))
    content = bytearray(path.read_bytes())
    content[4] = 1  # the header names the image only
    path.write_bytes(content)
    done = subprocess.run(
        [sys.executable, "-c", LATE, str(path)], capture_output=True, text=True, timeout=120,
        env=os.environ | {"MALLOC_PERTURB_": "165"},
    )  # fmt: skip
    assert done.stdout.split() == ["120", "120", "120", "120", "5"], done.stderr[-2000:]
