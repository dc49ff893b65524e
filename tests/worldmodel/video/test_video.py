"""Reading video: the right frames with the right times, and one line for what cannot be read."""

import os
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from tests.worldmodel.video.made_videos import MadeVideo
from worldmodel.errors import ConfigError, VideoError
from worldmodel.types import Origin
from worldmodel.video.clip import VideoReader, decode, read_clip, to_rgb, video_info
from worldmodel.video.decoders import why_not
from worldmodel.video.decoding import Decoding


def numbers(clip) -> list[int]:
    """Which frames of a made video these are, by their grey."""
    return ((clip.frames[0].mean(dim=(1, 2, 3)) * 255 - 10) / 5).round().int().tolist()


def test_frames_and_times_by_stride(tmp_path, make_video):
    clip = read_clip(make_video(tmp_path / "a.mp4"), num_frames=4, stride=3, start=0.45)
    assert numbers(clip) == [5, 8, 11, 14]
    assert clip.times[0].tolist() == pytest.approx([0.5, 0.8, 1.1, 1.4])
    assert clip.frames.shape == (1, 4, 3, 32, 48)
    assert clip.sources == (str(tmp_path / "a.mp4"),)
    assert clip.origins == (Origin(str(tmp_path / "a.mp4"), 0.5, stride=3),)


def test_frames_and_times_by_rate(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 30, fps=30)
    clip = read_clip(path, num_frames=4, fps=10)
    assert numbers(clip) == [0, 3, 6, 9]
    # 30 frames last to 29/30 s; the nearest frame of 1.0 s is half a frame away at most.
    assert numbers(read_clip(path, num_frames=2, fps=1.0345)) == [0, 29]


def test_variable_rate_takes_the_nearest_in_time(tmp_path, make_video):
    times = [0, 100, 150, 400, 900, 950, 1000]
    path = make_video(tmp_path / "a.mkv", 7, milliseconds=times)
    clip = read_clip(path, num_frames=3, fps=2)
    assert numbers(clip) == [0, 3, 6]
    assert clip.times[0].tolist() == pytest.approx([0.0, 0.4, 1.0])
    with pytest.raises(VideoError, match="frames/s, too few for fps=10"):
        read_clip(path, num_frames=8, fps=10)


def test_size_is_a_square_from_the_middle(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", size=(96, 64))
    assert read_clip(path, num_frames=1, size=16).frames.shape == (1, 1, 3, 16, 16)
    assert read_clip(path, num_frames=1, size=80).frames.shape == (1, 1, 3, 80, 80)


def test_resizing_averages_areas():
    random = np.random.default_rng(0)
    image = random.integers(0, 256, (64, 96, 3), dtype=np.uint8)
    small = to_rgb(av.VideoFrame.from_ndarray(image, format="rgb24"), 16)
    assert small.shape == (16, 24, 3)
    expected = torch.nn.functional.avg_pool2d(
        torch.from_numpy(image).permute(2, 0, 1).float(), 4
    ).permute(1, 2, 0)
    assert np.abs(small - expected.numpy()).mean() < 2


def test_info(tmp_path, make_video):
    info = video_info(make_video(tmp_path / "a.mp4", 20, fps=10))
    assert (info.frames, info.width, info.height, info.codec) == (20, 48, 32, "mpeg4")
    assert info.duration == pytest.approx(2.0) and info.fps == pytest.approx(10.0)


def test_a_phones_turned_images_are_put_upright(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 3)
    content = bytearray(path.read_bytes())
    # The matrix of the track header says: turn by 90 degrees clockwise.
    matrix = content.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)
    path.write_bytes(content)
    _, frame = next(decode(path))
    lying = frame.to_ndarray(format="rgb24")
    lying[:4, :4] = 255  # the upper left corner must become the upper right one
    marked = av.VideoFrame.from_ndarray(lying, format="rgb24")
    assert frame.rotation == -90
    assert to_rgb(frame).shape == (48, 32, 3)
    assert np.rot90(marked.to_ndarray(), -1)[0, -1, 0] == 255
    assert read_clip(path, num_frames=2, size=16).frames.shape == (1, 2, 3, 16, 16)
    for backend in ("decord", "torchcodec"):
        if why_not(backend) is None:  # both would squeeze it
            with pytest.raises(VideoError, match=f"{backend} .*stored lying.*use backend=auto"):
                read_clip(path, num_frames=1, size=16, backend=backend)


# Rows of the matrices by which x, to the right, and y, down, are shown: (a, b), (c, d).
TURNS = [((1, 0), (0, 1)), ((0, 1), (-1, 0)), ((-1, 0), (0, -1)), ((0, -1), (1, 0))]


