"""H.264 in which each frame is coded as two fields, written by hand: no encoder here makes any."""

import io
from fractions import Fraction
from pathlib import Path

import av

_START = b"\0\0\0\1"


class Bits:
    """Numbers as H.264 writes them."""

    def __init__(self) -> None:
        self._bits = ""

    def fixed(self, *pairs: tuple[int, int]) -> "Bits":
        """Each a number of bits and what they say."""
        for count, value in pairs:
            self._bits += f"{value:0{count}b}" if count else ""
        return self

    def golomb(self, *values: int) -> "Bits":
        for value in values:
            self._bits += "0" * ((value + 1).bit_length() - 1) + f"{value + 1:b}"
        return self

    def aligned(self) -> "Bits":
        self._bits += "0" * (-len(self._bits) % 8)
        return self

    def unit(self, kind: int) -> bytes:
        bits = self._bits + "1"
        bits += "0" * (-len(bits) % 8)
        written = bytearray([kind])
        for byte in int(bits, 2).to_bytes(len(bits) // 8, "big"):
            if byte <= 3 and written[-2:] == b"\0\0":
                written.append(3)
            written.append(byte)
        return _START + bytes(written)


def sequence(*, profile: int = 77, interlaced: bool = True, scaling: bool = False) -> bytes:
    """Images of 16 x 32, or 16 x 16 where they are not interlaced."""
    bits = Bits().fixed((8, profile), (8, 0), (8, 30)).golomb(0)
    if profile == 100:
        bits.golomb(1, 0, 0).fixed((1, 0), (1, scaling))
        if scaling:  # the first list ends at once, the others are as by default
            bits.fixed((1, 1)).golomb(16).fixed(*[(1, 0)] * 7)
    bits.golomb(0, 2, 1).fixed((1, 0)).golomb(0, 0).fixed((1, not interlaced))
    return bits.fixed(*[(1, 0)] * interlaced, (1, 1), (1, 0), (1, 0)).unit(0x67)


def image_settings() -> bytes:
    bits = Bits().golomb(0, 0).fixed((1, 0), (1, 0)).golomb(0, 0, 0).fixed((1, 0), (2, 0))
    return bits.golomb(0, 0, 0).fixed((1, 0), (1, 0), (1, 0)).unit(0x68)


def field(number: int, *, bottom: bool, grey: int) -> bytes:
    """One of 16 x 16 in one grey; the first of all begins anew."""
    begins = number == 0 and not bottom
    bits = Bits().golomb(0, 7, 0).fixed((4, number % 16), (1, 1), (1, bottom))
    bits = bits.golomb(0).fixed((1, 0), (1, 0)) if begins else bits.fixed((1, 0))
    bits.golomb(0, 25).aligned().fixed(*[(8, grey)] * 256, *[(8, 128)] * 128)
    return bits.unit(0x65 if begins else 0x61)


def write_fields(path: Path, frames: int, *, every: int = 8) -> Path:
    """A video whose packets hold a field each; each `every`th frame begins anew."""
    content = b""
    for number in range(frames):
        if number % every == 0:
            content += sequence() + image_settings()
        for bottom in (False, True):
            content += field(number % every, bottom=bottom, grey=20 + 7 * number % 200)
    with (
        av.open(io.BytesIO(content), format="h264") as source,
        av.open(str(path), "w") as target,
    ):
        stream = source.streams.video[0]
        copy = target.add_stream_from_template(stream)
        for number, packet in enumerate(p for p in source.demux(stream) if p.size):
            packet.stream, packet.time_base = copy, Fraction(1, 50)
            packet.pts = packet.dts = number
            target.mux(packet)
    return path
