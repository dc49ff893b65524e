"""A video from whatever holds one: every source gives the same clip, and says its name."""

import io
import mmap
import os
import tempfile
import zipfile
from pathlib import Path

import fsspec
import numpy as np
import pytest
import torch

from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.clip import VideoReader, decode, read_clip, to_rgb
from worldmodel.video.decoders import why_not
from worldmodel.video.decoding import Decoding

ASK = {"num_frames": 4, "fps": 5, "start": 0.3, "size": 16}


@pytest.fixture
def video(tmp_path, make_video) -> Path:
    return make_video(tmp_path / "a.mp4")


def as_zip(path: Path, compression: int = zipfile.ZIP_STORED) -> str:
    with zipfile.ZipFile(path.with_suffix(".zip"), "w", compression) as archive:
        archive.write(path, "in side/a.mp4")
    return f"zip://in side/a.mp4::{path.with_suffix('.zip')}"


def as_map(path: Path) -> mmap.mmap:
    with path.open("rb") as file:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)


def as_spool(path: Path) -> tempfile.SpooledTemporaryFile:
    file = tempfile.SpooledTemporaryFile()
    file.write(path.read_bytes())
    return file


def every_other_byte(path: Path) -> memoryview:
    return memoryview(b"".join(bytes((byte, 0)) for byte in path.read_bytes()))[::2]


def as_memory(path: Path) -> str:
    with fsspec.open("memory://room/a.mp4", "wb") as file:
        file.write(path.read_bytes())
    return "memory://room/a.mp4"


SOURCES = {
    "path": lambda path: path,
    "str": str,
    "bytes": Path.read_bytes,
    "memoryview": lambda path: memoryview(path.read_bytes()),
    "strided memoryview": every_other_byte,
    "mmap": as_map,
    "spool": as_spool,
    "BytesIO": lambda path: io.BytesIO(path.read_bytes()),
    "file": lambda path: path.open("rb"),
    "file URL": lambda path: path.as_uri(),
    "zip URL": as_zip,
    "memory URL": as_memory,
}


@pytest.mark.parametrize("kind", SOURCES)
def test_every_source_gives_the_same_clip(video, kind):
    source = SOURCES[kind](video)
    expected, clip = read_clip(video, **ASK), read_clip(source, **ASK)
    assert torch.equal(clip.frames, expected.frames)
    assert torch.equal(clip.times, expected.times)
    reader = VideoReader(source, Decoding(short_side=16))
    assert reader.info.codec == "mpeg4" and reader.num_frames == 20
    for indices in ([7, 8], [2, 2, 19]):
        got = reader.read(np.array(indices))
        assert torch.equal(got, VideoReader(video, Decoding(short_side=16)).read(np.array(indices)))
    reader.close()
    if kind in ("BytesIO", "file", "mmap", "spool"):
        assert not source.closed  # it is the user's
        source.close()


@pytest.mark.parametrize("kind", ["bytes", "BytesIO", "memory URL"])
def test_what_is_counted_is_read_from_any_source(tmp_path, make_video, kind):
    path = make_video(tmp_path / "a.avi", 12)
    reader = VideoReader(SOURCES[kind](path))
    whole = VideoReader(path)
    assert whole.counted and reader.num_frames == 12
    for indices in (np.array([3, 9]), np.array([1])):
        assert torch.equal(reader.read(indices), whole.read(indices))


@pytest.mark.parametrize("backend", ["decord", "torchcodec"])
def test_other_decoders_take_bytes_or_are_passed_over(video, backend):
    problem = why_not(backend)
    if problem:
        pytest.skip(problem)
    try:
        clip = read_clip(video.read_bytes(), **ASK, backend=backend)
    except VideoError as cause:
        assert backend == "decord" and "it reads paths only" in str(cause)
    else:
        assert (clip.frames - read_clip(video, **ASK).frames).abs().max() < 0.03


