"""What a data set of videos is made of: a catalogue of items, each of which opens as a video.

Knows no layout on disk: those are one file each beside this. Knows nothing of clips and batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from worldmodel.errors import VideoError
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video


class Item(ABC):
    """One video of a data set, not opened yet. Light (there may be a million) and picklable.

    Subclasses are frozen dataclasses: items that are equal open as the same frames and times.

    Attributes:
        name: Says which it is, in messages and in `Clip.sources`: `folder/a.mp4`,
            `shard-000.tar::a.mp4`.
        key: Where it lies: the path or URL of its file, or what stands for one.
        label: Its class number, or None.
        window: The seconds of the opened file that it is, or None for all of it.
    """

    name: str
    key: str
    label: int | None = None
    window: tuple[float, float] | None = None

    @property
    def opens(self) -> Hashable:
        """What has to be opened to read it. Items that are equal in it share one open reader.

        That is the item itself, with all that decides its frames and their times, unless it knows
        of less that does.
        """
        return self

    @abstractmethod
    def open(self, decoding: Decoding) -> Video:
        """Open the whole of what it `opens`; `window` is applied by who draws clips.

        Raises:
            VideoError: naming the item, what is wrong with it and what to do.
        """

    def check_rows(self, source: Video) -> bool:
        """Read what an episode holds beside its frames; True if there are actions in it.

        Args:
            source: What `open` gave.

        Raises:
            EpisodeError: it cannot be read as an episode: lengths, times or actions are wrong.
        """
        return False


@dataclass(frozen=True)
class LeftOut:
    """A video or a line of a data set that is left out, and why."""

    name: str
    reason: str


class Catalogue(Sequence[Item]):
    """The items of a data set in a fixed order; making one opens no video.

    Attributes:
        name: Of the data set: what the user called it by.
        classes: Names of the labels, where the data set has them.
        left_out: What the data set names and is not among the items.
    """

    name: str
    classes: tuple[str, ...] = ()
    left_out: Sequence[LeftOut] = ()


class AllLeftOut(VideoError):
    """Nothing of a data set can be taken.

    Attributes:
        left_out: What it names, and why each is left out.
    """

    def __init__(self, message: str, left_out: Sequence[LeftOut]) -> None:
        super().__init__(message)
        self.left_out = left_out
