"""What any folder or file of episodes offers, whoever wrote it.

Knows no format: those are in `formats/`, and implement `EpisodeSource`.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, overload

from worldmodel.errors import EpisodeError
from worldmodel.video.catalogue import Catalogue, Item

if TYPE_CHECKING:
    from worldmodel.episodes.episode import Episode
    from worldmodel.episodes.folder import FolderInfo


class EpisodeStore(Sequence["Episode"]):
    """Episodes that are read when asked for; slices are stores again."""

    info: "FolderInfo"

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
    def __getitem__(self, index: int) -> "Episode": ...
    @overload
    def __getitem__(self, index: slice) -> "EpisodeStore": ...
    @abstractmethod
    def __getitem__(self, index: int | slice) -> "Episode | EpisodeStore":
        """An episode, or several as a store."""


class EpisodeSource(ABC):
    """What a foreign format says about its episodes, and how it reads one.

    Attributes:
        name: Of the data set.
        lengths: Frames of each.
        has_actions: Whether each has some.
    """

    name: str
    lengths: Sequence[int]
    has_actions: Sequence[bool]

    @abstractmethod
    def describe(self) -> "FolderInfo":
        """What is so of all of them; may take reading their actions."""

    @abstractmethod
    def read(self, index: int) -> "Episode":
        """Episode number `index`.

        Raises:
            EpisodeError: naming the file and the episode, what is wrong and what to do.
        """

    @abstractmethod
    def item(self, index: int) -> Item:
        """The same as a video, not opened yet."""


class StoredEpisodes(EpisodeStore):
    """The episodes of a source, or some of them."""

    def __init__(
        self,
        source: EpisodeSource,
        chosen: Sequence[int] | None = None,
        info: "FolderInfo | None" = None,
    ) -> None:
        self.info = info or source.describe()
        self._source = source
        self._chosen = range(len(source.lengths)) if chosen is None else chosen

    def __len__(self) -> int:
        return len(self._chosen)

    @overload
    def __getitem__(self, index: int) -> "Episode": ...
    @overload
    def __getitem__(self, index: slice) -> "EpisodeStore": ...
    def __getitem__(self, index: int | slice) -> "Episode | EpisodeStore":
        if isinstance(index, slice):
            return StoredEpisodes(self._source, self._chosen[index], self.info)
        return self._source.read(self._chosen[index])

    def __iter__(self) -> Iterator["Episode"]:
        return (self._source.read(index) for index in self._chosen)

    @property
    def lengths(self) -> list[int]:
        """Number of frames of each, without reading them."""
        return [int(self._source.lengths[index]) for index in self._chosen]

    @property
    def labelled(self) -> "StoredEpisodes":
        """Those with actions."""
        return self._where(True)

    @property
    def unlabelled(self) -> "StoredEpisodes":
        """Those that are videos only."""
        return self._where(False)

    def _where(self, wanted: bool) -> "StoredEpisodes":
        chosen = [i for i in self._chosen if self._source.has_actions[i] == wanted]
        return StoredEpisodes(self._source, chosen, self.info)


class EpisodeCatalogue(Catalogue):
    """The episodes of a source as videos, actions ignored."""

    def __init__(self, source: EpisodeSource) -> None:
        if not len(source.lengths):
            raise EpisodeError(f"{source.name}: holds no episode; check the path")
        self.name = source.name
        self._source = source

    def __len__(self) -> int:
        return len(self._source.lengths)

    def __getitem__(self, index):  # type: ignore[no-untyped-def]  # as Sequence has it
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self._source.item(i) for i in places]
        return self._source.item(places)
