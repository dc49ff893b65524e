"""A data set of videos: a catalogue of items, each of which opens as a video.

Knows nothing of layouts on disk (one file each in this folder), nor of clips and batches.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np

from worldmodel.errors import VideoError, printable
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video


class Item(ABC):
    """One video of a data set, not opened yet. Light (there may be a million) and picklable.

    Subclasses are frozen dataclasses: items that are equal open as the same frames and times.

    Attributes:
        name: Names it in messages and in `Clip.sources`: `folder/a.mp4`, `shard-000.tar::a.mp4`.
        key: Where it is stored: the path or URL of its file, or an equivalent.
        label: Its class number, or None.
        window: The part of the opened file that it is, in seconds, or None for all of it.
    """

    name: str
    key: str
    label: int | None = None
    window: tuple[float, float] | None = None

    @property
    def opens(self) -> Hashable:
        """A key of the reader that it needs: items with equal keys share one open reader.

        By default the item itself, which holds all that decides its frames and their times.
        """
        return self

    @abstractmethod
    def open(self, decoding: Decoding) -> Video:
        """Open the whole of what it `opens`; `part` says which frames of that are the item's.

        Raises:
            VideoError: naming the item, what is wrong with it and what to do.
        """

    def part(self, times: np.ndarray) -> tuple[int, int]:
        """The first frame of the opened file that is the item's, and the one after its last.

        Args:
            times: Of all frames of the file, `t`, seconds.

        Raises:
            WorldModelError: it has no frame in the file.
        """
        if self.window is None:
            return 0, len(times)
        low, high = np.searchsorted(times, np.array(self.window) - 1e-6)
        if low == high:
            begin, end = self.window
            raise VideoError(
                f"{self.name}: has no frame from {begin:g} to {end:g} s, it is {times[-1]:.3g} s "
                f"long; correct the times or leave it out"
            )
        return int(low), int(high)

    def check_rows(self, source: Video) -> bool:
        """Read the rows that an episode has beside its frames; True if it has actions.

        Args:
            source: The video that `open` returned.

        Raises:
            EpisodeError: it cannot be read as an episode: lengths, times or actions are wrong.
        """
        return False


@dataclass(frozen=True)
class LeftOut:
    """A video or a line of a data set that is left out, and why."""

    name: str
    reason: str

    def __post_init__(self) -> None:
        for field in ("name", "reason"):
            object.__setattr__(self, field, printable(getattr(self, field)))


class Catalogue(Sequence[Item]):
    """The items of a data set in a fixed order; making one opens no video.

    Subclasses have `__len__` and `item`, or `__len__` and `__getitem__`.

    Attributes:
        name: The path that the user gave.
        classes: Names of the labels, where the data set has them.
        left_out: What the data set names and the items lack.
    """

    name: str
    classes: tuple[str, ...] = ()
    left_out: Sequence[LeftOut] = ()

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as Sequence has it
        numbers = range(len(self))[index]
        return [self.item(i) for i in numbers] if isinstance(numbers, range) else self.item(numbers)

    def item(self, index: int) -> Item:
        """Item number `index`, from 0."""
        raise NotImplementedError

    @property
    def training(self) -> "Catalogue":
        """The items that are learned from: all, where none are held out."""
        return self


class AllLeftOut(VideoError):
    """Nothing of a data set can be taken.

    Attributes:
        left_out: The videos that it names, and why each is left out.
    """

    def __init__(self, message: str, left_out: Sequence[LeftOut]) -> None:
        super().__init__(message)
        self.left_out = left_out
