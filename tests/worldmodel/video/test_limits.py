"""Files that claim too much are refused before anything is allocated, in one helpful line."""

import re
import struct
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worldmodel.video.made_videos import X264, MadeVideo
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.clip import VideoReader, decode, read_clip, video_info
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.headers import claimed_samples
from worldmodel.video.source import SourceFile


def claim_frames(content: bytearray, count: int = 10**9) -> None:
    """The tables of an MP4 promise so many samples."""
    place = content.index(b"stsz")
    struct.pack_into(">II", content, place + 8, 100, count)  # all of one size: needs no table
    place = content.index(b"stsc")
    struct.pack_into(">I", content, place + 16, count)
    place = content.index(b"stts")
    struct.pack_into(">I", content, place + 12, count)


def claim_pixels(content: bytearray, side: int = 10**6) -> None:
    """The headers of an MP4 promise images of 65535 x 65535, and tracks of a million."""
    place = content.index(b"stsd") + 4
    at = content.index(b"mjpa" if b"mjpa" in content else b"jpeg", place)
    struct.pack_into(">HH", content, at + 28, 65535, 65535)
    place = content.index(b"tkhd") + 4 + 76
    struct.pack_into(">II", content, place, (side << 16) & 0xFFFFFFFF, (side << 16) & 0xFFFFFFFF)


def claim_pixels_avi(content: bytearray) -> None:
    """The stream format of an AVI promises images of a million by a million."""
    place = content.index(b"strf") + 8
    struct.pack_into("<ii", content, place + 4, 10**6, 10**6)


def test_too_many_frames(tmp_path):
    path = MadeVideo("mpeg4", damage=claim_frames).write(tmp_path)
    for read in (VideoReader, video_info, lambda p: next(decode(p))):
        with pytest.raises(VideoError, match="video.mp4: claims 1000000000 frames, more than the "
                           "limit of 10000000; raise limits.frames"):  # fmt: skip
            read(path)


def box(kind: bytes, *parts: bytes) -> bytes:
    return struct.pack(">I", 8 + sum(map(len, parts))) + kind + b"".join(parts)


def track(samples: int, *, handler: bytes = b"vide", ticks: int = 40) -> bytes:
    sizes = box(b"stsz", struct.pack(">III", 0, 1, samples))
    times = box(b"stts", struct.pack(">IIII", 0, 1, samples, ticks))
    table = box(b"minf", box(b"stbl", times, sizes))
    media = box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(13)), table)
    return box(b"trak", box(b"tkhd", bytes(84)), media)


def fragment(samples: int) -> bytes:
    run = box(b"trun", struct.pack(">II", 0, samples))
    return box(b"moof", box(b"traf", box(b"tfhd", bytes(8)), run))


@pytest.mark.parametrize(
    ("boxes", "claimed"),
    [
        ([box(b"moov", *[track(5_000_000)] * 8)], 40_000_000),
        ([box(b"moov", track(0)), *[fragment(4_000_000)] * 10], 40_000_000),
        # PCM has an entry for every sample of sound, which FFmpeg keeps by chunks.
        ([box(b"moov", track(220), track(10_560_000, handler=b"soun", ticks=1))], 220),
        ([box(b"moov", track(220), track(10_560_000, handler=b"soun", ticks=1024))], 10_560_220),
    ],
    ids=["tracks", "fragments", "pcm", "sound"],
)
def test_claims_of_all_tracks_and_fragments_are_added(boxes, claimed):
    content = box(b"ftyp", b"isom", bytes(4)) + b"".join(boxes)
    assert claimed_samples(SourceFile.of(content)) == claimed


@pytest.mark.parametrize("video", [
    MadeVideo("mjpeg", "mov", "yuvj420p", damage=claim_pixels),
    MadeVideo("mjpeg", "avi", "yuvj420p", damage=claim_pixels_avi),
], ids=["mov", "avi"])  # fmt: skip
def test_too_many_pixels_claimed(tmp_path, video):
    path = video.write(tmp_path)
    try:
        frames = VideoReader(path).read(np.array([0]))
    except VideoError as cause:
        assert "pixels; raise limits.pixels" in str(cause) or "cannot be decoded" in str(cause)
    else:  # the images themselves say otherwise, and are believed
        assert frames.shape == (1, 3, 32, 48)


