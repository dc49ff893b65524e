"""Kinetics: a folder for each class, or lists with the names of classes.

Files say where they were cut: `<youtube_id>_<start>_<end>.mp4`, seconds in six digits.
"""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar

import numpy as np

from worldmodel.datasets.catalogue import Catalogue, LeftOut
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import (
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    names_in,
    walk,
)
from worldmodel.datasets.published import check_split, first_folder, lines_of, stem
from worldmodel.errors import VideoError

_NAME = re.compile(r"[\w-]{11}_\d{6}_\d{6}")
_SPLITS = {"train": ("train",), "val": ("val", "validate", "validation"), "test": ("test",)}
_FOLDERS = {  # as copies of it are named: `train`, `train_256`, `videos_train`
    split: tuple(form.format(name) for name in names for form in ("{}", "{}_256", "videos_{}"))
    for split, names in _SPLITS.items()
}
_COLUMNS = ("label", "youtube_id", "time_start", "time_end")


@dataclass(frozen=True)
class Kinetics(Format):
    """Labels are the classes in the order of their names.

    Where there are lists (`train.csv`, also in `annotations/`), they say which videos there are
    and what they show; those that are not on disk are in `left_out`. Otherwise folders are
    classes.

    Attributes:
        split: `train`, `val` or `test`; all by default.
    """

    name: ClassVar[str] = "kinetics"
    rank: ClassVar[int] = 36
    looks: ClassVar[str] = (
        "a folder with lists (label,youtube_id,time_start,time_end) or with videos named "
        "<youtube_id>_000001_000011 in class folders"
    )

    split: str | None = None

    def __post_init__(self) -> None:
        check_split("kinetics", self.split, tuple(_SPLITS))

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its lists, or by the names of the first videos."""
        if not os.path.isdir(path):
            return False
        try:
            if any(_lists(path)):
                return True
            found = [p for p in islice(walk(path), 1000) if p.lower().endswith(VIDEOS)][:20]
        except VideoError:
            return False
        inside = all(os.path.dirname(p) != path.rstrip(os.sep) for p in found)
        return bool(found) and inside and all(_NAME.fullmatch(_stem(p)) for p in found)

    def open(self, path: str) -> Catalogue:
        """The videos of the split."""
        lists = list(_lists(path)) if os.path.isdir(path) else []
        rows = [(file, *row) for file in lists for row in self._rows(file)]
        if lists:
            return _listed(path, self._folders(path, every=True), rows)
        folders = self._folders(path)
        found = [file for folder in folders for file in files_below(folder, VIDEOS)]
        if not found:
            raise VideoError(f"{path}: holds no video of {self.split or 'Kinetics'}")
        # A class has the same number in every split, also where one split lacks it.
        places = [(os.path.relpath(p, f), p) for f in self._folders(path, every=True)
                  for p in files_below(f, VIDEOS)]  # fmt: skip
        labels, classes = class_folders(".", [place for place, _ in places])
        label = {file: int(number) for (_, file), number in zip(places, labels, strict=True)}

        return FileCatalogue(
            path, found, labels=np.array([label[p] for p in found], np.int32), classes=classes
        )

    def _folders(self, path: str, *, every: bool = False) -> list[str]:
        """The folders of the split; the whole where there is none for any.

        Raises:
            VideoError: there is one for another split only.
        """
        found = {split: first_folder(path, names) for split, names in _FOLDERS.items()}
        inside = {split: folder for split, folder in found.items() if folder != path}
        if every or self.split is None or not inside:
            return list(inside.values()) or [path]
        if self.split not in inside:
            raise VideoError(
                f"{path}: has no folder for split={self.split}, only for "
                f"{', '.join(inside)}; choose one of them, or fetch it"
            )
        return [inside[self.split]]

    def _rows(self, path: str) -> Iterator[tuple[str, str]]:
        """Name and class of each video that a list names for the split."""
        number = 1
        try:
            rows = csv.DictReader(line for number, line in lines_of(path))
            for row in rows:
                number = rows.line_num
                split = (row.get("split") or _stem(path)).lower()
                if self.split and not any(name in split for name in _SPLITS[self.split]):
                    continue
                start, end = (int(float(row[key])) for key in _COLUMNS[2:])
                yield (
                    f"{row['youtube_id']}_{start:06d}_{end:06d}",
                    row.get("label") or "",
                )  # lists of tests may have none
        except (ValueError, TypeError, KeyError, OverflowError, csv.Error) as cause:
            raise VideoError(f"{path}, line {number}: is not {','.join(_COLUMNS)} "
                             f"({str(cause)[:60]}); fetch it again") from cause  # fmt: skip


def _lists(path: str) -> Iterator[str]:
    """The CSV files with Kinetics' header."""
    for folder in (path, os.path.join(path, "annotations")):
        for name in names_in(folder):
            file = os.path.join(folder, name)
            if name.lower().endswith(".csv") and os.path.isfile(file):
                try:
                    with open(file, encoding="utf-8-sig") as text:
                        header = text.readline(1000).lower().replace('"', "").split(",")
                except (OSError, UnicodeDecodeError):
                    continue
                if {h.strip() for h in header} >= set(_COLUMNS[1:]):
                    yield file


def _labels(rows: list[tuple[str, str, str]]) -> dict[str, str]:
    """The class of each video in rows of list, name and class; a row may leave it empty.

    Raises:
        VideoError: a video is named with two classes.
    """
    found: dict[str, str] = {}
    for file, name, label in rows:
        before = found.setdefault(name, label)
        if before and label and before != label:
            raise VideoError(f"{file}: names {name} as '{label[:60]}', and "
                             f"before as '{before[:60]}'; correct the list")  # fmt: skip
        found[name] = before or label
    return found


def _listed(path: str, folders: list[str], rows: list[tuple[str, str, str]]) -> Catalogue:
    """The videos on disk that the lists name, in the order of the lists."""
    named = _labels(rows)
    places = {_stem(p): p for folder in folders for p in files_below(folder, VIDEOS)}
    classes = sorted({label for label in named.values() if label})
    number = {label: i for i, label in enumerate(classes)} | {"": -1}
    kept = [(places[name], number[label]) for name, label in named.items() if name in places]
    if not kept:
        raise VideoError(f"{path}: its lists name {len(named)} videos and none of them is "
                         f"there; check the folder or split")  # fmt: skip
    missing = [LeftOut(n, f"{n}: is in the list and not on disk") for n in named
               if n not in places]  # fmt: skip
    files, labels = zip(*kept, strict=True)
    return FileCatalogue(
        path, files, labels=np.array(labels, np.int32), classes=classes, left_out=missing
    )


def _stem(path: str) -> str:
    return stem(os.path.basename(path)) if not path.endswith(".csv") else os.path.basename(path)
