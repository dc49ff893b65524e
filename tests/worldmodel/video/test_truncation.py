"""Whole files are served as whole, however their times are arranged; cut ones are not."""

import multiprocessing
import os
import pickle
import subprocess
import sys
from functools import partial
from pathlib import Path

import av
import numpy as np
import pytest

from tests.worldmodel.video.fields import sequence, write_fields
from tests.worldmodel.video.made_videos import (
    MADE_VIDEOS,
    X264,
    MadeVideo,
    cut_edges,
    remux,
    stripes,
    x265,
)
from worldmodel.errors import ConfigError, VideoError
from worldmodel.loading.in_memory import Clips
from worldmodel.loading.sources import VideoFiles
from worldmodel.video import index as packets_module
from worldmodel.video.bitstream import Interlacing, resets_decoder
from worldmodel.video.clip import VideoReader, decode, read_clip
from worldmodel.video.headers import _ASF_PROPERTIES, riff_end
from worldmodel.video.rgb import to_rgb
from worldmodel.video.source import SourceFile

NO_B = X264 | {"bf": "0", "g": "6"}


def frames_of(path: Path) -> np.ndarray:
    return np.stack([to_rgb(frame) for _, frame in decode(path)])


def served(path: Path) -> np.ndarray:
    reader = VideoReader(path)  # whole
    frames = reader.read(np.arange(reader.num_frames)).permute(0, 2, 3, 1).numpy()
    reader.close()
    return frames


def with_sound(path: Path, frames: int = 60, **options: str) -> Path:
    """A video with sound all along it."""
    with av.open(str(path), "w", options=options) as container:
        video = container.add_stream("libx264", rate=10, options=dict(X264))
        video.width, video.height = 96, 64
        sound = container.add_stream("aac", rate=16000)
        random = np.random.default_rng(0)
        for number in range(frames):
            image = av.VideoFrame.from_ndarray(stripes(number, 96, 64), format="rgb24")
            container.mux(video.encode(image))
            noise = random.normal(0, 0.1, (1, 1600)).astype(np.float32)
            heard = av.AudioFrame.from_ndarray(noise, "fltp", "mono")
            heard.sample_rate, heard.pts = 16000, 1600 * number
            container.mux(sound.encode(heard))
        container.mux(video.encode(None))
        container.mux(sound.encode(None))
    return path


@pytest.mark.parametrize(("codec", "options"), [("libx264", NO_B), ("mjpeg", {}), ("mpeg4", {})])
def test_an_edit_list_may_leave_out_whole_groups(tmp_path, codec, options):
    pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
    cut = partial(cut_edges, first=14, left_out=18)
    path = MadeVideo(codec, pixels=pixels, options=options, damage=cut).write(tmp_path)
    frames = frames_of(path)
    assert 5 <= len(frames) <= 8 and np.array_equal(served(path), frames)


@pytest.mark.parametrize("ending", ["mp4", "mov", "mkv"])
def test_the_last_frame_may_stand_long(tmp_path, ending):
    times = [33 * n for n in range(30)]
    short = MadeVideo(options=X264, ending="mkv", frames=30, milliseconds=times).write(tmp_path)

    def hold(number, packet):
        packet.duration = 10_000 if number == 29 else 33

    path = remux(short, tmp_path / f"held.{ending}", each=hold)
    assert len(served(path)) == 30 == len(frames_of(path))


def test_times_of_a_transport_stream_may_begin_anew(tmp_path):
    plain = MadeVideo(options=NO_B, ending="mkv", frames=40).write(tmp_path)
    wrap = 2**33 / 90_000  # seconds that its times count to

    def late(number, packet):
        packet.pts += int((wrap - 2.0) / packet.time_base)
        packet.dts = packet.pts

    path = remux(plain, tmp_path / "wrap.ts", each=late)
    assert len(served(path)) == 40 == len(frames_of(path))


