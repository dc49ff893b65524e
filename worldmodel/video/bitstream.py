"""Reads the first bytes of packets of codecs about which the container does not say enough.

H.264 and H.265 streams consist of NAL units of several types, MPEG-4 streams of images (VOPs).
Decodes nothing.
"""

from collections.abc import Iterator
from dataclasses import dataclass

VOP = b"\0\0\1\xb6"  # the start code of an MPEG-4 image
_SLICES, _SPS = (1, 5), 7  # NAL unit types of H.264: slices, and the sequence parameter set
_PLAIN = frozenset({66, 77, 88})  # profiles whose parameter set does not describe colours


def resets_decoder(codec: str, head: bytes, described: bytes = b"") -> bool:
    """True if no frame after this keyframe is predicted from one before it (an IDR frame).

    In H.264 and H.265 other recovery points are marked as keyframes too, and some files mark every
    packet. For other codecs the container is trusted.

    Args:
        codec: Its name.
        head: The first bytes of the packet.
        described: The codec's description in the container (FFmpeg's extradata).
    """
    if codec == "mpeg4":
        place = head.find(VOP)
        return place >= 0 and place + 4 < len(head) and head[place + 4] >> 6 == 0
    if codec not in ("h264", "hevc"):
        return True
    for place in _units(head, described):
        kind = head[place] & 31 if codec == "h264" else head[place] >> 1 & 63
        if codec == "h264" and kind in _SLICES:
            return kind == 5
        if codec == "hevc" and kind < 32:
            return 16 <= kind <= 20
    return False


@dataclass(frozen=True)
class Interlacing:
    """Tells fields from frames in an H.264 stream that may code a frame as two fields."""

    number_bits: int  # length of frame_num
    plane_bits: int  # length of colour_plane_id

    @staticmethod
    def of(head: bytes, described: bytes) -> "Interlacing | None":
        """From the first packet and the container's description; None if there are no fields."""
        for content in (described, head):
            for unit in _sequences(content, described):
                try:
                    return _interlacing(_Bits(unit[1:]))
                except EOFError:
                    continue
        return None

    def is_field(self, head: bytes, described: bytes) -> bool:
        """True where a packet begins with a field: then it may be all that it holds."""
        for place in _units(head, described):
            if head[place] & 31 in _SLICES:
                bits = _Bits(head[place + 1 : place + 33])
                try:
                    for _ in range(3):  # where it begins, its type, its settings
                        bits.golomb()
                    bits.take(self.plane_bits + self.number_bits)
                    return bits.take(1) == 1
                except EOFError:
                    return False
        return False


def _units(head: bytes, described: bytes) -> Iterator[int]:
    """Offsets of the first NAL units, which lengths or start codes precede."""
    # A length of 256 to 511 bytes looks like a start code, but only MP4's description begins
    # with a 1.
    marked = described[:1] != b"\1" and head.startswith((b"\0\0\1", b"\0\0\0\1"))
    place = 0
    while 0 <= place < len(head) - 5:
        if marked:
            place = head.find(b"\0\0\1", place) + 3
            if place < 3 or place >= len(head):
                return
        else:
            size = int.from_bytes(head[place : place + 4], "big")
            place += 4
        yield place
        if not marked:
            place += size


def _sequences(content: bytes, described: bytes) -> Iterator[bytes]:
    if content is described and content[:1] == b"\1":  # as MP4 and Matroska store it
        if len(content) > 8 and content[5] & 31:
            yield content[8 : 8 + int.from_bytes(content[6:8], "big")]
        return
    for place in _units(content, described):
        if content[place] & 31 == _SPS:
            yield content[place:]


def _interlacing(bits: "_Bits") -> Interlacing | None:
    """From a sequence parameter set; see ITU-T H.264, 7.3.2.1.1."""
    profile = bits.take(8)
    bits.take(16)
    bits.golomb()
    colours, planes = 1, 0
    if profile not in _PLAIN:
        colours = bits.golomb()
        planes = bits.take(1) if colours == 3 else 0
        bits.golomb()
        bits.golomb()
        bits.take(1)
        if bits.take(1):
            for number in range(12 if colours == 3 else 8):
                if bits.take(1):
                    _pass_scaling(bits, 16 if number < 6 else 64)
    number_bits = bits.golomb() + 4
    order = bits.golomb()
    if order == 0:
        bits.golomb()
    elif order == 1:
        bits.take(1)
        bits.golomb()
        bits.golomb()
        for _ in range(bits.golomb()):
            bits.golomb()
    bits.golomb()
    bits.take(1)
    bits.golomb()
    bits.golomb()
    return None if bits.take(1) else Interlacing(number_bits, 2 * planes)


def _pass_scaling(bits: "_Bits", size: int) -> None:
    last = following = 8
    for _ in range(size):
        if following:
            code = bits.golomb()
            following = (last + (code + 1) // 2 * (1 if code % 2 else -1)) % 256
        last = following or last


class _Bits:
    """Reads numbers from the bits of a NAL unit; EOFError at their end."""

    def __init__(self, content: bytes) -> None:
        plain = content[:4096].replace(b"\0\0\3", b"\0\0")  # 3 keeps start codes from occurring
        self._bits, self._at = "".join(f"{byte:08b}" for byte in plain), 0

    def take(self, count: int) -> int:
        """An unsigned number of `count` bits."""
        end = self._at + count
        if end > len(self._bits):
            raise EOFError
        part, self._at = self._bits[self._at : end], end
        return int(part, 2) if part else 0

    def golomb(self) -> int:
        """An unsigned Exp-Golomb number."""
        one = self._bits.find("1", self._at)
        if one < 0:
            raise EOFError
        zeros, self._at = one - self._at, one
        return self.take(zeros + 1) - 1
