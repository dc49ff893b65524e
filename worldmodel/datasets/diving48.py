"""Diving48: `rgb/<vid_name>.mp4`, a JSON list for each split, and the vocabulary of the dives.

The frames that the lists name count in the long recordings; the files hold one dive each.
"""

import os
import re
from dataclasses import dataclass
from glob import escape, glob
from typing import ClassVar, Literal

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.published import (
    first_folder,
    json_of,
    listed_videos,
    named_rows,
    number_of,
)
from worldmodel.errors import VideoError


@dataclass(frozen=True)
class Diving48(Format):
    """Labels are those of the lists; classes are named by `Diving48_vocab.json` if it is there.

    Attributes:
        split: `train` or `test`; both by default.
    """

    name: ClassVar[str] = "diving48"
    rank: ClassVar[int] = 34
    looks: ClassVar[str] = "a folder with Diving48*_train.json or Diving48*_test.json"

    split: Literal["train", "test"] | None = None

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its lists."""
        return bool(_find(path, "train") or _find(path, "test"))

    def open(self, path: str) -> Catalogue:
        """The videos of the split, in the order of its list."""
        classes = _vocabulary(path)
        entries = []
        for split in (self.split,) if self.split else ("train", "test"):
            for rows in _find(path, split)[-1:]:  # of several versions, the last
                for where, name, row in named_rows(rows, "vid_name"):
                    label = number_of(row.get("label"), rows, where, below=len(classes) or None)
                    entries.append((name, label))
        return listed_videos(path, first_folder(path, ("rgb", "videos")), entries, classes)


def _find(path: str, what: str) -> list[str]:
    """The lists, by their version; the first one is called by no number."""
    found = glob(os.path.join(escape(path), f"Diving48*_{what}.json"))
    return sorted(found, key=lambda name: (_version(name), name))


def _version(name: str) -> int:
    number = re.search(r"_V(\d{1,9})_", os.path.basename(name))
    return int(number[1]) if number else 1


def _vocabulary(path: str) -> list[str]:
    for rows in _find(path, "vocab")[-1:]:
        values = json_of(rows)
        if not isinstance(values, list):
            raise VideoError(f"{rows}: is not a list of dives; fetch it again")
        return ["_".join(map(str, v)) if isinstance(v, list) else str(v) for v in values]
    return []
