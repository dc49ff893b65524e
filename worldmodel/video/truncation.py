"""Detects truncated files, from the packets, bytes or seconds that their container declares.

MP4 lists its packets; Matroska, AVI and ASF declare how many bytes there are: those are exact.
Flash and fragmented MP4 declare a time, and so may AVI and ASF whose writer could not go back to
say more. Transport and program streams, Ogg and GIF declare nothing.
"""

from dataclasses import dataclass

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from worldmodel.video.arguments import counted
from worldmodel.video.container import REMEDY, promised_seconds
from worldmodel.video.headers import asf_end, is_fragmented, overruns, riff_end, segment_end
from worldmodel.video.source import SourceFile

_TIMED = frozenset({"avi", "flv", "asf"})
_ENDS = {"matroska": segment_end, "avi": riff_end, "asf": asf_end}
# Some writers of AVI say the size of the file where that of what follows its first 8 bytes belongs.
_SLACK = {"avi": 8}
_LONE = 2.0  # seconds that the only frame of a video may be shown for: no other one says how long


@dataclass
class Tally:
    """Counts the packets that were read of a stream."""

    packets: int = 0
    cut: bool = False  # the last packet ends before its end

    def add(self, packet: Packet) -> None:
        """Count a packet."""
        self.packets += 1
        self.cut = packet.is_corrupt


def shortfall(
    source: SourceFile, container: InputContainer, stream: VideoStream, tally: Tally,
    *, frames: int, last: float, gap: float, start: float,
) -> str:  # fmt: skip
    """The message about a file that is shorter than it declares; empty for a complete one.

    Args:
        source: The file.
        container: Read to its end.
        stream: The one that was read.
        tally: Of the packets.
        frames: That came out.
        last: Seconds of the last of them after the first.
        gap: The longest time between two.
        start: The time of the first, in seconds.
    """
    formats = set(container.format.name.split(","))
    begin = f"{source.name}: is truncated: "
    early = tally.cut and "avi" in formats
    for name in formats & _ENDS.keys():
        end, size = _ENDS[name](source)
        if end > size + _SLACK.get(name, 0) or (end > size and tally.cut):
            return f"{begin}{size} of {end} bytes are there; {REMEDY}"
    if "mp4" in formats:
        listed = sum(entry.size > 0 for entry in stream.index_entries)
        if tally.packets < listed:
            return f"{begin}{tally.packets} of {listed} frames are there; {REMEDY}"
        early = tally.cut or overruns(source)
    came = counted(frames, "frame")
    if early:
        return f"{begin}what it holds last ends early, after {came}; {REMEDY}"
    timed = is_fragmented(source) if "mp4" in formats else bool(formats & _TIMED)
    promised = promised_seconds(container, stream) - max(start, 0.0)
    least = last + 2 * gap if frames > 1 else max(_LONE, 2 * gap)
    if timed and least < 0.98 * promised:  # more than 2 % and more than two frames
        return (
            f"{begin}it ends after {came}, {last + gap:.3g} s, its header promises "
            f"{promised:.3g} s; {REMEDY}"
        )
    return ""
