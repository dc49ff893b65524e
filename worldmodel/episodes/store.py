"""The interface of any folder or file of episodes, whoever wrote it.

Knows no format: those are in `datasets/`.
"""

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from typing import Self, overload

from worldmodel.episodes.episode import Episode, FolderInfo


class EpisodeStore(Sequence[Episode]):
    """Episodes that are read when asked for; slices are stores again."""

    info: FolderInfo

    @property
    @abstractmethod
    def lengths(self) -> list[int]:
        """Number of frames of each, without reading them."""

    @property
    @abstractmethod
    def has_actions(self) -> list[bool]:
        """True for each that has actions, without reading them."""

    @abstractmethod
    def read(self, index: int) -> Episode:
        """Episode number `index`, from 0.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """

    @abstractmethod
    def select(self, indices: Sequence[int]) -> Self:
        """The episodes with these numbers."""

    @property
    def labelled(self) -> Self:
        """Those with actions."""
        return self.select([i for i, has in enumerate(self.has_actions) if has])

    @property
    def unlabelled(self) -> Self:
        """Those that are videos only."""
        return self.select([i for i, has in enumerate(self.has_actions) if not has])

    @property
    def training(self) -> Self:
        """Those that are learned from: all, where none are held out."""
        return self

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> Self: ...
    def __getitem__(self, index: int | slice) -> "Episode | Self":
        numbers = range(len(self))[index]
        return self.select(numbers) if isinstance(numbers, range) else self.read(numbers)

    def __iter__(self) -> Iterator[Episode]:
        return map(self.read, range(len(self)))
