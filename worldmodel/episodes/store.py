"""The interface of any folder or file of episodes, whoever wrote it.

Knows no format: those are in `datasets/`.
"""

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

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
    def labelled(self) -> "EpisodeStore":
        """Those with actions."""

    @property
    @abstractmethod
    def unlabelled(self) -> "EpisodeStore":
        """Those that are videos only."""

    @overload
    def __getitem__(self, index: int) -> Episode: ...
    @overload
    def __getitem__(self, index: slice) -> "EpisodeStore": ...
    @abstractmethod
    def __getitem__(self, index: int | slice) -> "Episode | EpisodeStore":
        """An episode, or several as a store."""
