"""Kinetics: a folder for each class, or lists with the names of classes.

Files say where they were cut: `<youtube_id>_<start>_<end>.mp4`, seconds in six digits.
"""

import csv
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import ClassVar, Literal

import numpy as np

from worldmodel.datasets.catalogue import Catalogue, LeftOut
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import (
    NO_LABEL,
    VIDEOS,
    FileCatalogue,
    class_folders,
    files_below,
    names_in,
    walk,
)
from worldmodel.datasets.published import first_folder, lines_of, stem
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

    split: Literal["train", "val", "test"] | None = None

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
        # A class has the same number in every split, also where one split lacks it.
        places = [
            (folder, file)
            for folder in self._folders(path, every=True)
            for file in files_below(folder, VIDEOS)
        ]
        labels, classes = class_folders(".", [os.path.relpath(p, folder) for folder, p in places])
        chosen = self._folders(path)
        kept = [i for i, (folder, _) in enumerate(places) if folder in chosen]
        if not kept:
            raise VideoError(f"{path}: holds no video of {self.split or 'Kinetics'}")
        return FileCatalogue(
            path, [places[i][1] for i in kept], labels=labels[kept], classes=classes
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


def _listed(path: str, folders: list[str], rows: list[tuple[str, str, str]]) -> Catalogue:
    """The videos on disk that rows of list, name and class name; a row may leave the class empty.

    Raises:
        VideoError: a video is named with two classes, or none of them is on disk.
    """
    named: dict[str, str] = {}
    for file, name, label in rows:
        before = named.get(name, "")
        if before and label and before != label:
            raise VideoError(
                f"{file}: names {name} as '{label[:60]}', and before as '{before[:60]}'; correct "
                f"the list"
            )
        named[name] = before or label
    places = {_stem(p): p for folder in folders for p in files_below(folder, VIDEOS)}
    kept = [name for name in named if name in places]
    if not kept:
        raise VideoError(
            f"{path}: its lists name {len(named)} videos and none of them is there; check the "
            f"folder or split"
        )
    classes = sorted({label for label in named.values() if label})
    number = {label: i for i, label in enumerate(classes)} | {"": NO_LABEL}
    return FileCatalogue(
        path,
        [places[name] for name in kept],
        labels=np.array([number[named[name]] for name in kept], np.int32),
        classes=classes,
        left_out=[
            LeftOut(name, f"{name}: is in the list and not on disk")
            for name in named
            if name not in places
        ],
    )


def _stem(path: str) -> str:
    return stem(os.path.basename(path))