def test_names_of_sources_stand_in_messages(tmp_path):
    def said(source, **ask) -> str:
        with pytest.raises(VideoError) as caught:
            VideoReader(source, **ask)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    (tmp_path / "text.mp4").write_text("hello " * 99)
    assert said(b"hello " * 99).startswith("<594 bytes>: cannot be decoded")
    assert said(b"hello " * 99, name="shard.tar::x.mp4").startswith("shard.tar::x.mp4: ")
    assert said(io.BytesIO(b"no")).startswith("<BytesIO>: cannot be decoded")
    with (tmp_path / "text.mp4").open("rb") as file:
        assert said(file).startswith(f"{tmp_path / 'text.mp4'}: cannot")
    assert said(b"").startswith("bytes: is empty")
    assert "is empty" in said(io.BytesIO())
    assert "is a folder" in said(f"file://{tmp_path}")
    assert "cannot be opened" in said("memory://nowhere/a.mp4")
    assert "cannot be opened" in said("nosuchprotocol://x/a.mp4")
    assert "mode 'rb'" in said(io.StringIO("text"))
    with tempfile.SpooledTemporaryFile() as spool:
        spool.write(b"junk" * 99)
        assert said(spool).startswith("<SpooledTemporaryFile>: cannot be decoded")
    assert "no such video" in said(str(tmp_path / "zero\0byte.mp4"))


def test_a_pipe_as_a_file_is_refused_without_waiting():
    reading, writing = os.pipe()
    with os.fdopen(reading, "rb") as file, pytest.raises(VideoError, match="go back|cannot be rea"):
        VideoReader(file)
    os.close(writing)


def test_what_is_no_source_is_said():
    with pytest.raises(ConfigError, match="cannot be read from int; give a path"):
        VideoReader(7)
    with pytest.raises(ConfigError, match="cannot be read from float"):
        read_clip(0.5, num_frames=1)


@pytest.mark.parametrize(
    "path",
    [
        "a b\tc.mp4",
        "new\nline.mp4",
        "ünïcode 你好.mp4",
        "100%.mp4",
        "concat:a.mp4",
        "-a.mp4",
        "cam1::b.mp4",
        "zip://b.mp4",
        "%d.mp4",
    ],
)
def test_odd_names_are_read(tmp_path, make_video, monkeypatch, path):
    place = tmp_path / path
    place.parent.mkdir(exist_ok=True)
    make_video(tmp_path / "a.mp4").rename(place)
    monkeypatch.chdir(tmp_path)
    assert read_clip(path, num_frames=2).sources == (str(Path(path)),)
    assert read_clip(place, num_frames=2).sources == (str(place),)
    place.write_bytes(b"junk" * 100)
    with pytest.raises(VideoError, match="cannot be decoded") as caught:
        read_clip(place, num_frames=2)
    assert "\n" not in str(caught.value) and "\t" not in str(caught.value)


def test_a_name_that_is_not_utf8_is_read(tmp_path, make_video):
    place = os.path.join(os.fsencode(tmp_path), b"caf\xe9.mp4")
    os.rename(make_video(tmp_path / "a.mp4"), place)
    path = Path(os.fsdecode(place))
    reader = VideoReader(path)
    assert reader.num_frames == 20 and reader.read(np.array([19])).shape == (1, 3, 32, 48)
    reader.close()
    path.write_bytes(b"junk" * 100)
    with pytest.raises(VideoError, match="cannot be decoded") as caught:
        VideoReader(path)
    str(caught.value).encode()  # can be printed


# Arrays


def test_arrays_are_videos(video):
    frames = np.stack([to_rgb(frame) for _, frame in decode(video)])
    expected = read_clip(video, **ASK)
    first = torch.from_numpy(frames).permute(0, 3, 1, 2)
    for source in (frames, torch.from_numpy(frames), first, first.numpy()):
        clip = read_clip(source, **ASK, rate=10)
        assert clip.times[0].tolist() == pytest.approx(expected.times[0].tolist())
        # Encoded frames are resized from their luminance and colours, these from RGB.
        assert (clip.frames - expected.frames).abs().max() < 0.03
    clip = read_clip(frames, num_frames=2, stride=2, start=0.3, rate=10)
    assert torch.equal(clip.frames[0], first[[3, 5]] / 255)
    assert clip.times[0].tolist() == pytest.approx([0.3, 0.5])


def test_arrays_that_are_no_video_are_refused():
    with pytest.raises(VideoError, match="float32 of shape"):
        read_clip(np.zeros((4, 8, 8, 3), np.float32), num_frames=1, rate=10)
    with pytest.raises(VideoError, match="of shape \\(4, 8, 8\\)"):
        read_clip(np.zeros((4, 8, 8), np.uint8), num_frames=1, rate=10)
    with pytest.raises(VideoError, match="is empty"):
        read_clip(np.zeros((0, 8, 8, 3), np.uint8), num_frames=1, rate=10)
    with pytest.raises(ConfigError, match="need rate="):
        read_clip(np.zeros((4, 8, 8, 3), np.uint8), num_frames=1)