@pytest.mark.parametrize("share", [0.3, 0.6, 0.9])
@pytest.mark.parametrize(
    ("ending", "options"),
    [("mkv", {}), ("mp4", {"movflags": "frag_keyframe+empty_moov"}),
     ("mp4", {"movflags": "faststart"}), ("mov", {}), ("avi", {})],
)  # fmt: skip
def test_a_cut_file_with_sound_is_not_whole(tmp_path, ending, options, share):
    path = with_sound(tmp_path / f"video.{ending}", **options)
    assert len(served(path)) == 60
    content = path.read_bytes()
    path.write_bytes(content[: int(share * len(content))])
    with pytest.raises(VideoError, match=r"is truncated: |cannot be decoded") as caught:
        VideoReader(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(VideoError):
        frames_of(path)


@pytest.mark.parametrize("name", ["mjpeg-avi", "mpeg4-b-avi", "wmv"])
def test_a_file_that_lacks_its_last_bytes_is_not_whole(tmp_path, name):
    """However little of its time that is: the header says how many bytes there are."""
    content = MADE_VIDEOS[name].write(tmp_path).read_bytes()
    assert VideoReader(content).missing == ""
    for lacks in (9, 50, len(content) // 30, len(content) // 2):
        left = len(content) - lacks
        said = f"video.x: is truncated: {left} of {len(content)} bytes are there; fetch"
        with pytest.raises(VideoError, match=said):
            VideoReader(content[:left], name="video.x")
        assert VideoReader(content[:left], complete=False).num_frames > 5
        with pytest.raises(VideoError, match=r"is truncated: "):
            list(decode(content[:left]))


def test_what_was_recorded_live_does_not_say_how_many_bytes_there_are(tmp_path):
    asf = bytearray(MADE_VIDEOS["wmv"].write(tmp_path).read_bytes())
    place = asf.index(_ASF_PROPERTIES)
    asf[place + 40 : place + 48] = bytes([255]) * 8
    with pytest.raises(VideoError, match=f"is truncated: {len(asf)} of {2**64 - 1} bytes"):
        VideoReader(asf)
    asf[place + 88] |= 1
    assert VideoReader(asf).missing == ""
    avi = bytearray(MADE_VIDEOS["mjpeg-avi"].write(tmp_path).read_bytes())
    # The last: the size of the whole file, as some writers say it.
    for size in (0, 2**32 - 1, len(avi)):
        avi[4:8] = size.to_bytes(4, "little")
        assert VideoReader(avi).missing == ""


def test_a_large_avi_ends_with_the_last_of_its_chunks():
    def chunk(kind: bytes, size: int) -> bytes:
        return b"RIFF" + (4 + size).to_bytes(4, "little") + kind + bytes(size + size % 2)

    both = chunk(b"AVI ", 101) + chunk(b"AVIX", 60)
    assert riff_end(SourceFile.of(both)) == (len(both), len(both))
    assert riff_end(SourceFile.of(both[:-20])) == (len(both), len(both) - 20)
    assert riff_end(SourceFile.of(both + b"RIFF anything")) == (len(both), len(both) + 13)
    assert riff_end(SourceFile.of(both[:50])) == (114, 50)
    assert riff_end(SourceFile.of(b"RIFF" + bytes([255]) * 4 + both[8:]))[0] == 0


def test_what_follows_the_last_box_is_nothing(tmp_path):
    path = MadeVideo(options=X264).write(tmp_path)
    with path.open("ab") as file:
        file.write(b"some words that are no box at all")
    assert len(served(path)) == 24


@pytest.mark.parametrize(
    ("video", "skip", "ending"),
    [("intra-refresh", 16, "mkv"), ("intra-refresh", 16, "mp4"),
     ("plain-mpeg4", 1, "mkv"), ("plain-mpeg4", 1, "mp4"), ("plain-mpeg4", 1, "avi"),
     ("wmv2", 1, "asf"), ("h263", 1, "mov")],
)  # fmt: skip
def test_a_video_may_begin_in_the_middle(tmp_path, video, skip, ending):
    made = {
        "intra-refresh": MADE_VIDEOS["intra-refresh"],
        "plain-mpeg4": MadeVideo("mpeg4", "mkv", options={"g": "50"}),
        "wmv2": MadeVideo("wmv2", "asf", options={"g": "50"}),
        "h263": MadeVideo("h263", "mov", size=(128, 96), options={"g": "50"}),
    }[video]
    path = remux(made.write(tmp_path), tmp_path / f"middle.{ending}", skip=skip)
    frames = frames_of(path)
    assert len(frames) >= 12 and np.array_equal(served(path), frames)
    last = len(frames) - 1
    reader = VideoReader(path)
    for numbers in ([last], [3, last], [0]):
        got = reader.read(np.array(numbers)).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(got, frames[numbers])


def test_frames_that_packets_promise_and_decoding_does_not_give(tmp_path, monkeypatch):
    """Nothing shows it until they are decoded: then the numbers of all that follow are wrong."""
    path = remux(MADE_VIDEOS["intra-refresh"].write(tmp_path), tmp_path / "middle.mkv", skip=16)
    assert len(frames_of(path)) == 20
    monkeypatch.setattr(packets_module, "resets_decoder", lambda *of: True)
    reader = VideoReader(path)
    assert reader.num_frames == 24
    said = "middle.mkv: is damaged: decoding it gives 20 frames, not 24 at the times of its packets"
    for numbers in ([0], [10, 12], [23]):
        with pytest.raises(VideoError, match=said):
            reader.read(np.array(numbers))
    with pytest.raises(VideoError, match=said):
        read_clip(path, num_frames=5, stride=2)


def lose_a_frame(path: Path, number: int) -> None:
    """Fill a packet with zeros: the decoder of H.265 passes over it without an error."""
    with av.open(str(path)) as container:
        packet = [packet for packet in container.demux(video=0) if packet.size][number]
        place, size = packet.pos, packet.size
    content = bytearray(path.read_bytes())
    content[place + 4 : place + size] = bytes(size - 4)
    path.write_bytes(content)


def test_a_file_that_loses_a_frame_gives_the_same_whatever_was_read_before(tmp_path):
    path = x265(":keyint=12:bframes=0", frames=60).write(tmp_path)
    whole = VideoReader(path).read(np.arange(60))
    lose_a_frame(path, 20)
    left = len(frames_of(path))  # those up to the next keyframe may be lost with it
    assert 56 <= left < 60

    def outcome(reader: VideoReader, numbers: list[int]) -> bytes | str:
        try:
            return reader.read(np.array(numbers)).numpy().tobytes()
        except VideoError as error:
            return str(error)

    asked = [[0, 5], [30], [12, 19], [36, 47, 13], [25], [21], [30, 40], [12, 23], [59], [3]]
    fresh = [outcome(VideoReader(path), numbers) for numbers in asked]
    for numbers, got in zip(asked, fresh, strict=True):
        if numbers in ([21], [12, 23]):
            assert f"video.mp4: is damaged: decoding it gives {left} frames, not 60" in got
        else:
            assert got == whole[numbers].numpy().tobytes()
    for order in (range(10), reversed(range(10)), (4, 5, 4), (6, 1, 7, 1, 0)):
        reader, given_up = VideoReader(path), ""
        for place in order:
            got = outcome(reader, asked[place])
            assert got == (given_up or fresh[place])
            given_up = got if isinstance(got, str) else ""
            assert reader.num_frames == 60 and reader.times(np.array([30])) == 3.0


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("on_bad_video", ["error", "skip"])
def test_streams_of_a_file_that_loses_a_frame_can_be_resumed(tmp_path, workers, on_bad_video):
    lose_a_frame(x265(":keyint=12:bframes=0", frames=60).write(tmp_path, "a"), 20)
    MadeVideo(options=X264, frames=60, size=(64, 64)).write(tmp_path, "b")
    videos = VideoFiles(
        path=str(tmp_path),
        preload=False,
        workers=workers,
        flip=False,
        clips_per_video=1,
        on_bad_video=on_bad_video,
    )

    def outcome(clips: Clips, step: int) -> str:
        try:
            clip = clips.sample(step, 2, seed=0)
        except VideoError as error:
            return str(error)
        return f"{clip.origins} {clip.times.tolist()} {clip.frames.numpy().tobytes()!r}"

    def run() -> Clips:
        return videos.open(size=32, num_frames=4, progress=lambda done, of: None)

    straight = run()
    batches = [outcome(straight, step) for step in range(12)]
    straight.close()
    for step in (4, 9) if workers else range(12):
        resumed = run()
        assert outcome(resumed, step) == batches[step]
        resumed.close()
    damaged = ["is damaged" in batch for batch in batches]
    assert any(damaged) == (on_bad_video == "error") and not all(damaged)


@pytest.mark.parametrize("ending", ["mp4", "mkv"])
def test_frames_that_are_coded_as_two_fields(tmp_path, ending):
    """Each packet holds a field; nothing in the container says so."""
    path = write_fields(tmp_path / f"fields.{ending}", 24)
    frames = frames_of(path)
    assert len(frames) == 24 and np.array_equal(served(path), frames)
    for numbers in ([2], [17], [23]):
        got = VideoReader(path).read(np.array(numbers)).permute(0, 2, 3, 1).numpy()
        assert np.array_equal(got, frames[numbers])


def test_interlaced_video_is_not_taken_for_fields(tmp_path):
    both = X264 | {"x264-params": "tff=1"}
    path = MadeVideo(options=both, size=(64, 64)).write(tmp_path)
    assert VideoReader(path).counted == ""
    assert Interlacing.of(sequence(), b"") == Interlacing(4, 0)
    for scaling in (False, True):
        assert Interlacing.of(sequence(profile=100, scaling=scaling), b"") == Interlacing(4, 0)
        assert Interlacing.of(sequence(profile=100, scaling=scaling, interlaced=False), b"") is None
    for length in range(len(sequence())):
        Interlacing.of(sequence()[:length], b"")


@pytest.mark.parametrize("size", [256, 300, 511])
def test_a_length_is_not_taken_for_a_start_code(size):
    """`00 00 01 2c` is a length of 300 in MP4, and a start code in a transport stream."""
    unit = bytes([0x65]) + bytes(range(1, 200)) * 3  # an IDR image
    head = size.to_bytes(4, "big") + unit[:size]
    assert resets_decoder("h264", head, b"\1\x64\0\x1f\xff")
    assert resets_decoder("h264", b"\0\0\1" + unit)


SHARED = """
import sys, threading
import numpy as np
from worldmodel.video.clip import VideoReader
reader, wrong = VideoReader(sys.argv[1]), []
frames = reader.read(np.arange(reader.num_frames))
def read(seed):
    random = np.random.default_rng(seed)
    for _ in range(20):
        numbers = np.sort(random.integers(len(frames), size=4))
        wrong.append(not (reader.read(numbers) == frames[numbers]).all())
threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(len(wrong), sum(wrong))
"""


def test_threads_may_share_a_reader(tmp_path):
    path = MadeVideo(options=X264, frames=60).write(tmp_path)
    done = subprocess.run(
        [sys.executable, "-c", SHARED, str(path)], capture_output=True, text=True, timeout=120
    )
    assert done.stdout.split() == ["80", "0"], done.stderr[-2000:]


def test_processes_may_not(tmp_path):
    path = MadeVideo(options=X264).write(tmp_path)
    reader = VideoReader(path)
    with pytest.raises(ConfigError, match="an open video cannot be sent to another process"):
        pickle.dumps(reader)
    if not hasattr(os, "fork"):
        return
    fork = multiprocessing.get_context("fork")
    said = fork.SimpleQueue()

    def child():
        try:
            reader.read(np.array([0]))
        except ConfigError as error:
            said.put(str(error))

    process = fork.Process(target=child)
    process.start()
    process.join(30)
    assert "video.mp4: was opened in another process; open it in this one" in said.get()
    assert len(reader.read(np.array([0]))) == 1


def test_threads_of_a_decoder_are_few(tmp_path, monkeypatch):
    import torch

    path = MadeVideo(options=X264).write(tmp_path)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    reader = VideoReader(path)
    assert reader._decoder._stream.codec_context.thread_count == 8


def test_frame_rates_are_those_of_the_frames(tmp_path):
    """A program stream says nothing of its length; FFmpeg guesses."""
    path = MadeVideo("mpeg2video", "mpg", frames=100).write(tmp_path)
    info = VideoReader(path).info
    assert info.frames == 100 and info.fps == pytest.approx(10, rel=0.02)
    assert info.duration == pytest.approx(10, rel=0.02)


@pytest.mark.parametrize(
    ("codec", "ending"),
    [("libx264", "mp4"), ("libx264", "mkv"), ("mpeg4", "avi"), ("flv", "flv"), ("wmv2", "wmv"),
     ("mpeg2video", "mpg")],
)  # fmt: skip
def test_a_video_of_one_frame_is_complete_and_has_one_frame(tmp_path, codec, ending):
    path = MadeVideo(codec, ending, frames=1).write(tmp_path) if ending != "mpg" else None
    if path is None:  # MPEG has no rate of 10
        path = tmp_path / "video.mpg"
        with av.open(str(path), "w") as container:
            stream = container.add_stream(codec, rate=25)
            stream.width, stream.height = 48, 32
            image = av.VideoFrame.from_ndarray(stripes(0, 48, 32), format="rgb24")
            container.mux(stream.encode(image))
            container.mux(stream.encode(None))
    assert len(served(path)) == len(frames_of(path)) == 1
    with pytest.raises(VideoError, match="is shorter than the clip: 1 frame, 0 s, .* 2 frames"):
        read_clip(path, num_frames=2)