@pytest.mark.parametrize("codec", ["libx264", "mpeg4", "libvpx-vp9", "ffv1", "libsvtav1"])
def test_the_limit_of_pixels_holds_while_decoding_too(tmp_path, codec):
    options = {"preset": "12"} if codec == "libsvtav1" else {}
    path = MadeVideo(codec, "mkv", size=(96, 64), options=options, frames=3).write(tmp_path)
    small = Limits(pixels=96 * 64 - 1)
    assert VideoReader(path, Decoding(limits=Limits(pixels=96 * 64))).num_frames == 3
    for read in (
        lambda: VideoReader(path, Decoding(limits=small)),
        lambda: video_info(path, limits=small),
        lambda: list(decode(path, limits=small)),
        lambda: read_clip(path, num_frames=1, limits=small),
    ):
        with pytest.raises(VideoError, match="limit of 6143 pixels; raise limits.pixels"):
            read()


def test_the_limit_of_frames_counts_what_is_there(tmp_path):
    for ending in ("mkv", "avi", "ts"):
        path = MadeVideo("mpeg4" if ending == "avi" else "libx264", ending, frames=12).write(
            tmp_path
        )
        with pytest.raises(VideoError, match="more than the limit of 11; raise limits.frames"):
            VideoReader(path, Decoding(limits=Limits(frames=11)))
        assert VideoReader(path, Decoding(limits=Limits(frames=12))).num_frames == 12


def test_a_request_that_is_too_large_is_refused_before_decoding(tmp_path):
    path = MadeVideo(options=X264).write(tmp_path)
    reader = VideoReader(path, Decoding(limits=Limits(mib=0.1)))
    with pytest.raises(
        VideoError, match=r"24 frames of 48x32 take [0-9.]+ MiB, more than the limit of"
    ):
        reader.read(np.arange(24))
    assert reader.read(np.arange(4)).shape == (4, 3, 32, 48)
    with pytest.raises(VideoError, match="limit of 4096; ask for fewer or smaller frames"):
        VideoReader(path, Decoding(short_side=20_000)).read(np.array([0, 1, 2]))


def test_numbers_that_are_not_there(tmp_path):
    reader = VideoReader(MadeVideo(options=X264).write(tmp_path))
    for wrong in ([24], [-1, 3], [0, 10**12]):
        with pytest.raises(
            VideoError, match="asked for frames .*; it has 24 frames, numbered from 0"
        ):
            reader.read(np.array(wrong))
    with pytest.raises(VideoError, match="was asked for no frame"):
        reader.read(np.array([], np.int64))


def test_arrays_have_the_limits_too():
    with pytest.raises(VideoError, match="has 4 frames, more than the limit of 3"):
        read_clip(np.zeros((4, 8, 8, 3), np.uint8), num_frames=1, rate=1, limits=Limits(frames=3))


# Streams


def test_the_stream_is_stated_and_can_be_chosen(tmp_path):
    path = MadeVideo("libx264", "mkv", more=((64, 64), (96, 64)), options=X264).write(tmp_path)
    best = VideoReader(path)
    assert best.info.streams == 3
    seen = set()
    for stream, width in enumerate((48, 64, 96)):
        info = video_info(path, stream=stream)
        assert (info.width, info.stream) == (width, stream)
        reader = VideoReader(path, Decoding(stream=stream))
        assert reader.read(np.array([7])).shape[-1] == width
        assert read_clip(path, num_frames=1, stream=stream).frames.shape[-1] == width
        seen.add(reader.info.stream)
    assert seen == {0, 1, 2} and best.info.stream in seen
    for wrong in (3, -1):
        with pytest.raises(ConfigError, match="has no video stream .*; it has 3, numbered from 0"):
            VideoReader(path, Decoding(stream=wrong))


def test_the_stream_of_a_real_file(real_videos):
    path = real_videos / "nasa_13013.mp4"
    assert (video_info(path).stream, video_info(path).width) == (1, 480)
    first = VideoReader(path, Decoding(stream=0))
    assert (first.num_frames, first.info.width) == (325, 320)
    frames = [frame for _, frame in decode(path, stream=0)]
    image = first.read(np.array([200]))[0].permute(1, 2, 0).numpy()
    assert np.array_equal(image, frames[200].to_ndarray(format="rgb24"))


# Memory, seen from outside: tracemalloc does not see FFmpeg.

PROGRAM = """
import resource, sys, numpy as np
from worldmodel.video.decoding import Decoding
from worldmodel.video.clip import VideoReader
from worldmodel.errors import VideoError
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
path, side, numbers = sys.argv[1], eval(sys.argv[2]), eval(sys.argv[3])
VideoReader(sys.argv[4]).read(np.array([0]))
before = peak()
try:
    reader = VideoReader(path, Decoding(short_side=side))
    frames = reader.read(np.array(numbers))
    print(peak() - before, frames.numel() / 2**20)
except VideoError as error:
    print(peak() - before, 0, error)
"""


