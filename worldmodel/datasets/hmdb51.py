"""HMDB51: `<class>/<name>.avi`, and a list for each class and each of three splits.

`<class>_test_split<fold>.txt` has a name and a code in each line: 1 trains, 2 tests, 0 is in
neither.
"""

import os
from dataclasses import dataclass
from glob import escape, glob
from typing import ClassVar, Literal

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.published import (
    first_folder,
    lines_of,
    listed_videos,
    stem,
)
from worldmodel.errors import VideoError

_LISTS = (
    "testTrainMulti_7030_splits",
    "test_train_splits/testTrainMulti_7030_splits",
    "test_train_splits",
    "splits",
)
_CODES = {"0": "other", "1": "train", "2": "test"}


@dataclass(frozen=True)
class HMDB51(Format):
    """Labels are the classes in the order of their names.

    Attributes:
        split: `train`, `test` or `other`; all by default.
        fold: Which of the three splits, 1 to 3.
    """

    name: ClassVar[str] = "hmdb51"
    rank: ClassVar[int] = 32
    looks: ClassVar[str] = "a folder with testTrainMulti_7030_splits/"

    split: Literal["train", "test", "other"] | None = None
    fold: Literal[1, 2, 3] = 1

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the lists of its splits."""
        return bool(_lists(path, 1))

    def open(self, path: str) -> Catalogue:
        """The videos of the split, class after class."""
        lists = _lists(path, self.fold)
        if not lists:
            raise VideoError(f"{path}: has no {_LISTS[0]}/*_test_split{self.fold}.txt; "
                             f"fetch HMDB51's lists")  # fmt: skip
        classes = sorted(lists)
        entries = []
        for label, name in enumerate(classes):
            for line, text in lines_of(lists[name]):
                file, _, code = text.rpartition(" ")
                if code not in _CODES or not file:
                    raise VideoError(f"{lists[name]}, line {line}: '{text[:60]}' is "
                                     f"not a name and 0, 1 or 2; fetch it again")  # fmt: skip
                if self.split in (None, _CODES[code]):
                    entries.append((f"{name}/{stem(file.strip())}", label))
        videos = first_folder(path, ("hmdb51_org", "videos", "hmdb51"))
        return listed_videos(path, videos, entries, classes)


def _lists(path: str, fold: int) -> dict[str, str]:
    """The list of each class."""
    if not os.path.isdir(path):
        return {}
    ending = f"_test_split{fold}.txt"
    found = glob(os.path.join(escape(first_folder(path, _LISTS)), f"?*{ending}"))
    return {os.path.basename(name).removesuffix(ending): name for name in found}