# Live frames


def test_live_frames_come_clip_by_clip(video):
    timed = [(time, to_rgb(frame)) for time, frame in decode(video)]
    live = iter(timed)
    first = read_clip(live, num_frames=4, stride=2)
    assert first.times[0].tolist() == pytest.approx([0.0, 0.2, 0.4, 0.6])
    assert next(live)[0] == pytest.approx(0.7)  # nothing was taken beyond the clip
    expected = read_clip(video, **ASK)
    clip = read_clip(iter(timed), **ASK)
    assert clip.times[0].tolist() == pytest.approx(expected.times[0].tolist())
    assert (clip.frames - expected.frames).abs().max() < 0.03
    again = read_clip((image for _, image in timed), **ASK, rate=10)
    assert torch.equal(again.frames, clip.frames)


def test_live_frames_need_not_end(make_video):
    def camera():
        number = 0
        while True:
            yield np.full((8, 8, 3), number % 256, np.uint8)
            number += 1

    clip = read_clip(camera(), num_frames=3, stride=100, start=5.0, rate=100)
    assert (clip.frames[0, :, 0, 0, 0] * 255).round().tolist() == [500 % 256, 600 % 256, 700 % 256]


def test_live_frames_that_are_none_are_refused():
    with pytest.raises(VideoError, match="frame 0 is float64 of shape"):
        read_clip(iter([np.zeros((8, 8, 3))]), num_frames=1, rate=10)
    with pytest.raises(ConfigError, match="need rate="):
        read_clip(iter([np.zeros((8, 8, 3), np.uint8)]), num_frames=1)
    image = np.zeros((8, 8, 3), np.uint8)
    with pytest.raises(VideoError, match="time of frame 1 is not after"):
        read_clip(iter([(0.0, image), (0.0, image)]), num_frames=2)
    with pytest.raises(
        VideoError, match="<live frames>: is shorter than the clip: 2 frames, 0.1 s"
    ):
        read_clip(iter([image, image]), num_frames=3, rate=10)


class Failing(io.BytesIO):
    """A file that breaks off after some reads, as networks do."""

    reads = 0

    def read(self, size=-1):
        self.reads += 1
        if self.reads > 3:
            raise TimeoutError("connection\nreset")
        return super().read(size)


def test_a_file_that_breaks_off_is_said_in_one_line(video):
    with pytest.raises(VideoError, match=r"cannot be read \(connection reset\); check access"):
        VideoReader(Failing(video.read_bytes()), name="far/away.mp4")


class Keyless(io.BytesIO):
    """A file whose errors are of a kind of their own."""

    def read(self, size=-1):
        raise KeyError("block\n7")


def test_whatever_a_file_raises_is_said_in_one_line(video):
    with pytest.raises(VideoError, match=r"^<Keyless>: cannot be read \(.*7.*\); open it anew"):
        VideoReader(Keyless(video.read_bytes()))
    url = as_zip(video, zipfile.ZIP_DEFLATED)
    archive = video.with_suffix(".zip")
    content = bytearray(archive.read_bytes())
    start = content.index(b"a.mp4") + len(b"a.mp4")
    content[start : start + 40] = b"\xff" * 40
    archive.write_bytes(content)
    with pytest.raises(VideoError, match=r"a.zip: cannot be read \(Error -3 while decompressing"):
        VideoReader(url)


def test_a_file_that_vanishes_while_it_is_open(tmp_path, make_video):
    path = make_video(tmp_path / "a.ts", codec="mpeg2video", fps=25)
    reader = VideoReader(path)
    reader.read(np.array([19]))
    path.unlink()
    with pytest.raises(VideoError, match=r"a.ts: cannot be read \(No such file or directory\); ch"):
        for number in (0, 10, 5):
            reader.read(np.array([number]))


@pytest.mark.parametrize("numbers", [[-1], [0, 99]])
def test_numbers_that_are_not_there_are_refused(video, numbers):
    source = VideoReader(video)
    for ask in (source.read, source.times):
        with pytest.raises(VideoError, match="was asked for frames"):
            ask(np.array(numbers))
    source.close()
