"""UCF101: `<Class>/v_<Class>_g01_c01.avi`, and `ucfTrainTestlist/` with three splits."""

import os
from dataclasses import dataclass
from typing import ClassVar, Literal

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.published import (
    first_file,
    first_folder,
    lines_of,
    listed_videos,
    stem,
)
from worldmodel.errors import VideoError

_CLASSES = ("ucfTrainTestlist/classInd.txt", "classInd.txt")


@dataclass(frozen=True)
class UCF101(Format):
    """Labels are the numbers of `classInd.txt`, less one.

    Attributes:
        split: `train` or `test`; both by default.
        fold: Which of the three splits, 1 to 3.
    """

    name: ClassVar[str] = "ucf101"
    rank: ClassVar[int] = 31
    looks: ClassVar[str] = "a folder with ucfTrainTestlist/classInd.txt"

    split: Literal["train", "test"] | None = None
    fold: Literal[1, 2, 3] = 1

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the list of its classes."""
        return first_file(path, _CLASSES) is not None

    def open(self, path: str) -> Catalogue:
        """The videos of the split, in the order of its lists."""
        index = first_file(path, _CLASSES)
        if index is None:
            raise VideoError(f"{path}: has no {_CLASSES[0]}; fetch UCF101's lists")
        classes: list[str] = []
        for line, text in lines_of(index):
            number, _, name = text.partition(" ")
            if number != str(len(classes) + 1) or not name.strip():
                raise VideoError(f"{index}, line {line}: '{text[:60]}' is not a "
                                 f"number in order and a class; fetch it again")  # fmt: skip
            classes.append(name.strip())
        label = {name: i for i, name in enumerate(classes)}
        entries = []
        for split in (self.split,) if self.split else ("train", "test"):
            rows = os.path.join(os.path.dirname(index), f"{split}list{self.fold:02d}.txt")
            for line, text in lines_of(rows):
                place = text.partition(" ")[0]
                folder = place.partition("/")[0]
                if folder not in label:
                    raise VideoError(f"{rows}, line {line}: '{folder[:60]}' is not a "
                                     f"class of {index}; fetch it again")  # fmt: skip
                entries.append((stem(place), label[folder]))
        videos = first_folder(path, ("UCF-101", "UCF101", "videos"))
        return listed_videos(path, videos, entries, classes)