def memory(path: Path, *, side: int | None, numbers: list[int], warm: Path) -> tuple[float, float]:
    """MiB that a request took at most, and that it returned."""
    words = [sys.executable, "-c", PROGRAM, str(path), repr(side), repr(numbers), str(warm)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    took, returned, *_ = done.stdout.split()
    return float(took), float(returned)


CONSTANT = 64  # MiB beside frames of the video as they are stored, stated in docs/video.md


@pytest.mark.slow
def test_a_request_takes_what_it_returns_and_a_constant(tmp_path):
    warm = MadeVideo(options=X264).write(tmp_path, "warm")
    path = MadeVideo("mpeg4", "mkv", frames=100, size=(960, 540)).write(tmp_path, "large")
    stored = 24 * 960 * 540 * 1.5 / 2**20
    for side, numbers in ((None, list(range(100))), (64, list(range(100))), (None, [99])):
        took, returned = memory(path, side=side, numbers=numbers, warm=warm)
        assert took < returned + stored + CONSTANT
    bomb = MadeVideo("mpeg4", damage=claim_frames).write(tmp_path, "bomb")
    assert memory(bomb, side=None, numbers=[0], warm=warm)[0] < CONSTANT


# Truncated files


@pytest.mark.parametrize("ending", ["mp4", "mkv", "avi", "ts", "flv", "index-first"])
def test_a_file_cut_anywhere_is_reported(tmp_path, ending):
    """At every cut: an error in one line, or frames that are those of the whole file."""
    muxer = {"movflags": "faststart"} if ending == "index-first" else {}
    real = "mp4" if ending == "index-first" else ending
    codec = {"avi": "mpeg4", "flv": "flv"}.get(ending, "libx264")
    path = MadeVideo(
        codec, real, frames=40, muxer=muxer, options=X264 if codec == "libx264" else {}
    )
    content = path.write(tmp_path).read_bytes()
    whole = VideoReader(content)
    for share in (0.02, 0.2, 0.4, 0.5, 0.7, 0.85):
        cut = content[: int(share * len(content))]
        try:
            reader = VideoReader(cut, name="cut")
        except VideoError as cause:
            assert re.match(r"cut: (is truncated: |cannot be decoded|holds no frame|has no video|"
                            r"does not say how large)", str(cause)), str(cause)  # fmt: skip
        else:
            # These containers do not say how long they are.
            assert ending in ("ts", "flv") and reader.num_frames < whole.num_frames


def test_the_intact_part_can_be_asked_for(tmp_path):
    content = MadeVideo("libx264", "mkv", frames=40, options=X264).write(tmp_path).read_bytes()
    cut = content[: len(content) // 2]
    with pytest.raises(VideoError, match="is truncated"):
        VideoReader(cut)
    part = VideoReader(cut, complete=False)
    assert 0 < part.num_frames < 40 and "is truncated" in part.missing
    numbers = np.arange(part.num_frames - 2)
    assert np.array_equal(part.read(numbers), VideoReader(content).read(numbers))
    with pytest.raises(VideoError, match="is truncated: [0-9]+ of [0-9]+ bytes are there"):
        read_clip(cut, num_frames=40)


def test_a_changed_size_is_said(tmp_path):
    """Two videos in one stream: the second is larger."""
    parts = [MadeVideo("mpeg4", "ts", size=size, frames=6).write(tmp_path, f"{size[0]}")
             for size in ((48, 32), (96, 64))]  # fmt: skip
    joined = tmp_path / "joined.ts"
    with av.open(str(joined), "w") as container:
        stream, start = None, 0
        for part in parts:
            with av.open(str(part)) as source:
                stream = stream or container.add_stream_from_template(source.streams.video[0])
                for packet in source.demux(source.streams.video[0]):
                    if packet.size:
                        packet.pts += start
                        packet.dts += start
                        packet.stream = stream
                        container.mux(packet)
            start = 90000 * 2
    reader = VideoReader(joined)
    assert reader.read(np.array([0, 1])).shape == (2, 3, 32, 48)
    if reader.num_frames > 8:
        with pytest.raises(VideoError, match="changes its frame size at frame"):
            reader.read(np.arange(reader.num_frames))
        assert VideoReader(joined, Decoding(short_side=16)).read(np.array([0, 9])).shape[-1] == 24
