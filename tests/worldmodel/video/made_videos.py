"""Videos of every awkward kind, whose frames say by an image of stripes which one they are."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import av
import numpy as np


def stripes(number: int, width: int, height: int) -> np.ndarray:
    """An image `h w c` that moves with its number: no two of the first hundred are alike."""
    y, x = np.mgrid[:height, :width]
    waves = [(x * 3 + number * 7) % 61, (y * 5 + number * 11) % 59, (x + y + number * 13) % 53]
    return np.stack([20 + 3 * wave for wave in waves], axis=-1).astype(np.uint8)


@dataclass(frozen=True)
class MadeVideo:
    """How a video is made."""

    codec: str = "libx264"
    ending: str = "mp4"
    pixels: str = "yuv420p"
    frames: int = 24
    size: tuple[int, int] = (48, 32)  # width, height
    options: dict[str, str] = field(default_factory=dict)
    milliseconds: Sequence[int] | None = None  # times of the frames
    more: tuple[tuple[int, int], ...] = ()  # sizes of further video streams
    muxer: dict[str, str] = field(default_factory=dict)
    damage: Callable[[bytearray], None] | None = None

    def write(self, folder: Path, name: str = "video") -> Path:
        """Make the file."""
        path = folder / f"{name}.{self.ending}"
        with av.open(str(path), "w", options=self.muxer) as container:
            streams = [self._stream(container, size) for size in (self.size, *self.more)]
            for number in range(self.frames):
                for stream in streams:
                    container.mux(stream.encode(self._frame(number, stream)))
            for stream in streams:
                container.mux(stream.encode(None))
        if self.damage is not None:
            content = bytearray(path.read_bytes())
            self.damage(content)
            path.write_bytes(content)
        return path

    def _stream(self, container, size):
        stream = container.add_stream(self.codec, rate=10, options=dict(self.options))
        stream.width, stream.height = size
        stream.pix_fmt = self.pixels
        stream.bit_rate = 400_000
        stream.codec_context.thread_count = 1
        if self.milliseconds is not None:
            stream.codec_context.time_base = stream.time_base = Fraction(1, 1000)
        return stream

    def _frame(self, number: int, stream) -> av.VideoFrame:
        image = stripes(number, stream.width, stream.height)
        frame = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=self.pixels)
        if self.milliseconds is None:
            frame.pts, frame.time_base = number, Fraction(1, 10)
        else:
            frame.pts, frame.time_base = self.milliseconds[number], Fraction(1, 1000)
        return frame


def remux(
    video: Path, path: Path, *, skip: int = 0, each: Callable[[int, av.Packet], None] | None = None
) -> Path:
    """The same packets in another file, but for the first `skip`; `each` may change one."""
    with av.open(str(video)) as source, av.open(
        str(path), "w", options={"avoid_negative_ts": "disabled"}
    ) as target:  # fmt: skip
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(source.demux(stream)):
            if packet.size and number >= skip:
                if each is not None:
                    each(number, packet)
                packet.stream = copy
                target.mux(packet)
    return path


def cut_edges(content: bytearray, first: int = 5, left_out: int = 9) -> None:
    """Change the edit list: the video begins in the middle of a group and ends before its end.

    Args:
        content: Of an MP4 of 24 frames at 10/s.
        first: The frame that it begins with.
        left_out: How many frames fewer it has.
    """
    place = content.index(b"elst") + 4
    version, entries = content[place], struct.unpack(">I", content[place + 4 : place + 8])[0]
    assert (version, entries) == (0, 1)
    duration, media_time = struct.unpack(">Ii", content[place + 8 : place + 16])
    step = duration // 24
    scale = struct.unpack(">I", content[content.index(b"mdhd") + 16 :][:4])[0] // 10
    struct.pack_into(
        ">Ii", content, place + 8, duration - left_out * step, media_time + first * scale
    )


def turn(content: bytearray) -> None:
    """The matrix of the track header says: turn by 90 degrees clockwise."""
    matrix = content.index(b"tkhd") + 4 + 40
    turned = [0, 1 << 16, 0, -(1 << 16), 0, 0, 32 << 16, 0, 1 << 30]
    content[matrix : matrix + 36] = b"".join(n.to_bytes(4, "big", signed=True) for n in turned)


def repeat_times(content: bytearray) -> None:
    """All frames of an MP4 at the same time."""
    place = content.index(b"stts") + 8
    struct.pack_into(">II", content, place + 4, struct.unpack(">I", content[place + 4 :][:4])[0], 0)


def claim_all_are_keys(content: bytearray) -> None:
    """Without its list of keyframes, every frame of an MP4 is said to be one."""
    place = content.index(b"stss")
    content[place : place + 4] = b"free"


GAPS = np.cumsum([40, 100, 50, 250, 500, 50, 50, 33, 34, 33, 1000, 5] * 2).tolist()
B = {"bf": "3", "g": "12"}
X264 = {"preset": "ultrafast", "bf": "3", "b-adapt": "0", "g": "12"}

OPEN = {"x264-params": "open-gop=1:bframes=3:b-adapt=0:keyint=8"}
REFRESH = {"x264-params": "intra-refresh=1:keyint=8:bframes=0"}
HIDDEN = {"auto-alt-ref": "1", "lag-in-frames": "16", "g": "20"}  # packets that show nothing


def x265(more: str = "", **video) -> MadeVideo:
    """The encoder x265 writes outside its memory where an image is smaller than 64 x 64."""
    return MadeVideo(
        "libx265", size=(64, 64), options={"x265-params": f"log-level=none{more}"}, **video
    )


MADE_VIDEOS = {
    "plain": MadeVideo(options=X264),
    "no-b": MadeVideo(options={"bf": "0", "g": "6", "preset": "ultrafast"}),
    "pyramid": MadeVideo(options={**X264, "b-pyramid": "normal", "preset": "medium"}, frames=40),
    "long-gop": MadeVideo(options={**X264, "g": "1000"}, frames=90),
    "open-gop": MadeVideo(options=OPEN, ending="mkv", frames=40),
    "open-gop-mp4": MadeVideo(options=OPEN, frames=40),
    "intra-refresh": MadeVideo(options=REFRESH, ending="mkv", frames=40, size=(96, 64)),
    "variable": MadeVideo(options=X264, milliseconds=GAPS),
    "variable-mkv": MadeVideo(options=X264, milliseconds=GAPS, ending="mkv"),
    "variable-vp9": MadeVideo("libvpx-vp9", "webm", milliseconds=GAPS),
    "late": MadeVideo(options=X264, milliseconds=[5000 + 40 * n for n in range(24)], ending="mkv"),
    "edit-list": MadeVideo(options=X264, damage=cut_edges),
    "edit-list-mpeg4": MadeVideo("mpeg4", options={"g": "8"}, damage=cut_edges),
    "repeated-times": MadeVideo("mpeg4", damage=repeat_times),
    "turned": MadeVideo(options=X264, damage=turn),
    "two-streams": MadeVideo(options=X264, more=((64, 48),)),
    "two-streams-mkv": MadeVideo(options=X264, more=((32, 32), (64, 48)), ending="mkv"),
    "odd": MadeVideo("ffv1", "mkv", "yuv444p", size=(33, 47)),
    "odd-420": MadeVideo("mpeg4", size=(33, 47)),
    "odd-vp9": MadeVideo("libvpx-vp9", "webm", size=(47, 33)),
    "8x8": MadeVideo(options=X264, size=(8, 8)),
    "one": MadeVideo(options=X264, frames=1),
    "two": MadeVideo(options=X264, frames=2),
    "one-avi": MadeVideo("mpeg4", "avi", frames=1),
    "10-bit": MadeVideo("libx264", pixels="yuv420p10le", options=X264),
    "10-bit-hevc": x265(pixels="yuv422p10le"),
    "444": MadeVideo(pixels="yuv444p", options=X264),
    "422": MadeVideo(pixels="yuv422p", options=X264),
    "full-range": MadeVideo("mjpeg", "mov", pixels="yuvj420p"),
    "grey": MadeVideo(pixels="gray", options=X264),
    "planar-rgb": MadeVideo("libvpx-vp9", "mkv", "gbrp"),
    "planar-rgb-hevc": x265(pixels="gbrp"),
    "rgb": MadeVideo("libx264rgb", "mkv", "rgb24"),
    "alpha": MadeVideo("png", "mov", "rgba"),
    "hevc": x265(":keyint=10:bframes=3:open-gop=1", frames=40),
    "hevc-closed": x265(":keyint=8:open-gop=0"),
    "av1": MadeVideo(
        "libsvtav1", options={"preset": "12", "svtav1-params": "keyint=9"}, size=(64, 64)
    ),
    "vp9": MadeVideo("libvpx-vp9", "webm", options={"g": "9", "deadline": "realtime"}, frames=40),
    "vp8": MadeVideo("libvpx", "webm", options=HIDDEN, frames=60),
    "vp9-mp4": MadeVideo("libvpx-vp9", options=HIDDEN, frames=60),
    "mpeg4-b": MadeVideo("mpeg4", options=B),
    "mpeg4-b-avi": MadeVideo("mpeg4", "avi", options=B, frames=40),
    "h264-avi": MadeVideo("libx264", "avi", options=X264, frames=40),
    "mpeg4-avi": MadeVideo("mpeg4", "avi"),
    "mjpeg-avi": MadeVideo("mjpeg", "avi", "yuvj420p"),
    "msmpeg4": MadeVideo("msmpeg4", "avi"),
    "cinepak": MadeVideo("cinepak", "avi", "rgb24"),
    "huffyuv": MadeVideo("huffyuv", "avi", "yuv422p"),
    "mpeg2-ts": MadeVideo("mpeg2video", "ts", options=B, frames=40),
    "h264-ts": MadeVideo("libx264", "ts", options=X264, frames=40),
    "mpeg2-ps": MadeVideo("mpeg2video", "mpg", options=B, frames=40),
    "mpeg2-mkv": MadeVideo("mpeg2video", "mkv", options=B, frames=40),
    "flv": MadeVideo("flv", "flv"),
    "h264-flv": MadeVideo(ending="flv", options=X264),
    "wmv": MadeVideo("wmv2", "asf"),
    "gif": MadeVideo("gif", "gif", "rgb8"),
    "all-keys": MadeVideo(options=X264, damage=claim_all_are_keys),
    "all-keys-mpeg4": MadeVideo("mpeg4", damage=claim_all_are_keys),
    "fragmented": MadeVideo(
        options=X264, muxer={"movflags": "frag_keyframe+empty_moov"}, frames=40
    ),
    "index-first": MadeVideo(options=X264, muxer={"movflags": "faststart"}, frames=40),
}  # fmt: skip
