"""Whether a file is shorter than it says, by what its container really promises.

MP4 lists its packets; Matroska, AVI and ASF say how many bytes there are: those are exact. Flash
and fragmented MP4 promise a time, and so may AVI and ASF whose writer could not go back to say
more. Transport and program streams, Ogg and GIF promise nothing.
"""

from dataclasses import dataclass

from av.container import InputContainer
from av.packet import Packet
from av.video.stream import VideoStream

from worldmodel.video.container import REMEDY, promised_seconds
from worldmodel.video.headers import asf_end, is_fragmented, overruns, riff_end, segment_end
from worldmodel.video.source import SourceFile

_TIMED = frozenset({"avi", "flv", "asf"})
_ENDS = {"matroska": segment_end, "avi": riff_end, "asf": asf_end}
# Some writers of AVI say the size of the file where that of what follows its first 8 bytes belongs.
_SLACK = {"avi": 8}


@dataclass
class Tally:
    """What has been read of a stream."""

    packets: int = 0
    cut: bool = False  # the last packet ends before its end

    def add(self, packet: Packet) -> None:
        """Count a packet."""
        self.packets += 1
        self.cut = packet.is_corrupt


def shortfall(
    media: SourceFile, container: InputContainer, stream: VideoStream, tally: Tally,
    *, frames: int, last: float, gap: float, start: float,
) -> str:  # fmt: skip
    """What is said of a file that is shorter than it says; empty for a whole one.

    Args:
        media: The file.
        container: Read to its end.
        stream: The one that was read.
        tally: Of the packets.
        frames: That came out.
        last: Seconds of the last of them after the first.
        gap: The longest time between two.
        start: Seconds that the first is at.
    """
    formats = set(container.format.name.split(","))
    begin = f"{media.name}: is truncated: "
    for name in formats & _ENDS.keys():
        end, size = _ENDS[name](media)
        if end > size + _SLACK.get(name, 0) or (end > size and tally.cut):
            return f"{begin}{size} of {end} bytes are there; {REMEDY}"
        if tally.cut and name == "avi":
            return f"{begin}what it holds last ends early, after {frames} frames; {REMEDY}"
    timed = bool(formats & _TIMED)
    if "mp4" in formats:
        listed = sum(entry.size > 0 for entry in stream.index_entries)
        if tally.packets < listed:
            return f"{begin}{tally.packets} of {listed} frames are there; {REMEDY}"
        if tally.cut or overruns(media):
            return f"{begin}what it holds last ends early, after {frames} frames; {REMEDY}"
        timed = is_fragmented(media)
    promised = promised_seconds(container, stream) - max(start, 0.0)
    if timed and last + 2 * gap < 0.98 * promised:  # more than 2 % and more than two frames
        return (
            f"{begin}it ends after {frames} frames, {last + gap:.3g} s, its header promises "
            f"{promised:.3g} s; {REMEDY}"
        )
    return ""