def shown(stored: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """An image with every pixel where a matrix shows it."""
    y, x = np.mgrid[: stored.shape[0], : stored.shape[1]]
    x, y = np.moveaxis(np.stack([x, y], axis=-1) @ matrix, -1, 0)
    x, y = x - x.min(), y - y.min()
    image = np.zeros((y.max() + 1, x.max() + 1, 3), np.uint8)
    image[y, x] = stored
    return image


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("turn", range(4))
def test_images_are_shown_as_their_matrix_says(tmp_path, turn, mirrored):
    path = MadeVideo("mpeg4", frames=3, size=(32, 48)).write(tmp_path)
    frames = [frame for _, frame in decode(path)]
    matrix = np.array(TURNS[turn]) * ([-1, 1] if mirrored else 1)
    (a, b), (c, d) = matrix.tolist()
    content = bytearray(path.read_bytes())
    numbers = [n << 16 for n in (a, b, 0, c, d, 0, 0, 0)] + [1 << 30]
    place = content.index(b"tkhd") + 4 + 40
    content[place : place + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in numbers)
    path.write_bytes(content)
    for side in (None, 16):
        expected = shown(to_rgb(frames[1], side), matrix)
        got = VideoReader(path, Decoding(side)).read(np.array([1]))[0].permute(1, 2, 0).numpy()
        assert np.array_equal(got, expected)
    expected = shown(to_rgb(frames[1]), matrix).astype(int)
    for backend in ("decord", "torchcodec"):
        if why_not(backend) is None:
            try:
                other = VideoReader(path, Decoding(backend=backend)).read(np.array([1]))
            except VideoError as cause:
                # What decord does with lying images depends on their width.
                assert "stored mirrored" in str(cause) if mirrored else backend == "decord"
            else:
                assert not mirrored
                assert np.abs(other[0].permute(1, 2, 0).numpy() - expected).mean() < 2


def bad_files(folder: Path, make_video) -> dict[str, str]:
    """Names of bad files in `folder` and what must be said of each."""
    whole = make_video(folder / "whole.avi", 60)
    (folder / "cut.avi").write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    whole_mp4 = make_video(folder / "whole.mp4", 60)
    (folder / "cut.mp4").write_bytes(whole_mp4.read_bytes()[: whole_mp4.stat().st_size // 2])
    whole_mkv = make_video(folder / "whole.mkv", 60)
    (folder / "cut.mkv").write_bytes(whole_mkv.read_bytes()[: whole_mkv.stat().st_size // 2])
    (folder / "empty.mp4").touch()
    (folder / "text.mp4").write_text("hello\nworld\n" * 500)
    # A playlist would make FFmpeg open what it names: here something that blocks for ever.
    os.mkfifo(folder / "pipe.mp4")
    (folder / "list.mp4").write_text(f"#EXTM3U\n#EXTINF:9,\n{folder / 'pipe.mp4'}\n")
    (folder / "folder.mp4").mkdir()
    (folder / "link.mp4").symlink_to(folder / "gone.mp4")
    for path in (whole, whole_mp4, whole_mkv):
        path.unlink()
    return {
        "cut.avi": "truncated",  # FFmpeg before 8 does not open it at all
        "cut.mp4": "cannot be decoded",
        "cut.mkv": r"is truncated: \d+ of \d+ bytes are there",
        "empty.mp4": "is empty",
        "text.mp4": "not a video",
        "pipe.mp4": "is a pipe",
        "list.mp4": "not a video",
        "folder.mp4": "is a folder",
        "link.mp4": "no such video",
    }


@pytest.mark.parametrize("backend", ["pyav", "decord"])
def test_bad_files_are_named_in_one_line(tmp_path, make_video, backend):
    if why_not(backend):
        pytest.skip(why_not(backend))
    for name, message in bad_files(tmp_path, make_video).items():
        if backend == "decord" and name.startswith("cut."):
            continue  # it serves what is left of them
        with pytest.raises(VideoError) as caught:
            read_clip(tmp_path / name, num_frames=60, backend=backend)
        said = str(caught.value)
        assert said.startswith(f"{tmp_path / name}: ") and ";" in said and "\n" not in said
        if backend == "pyav":
            assert caught.match(message)


def test_the_intact_part_of_a_cut_video_is_still_right(tmp_path, make_video):
    bad_files(tmp_path, make_video)
    assert numbers(read_clip(tmp_path / "cut.mkv", num_frames=4)) == [0, 1, 2, 3]


def test_damage_in_the_middle_is_an_error(tmp_path, real_videos):
    content = bytearray((real_videos / "bikes.mp4").read_bytes())
    for place in range(200_000, 300_000, 97):
        content[place] ^= 0x5A
    (tmp_path / "bad.mp4").write_bytes(content)
    with pytest.raises(VideoError, match="bad.mp4: cannot be decoded"):
        list(decode(tmp_path / "bad.mp4"))


def test_shorter_than_the_clip(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 20)
    with pytest.raises(VideoError, match="a.mp4: is shorter than the clip: 20 frames.*22 frames"):
        read_clip(path, num_frames=8, stride=3)
    with pytest.raises(VideoError, match="from 1.5 s on: is shorter.*: 5 frames"):
        read_clip(path, num_frames=8, start=1.5)
    with pytest.raises(VideoError, match="from 9 s on: is shorter.*: 0 frames"):
        read_clip(path, num_frames=2, start=9.0)
    with pytest.raises(VideoError, match="takes 3 s"):
        read_clip(path, num_frames=4, fps=1)


def test_sound_alone_is_no_video(tmp_path):
    with av.open(str(tmp_path / "a.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 16000), np.float32), "fltp", "mono")
        sound.sample_rate = 16000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="no video stream"):
        read_clip(tmp_path / "a.mp4", num_frames=1)


def test_an_unknown_backend(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4")
    with pytest.raises(ConfigError, match="did you mean 'decord'"):
        read_clip(path, num_frames=1, backend="decrod")


def test_decord_agrees_where_it_is_right(tmp_path, make_video):
    if why_not("decord"):
        pytest.skip(why_not("decord"))
    path = make_video(tmp_path / "a.mp4", size=(64, 64))
    ask = {"num_frames": 5, "fps": 5, "start": 0.3, "size": 20}
    ours, theirs = read_clip(path, **ask), read_clip(path, **ask, backend="decord")
    assert numbers(ours) == numbers(theirs) == [3, 5, 7, 9, 11]
    assert torch.allclose(ours.times, theirs.times, atol=1e-4)
    assert (ours.frames - theirs.frames).abs().max() < 0.02


FRAMES = {
    "Megamind.avi": 270,
    "av1_video.mkv": 125,
    "bigbuckbunny.mp4": 132,
    "bikes.mp4": 250,
    "carphone_distorted.mp4": 120,
    "carphone_pristine.mp4": 120,
    "h264_10bits.mp4": 30,
    "h265_video.mp4": 10,
    "nasa_13013.mp4": 390,
    "tree.avi": 68,
    "vtest.avi": 795,
}


@pytest.mark.parametrize("name", FRAMES)
def test_real_clips_are_the_frames_of_a_decode_in_order(real_videos, name):
    path = real_videos / name
    assert video_info(path).frames == FRAMES[name]
    with av.open(str(path)) as container:
        frames = container.decode(container.streams.best("video"))
        wanted = [
            f.to_ndarray(format="rgb24")
            for i, f in zip(range(10), frames, strict=False)
            if i % 3 == 0
        ]
    clip = read_clip(path, num_frames=4, stride=3)
    got = (clip.frames[0] * 255).round().to(torch.uint8).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(got, np.stack(wanted))
    assert (clip.times.diff() > 0).all() and clip.times[0, 0] == 0


def test_guessed_times_are_counted_instead(real_videos):
    times = np.array([time for time, _ in decode(real_videos / "Megamind.avi")])
    assert len(times) == 270 and np.allclose(np.diff(times), 125 / 2997)


def test_clips_spread_over_a_duration(tmp_path, make_video):
    path = make_video(tmp_path / "a.mp4", 30, fps=30)
    clip = read_clip(path, num_frames=4, duration=0.4, start=0.1)
    assert numbers(clip) == [3, 6, 9, 12]
    assert clip.times[0].tolist() == pytest.approx([0.1, 0.2, 0.3, 0.4])
    with pytest.raises(ConfigError, match="give one of stride, fps and duration"):
        read_clip(path, num_frames=4, duration=1, fps=3)
    for wrong in (0, -1, float("inf")):
        with pytest.raises(ConfigError, match="fps and duration positive"):
            read_clip(path, num_frames=4, duration=wrong)
    with pytest.raises(VideoError, match="is shorter than the clip"):
        read_clip(path, num_frames=4, duration=2)


def test_links_in_a_circle_and_files_that_may_not_be_read(tmp_path, make_video, monkeypatch):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "b.mp4")
    (tmp_path / "b.mp4").symlink_to(tmp_path / "a.mp4")
    with pytest.raises(VideoError, match="a.mp4: no such video"):
        read_clip(tmp_path / "a.mp4", num_frames=1)
    path = make_video(tmp_path / "c.mp4")
    monkeypatch.setattr(os, "access", lambda *a, **k: False)  # root may read everything
    with pytest.raises(VideoError, match="may not be read; check its permissions"):
        read_clip(path, num_frames=1)


NOISY = """
import sys
import av, numpy as np, torch
from worldmodel.video.clip import VideoReader

torch.set_num_threads(2)  # of the decoder too
av.logging.set_level(av.logging.ERROR)  # as torchvision did when it was imported
for number in range(40):
    reader = VideoReader(sys.argv[1])
    reader.read(np.array([number]))
    reader.close()
    del reader
"""


def test_threads_with_errors_to_tell_do_not_hold_up_closing(tmp_path):
    path = tmp_path / "damaged.mp4"
    random = np.random.default_rng(0)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"preset": "veryfast"})
        stream.width, stream.height = 640, 480
        for _ in range(60):
            blocks = random.integers(0, 255, (15, 20, 3), np.uint8).repeat(32, 0).repeat(32, 1)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(blocks, format="rgb24")))
        container.mux(stream.encode(None))
    data = bytearray(path.read_bytes())
    begin, end = data.index(b"mdat") + 20_000, data.index(b"moov")  # of the frames
    for at in random.integers(begin, end, 200):
        data[at] ^= 1 << int(random.integers(8))
    path.write_bytes(data)
    words = [sys.executable, "-c", NOISY, str(path)]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert ended.returncode == 0, ended.stderr[-1000:]
