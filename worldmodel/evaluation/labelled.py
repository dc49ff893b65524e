"""Labelled videos, divided into those that a probe is fitted on and those that it is tested on.

Takes whatever `open_catalogue` reads with labels: folders by class, manifests, the published
layouts. Opens no video.
"""

import os
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np

from worldmodel.datasets import find_format
from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.datasets.format import Format
from worldmodel.datasets.video_folder import Folder
from worldmodel.errors import ConfigError, nearest
from worldmodel.video.arguments import counted

# The names of the part of a published data set that accuracies are reported on, best first: the
# lists of some tests have no labels.
_TESTS = ("val", "validation", "test")
_TRAIN = "train"


@dataclass(frozen=True)
class LabelledSet:
    """Videos with the class of each."""

    name: str
    items: tuple[Item, ...]
    labels: np.ndarray  # v, int64: places in `classes`
    classes: tuple[str, ...]
    numbers: tuple[int, ...]  # of the classes, as the data set numbers them

    def __len__(self) -> int:
        return len(self.items)

    def take(self, rows: Sequence[int] | np.ndarray) -> "LabelledSet":
        """Only the videos at these places."""
        return replace(self, items=tuple(self.items[i] for i in rows), labels=self.labels[rows])


@dataclass(frozen=True)
class Division:
    """A data set in two parts, and one line on how it was divided."""

    train: LabelledSet
    test: LabelledSet
    how: str
    left_out: int = 0  # videos that have no label or are named and missing


@dataclass(frozen=True, kw_only=True)
class LabelledVideos:
    """Labelled videos, and how they are divided into a training and a test part.

    The parts are those of `test_path`; else the splits of the layout (`train`, and the first of
    `val`, `validation` and `test` that it has); else folders of these names, whose folders are
    classes; else `test_share` of the videos of each class, drawn by the seed, are the test.

    Attributes:
        path: where they are: a folder with a folder for each class, a manifest with labels, or a
            published layout.
        test_path: where the test videos are, if not in `path`; of the same layout.
        format: their layout; `auto` looks.
        reading: options of the layout, for example `{fold: 2}`.
        train_split, test_split: names of the layout's splits, if not those above.
        test_share: of the videos of each class, where nothing else divides them.
        validation_share: of the training videos of each class, on which hyper-parameters are
            chosen; nothing is fitted on them.
        unlabelled: `error` stops where a video has no label, `skip` leaves it out and counts it.
    """

    path: str | None = None
    test_path: str | None = None
    format: str = "auto"
    reading: Mapping[str, Any] | None = None
    train_split: str | None = None
    test_split: str | None = None
    test_share: float = 0.3
    validation_share: float = 0.2
    unlabelled: Literal["error", "skip"] = "error"

    def __post_init__(self) -> None:
        for name in ("test_share", "validation_share"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(
                    f"data.{name} must lie between 0 and 1, got {getattr(self, name)}"
                )
        if self.test_path is not None and (self.train_split or self.test_split):
            raise ConfigError(
                "data.test_path names the test videos, so data.train_split and data.test_split "
                "have nothing to say; leave them out, or put the split into data.reading"
            )

    def divide(self, *, seed: int) -> Division:
        """Open the lists and divide them.

        Raises:
            VideoError: there is nothing there, or it is not what its layout asks for.
            ConfigError: labels are missing, there is one class only, a part is empty, or the two
                parts share videos.
        """
        if self.path is None:
            raise ConfigError(
                "data.path is not set: name labelled videos, data.path=my/labelled, with a folder "
                "for each class"
            )
        found = self._format(self.path)
        if self.test_path is not None:
            parts = self._catalogue(found, self.path), self._other(self.test_path)
            how = f"tested on {self.test_path}"
        elif (splits := self._splits(found)) is not None:
            train, test = (replace(found, split=split) for split in splits)  # type: ignore[type-var]
            parts = self._catalogue(train, self.path), self._catalogue(test, self.path)
            how = f"fitted on split={splits[0]}, tested on split={splits[1]}"
            if _keys(parts[0]) == _keys(parts[1]):  # its splits are no more than names
                return self._by_share(parts[0], seed)
        elif (folders := self._folders(found)) is not None:
            parts = self._catalogue(found, folders[0]), self._catalogue(found, folders[1])
            how = f"fitted on {folders[0]}, tested on {folders[1]}"
        else:
            return self._by_share(self._catalogue(found, self.path), seed)
        shared = _keys(parts[0]) & _keys(parts[1])
        if shared:
            raise ConfigError(
                f"{self.path}: {len(shared)} of the {counted(len(parts[1]), 'test video')} are "
                f"training videos too (the first: {min(shared)}); name other ones"
            )
        fitted, lost = self._labelled(parts[0])
        tested, lost_too = self._labelled(parts[1], least=1)
        return Division(fitted, _renumbered(tested, fitted), how, lost + lost_too)

    def _format(self, path: str) -> Format:
        """The layout of a path; the folders in a folder of videos are its classes."""
        options = dict(self.reading or {})
        found = find_format(path, format=self.format, **options)
        if isinstance(found, Folder) and "classes" not in options:
            found = replace(found, classes=True)
        return found

    def _catalogue(self, found: Format, path: str) -> Catalogue:
        return found.open(os.fspath(path))

    def _other(self, path: str) -> Catalogue:
        return self._catalogue(self._format(path), path)

    def _splits(self, found: Format) -> tuple[str, str] | None:
        """The names of the layout's training and test split; None where it has none."""
        names = {field.name for field in fields(found)}  # type: ignore[arg-type]
        said = (self.train_split, self.test_split)
        if "split" not in names or "split" in (self.reading or {}):
            if any(said):
                raise ConfigError(
                    f"{self.path}: format={found.name} has no splits to choose with "
                    "data.train_split and data.test_split; name the test with data.test_path"
                )
            return None
        known = [
            word
            for kind in typing.get_args(typing.get_type_hints(type(found))["split"])
            for word in typing.get_args(kind)
            if isinstance(word, str)
        ]
        for key, value in zip(("train_split", "test_split"), said, strict=True):
            if value is not None and value not in known:
                raise ConfigError(f"data.{key}={value}: {nearest(value, known)}")
        test = said[1] or next((name for name in _TESTS if name in known), None)
        train = said[0] or (_TRAIN if _TRAIN in known else None)
        return (train, test) if train and test else None

    def _folders(self, found: Format) -> tuple[str, str] | None:
        """The folders `train` and `val`, `validation` or `test`, if a folder has no others."""
        path = Path(str(self.path))
        if not isinstance(found, Folder) or not found.classes:
            return None
        inside = {entry.name for entry in path.iterdir() if entry.is_dir() and entry.name[0] != "."}
        test = next((name for name in _TESTS if name in inside), None)
        if test is None or _TRAIN not in inside or inside - {_TRAIN, *_TESTS}:
            return None
        return str(path / _TRAIN), str(path / test)

    def _by_share(self, catalogue: Catalogue, seed: int) -> Division:
        whole, lost = self._labelled(catalogue)
        rest, test = held_out(whole.labels, self.test_share, seed=seed)
        if not len(test):
            raise ConfigError(
                f"{self.path}: no class has two videos, so none is left to test on; add videos, or "
                "name test videos with data.test_path"
            )
        how = (
            f"tested on {len(test)} of its {len(whole)} videos, {self.test_share:g} of each class, "
            f"drawn by seed {seed}"
        )
        return Division(whole.take(rest), whole.take(test), how, lost)

    def _labelled(self, catalogue: Catalogue, *, least: int = 2) -> tuple[LabelledSet, int]:
        """The videos of a catalogue that have a label, and how many were left out.

        Raises:
            ConfigError: labels are missing, or there are fewer than `least` classes.
        """
        items = [item for item in catalogue if item.label is not None]
        missing = len(catalogue) - len(items)
        if not items:
            raise ConfigError(
                f"{catalogue.name}: none of its {counted(len(catalogue), 'video')} has a label; "
                "put them into a folder for each class, or write a manifest with `path label` in "
                "each line"
            )
        if missing and self.unlabelled == "error":
            first = next(item.name for item in catalogue if item.label is None)
            raise ConfigError(
                f"{catalogue.name}: {missing} of its {len(catalogue)} videos without a label (the "
                f"first: {first}); add it, or say data.unlabelled=skip"
            )
        given = np.array([item.label for item in items])
        numbers, labels = np.unique(given, return_inverse=True)
        names = [
            catalogue.classes[n] if n < len(catalogue.classes) else str(n) for n in numbers.tolist()
        ]
        if len(names) < least:
            raise ConfigError(
                f"{catalogue.name}: all its {counted(len(items), 'labelled video')} are of class "
                f"'{names[0]}'; a classifier tells at least two apart"
            )
        found = LabelledSet(
            catalogue.name, tuple(items), labels.astype(np.int64), tuple(names),
            tuple(numbers.tolist()),
        )  # fmt: skip
        return found, missing + len(catalogue.left_out)


def held_out(
    labels: np.ndarray, share: float, *, seed: int, most: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Places of the videos that stay and of those held out, `share` of each class.

    At least one of each class that has two videos or more, never all, and no more than `most`.
    """
    random, chosen = np.random.default_rng(seed), []
    for label in np.unique(labels):
        rows = random.permutation(np.flatnonzero(labels == label))
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        chosen.append(rows[: count if most is None else min(count, most)])
    out = np.sort(np.concatenate(chosen))
    return np.setdiff1d(np.arange(len(labels)), out), out


def few(labels: np.ndarray, rows: np.ndarray, shots: int, *, seed: int) -> np.ndarray | None:
    """`shots` of the places `rows` for each class; None where a class has fewer."""
    random, chosen = np.random.default_rng((seed, shots)), []
    for label in np.unique(labels):
        own = rows[labels[rows] == label]
        if len(own) < shots:
            return None
        chosen.append(random.permutation(own)[:shots])
    return np.sort(np.concatenate(chosen))


def _renumbered(test: LabelledSet, train: LabelledSet) -> LabelledSet:
    """The test videos with the labels that the training videos have for the same classes.

    Raises:
        ConfigError: a class has test videos only.
    """
    place = {name: i for i, name in enumerate(train.classes)}
    for name in test.classes:
        if name not in place:
            raise ConfigError(
                f"{test.name}: class '{name}' has no training video in {train.name}; add some, or "
                f"leave its test videos out ({nearest(name, place)})"
            )
    labels = np.array([place[name] for name in test.classes])[test.labels]
    return replace(test, labels=labels, classes=train.classes, numbers=train.numbers)


def _keys(catalogue: Catalogue) -> set[str]:
    return {file_of(item) for item in catalogue}


def file_of(item: Item) -> str:
    """The file that a video is stored in, and its place in it; links and `..` are followed."""
    file = item.key if "://" in item.key else os.path.realpath(item.key)
    inside = item.name.partition("::")[2]
    window = "" if item.window is None else f"{item.window[0]:g} to {item.window[1]:g} s"
    return "::".join(part for part in (file, inside, window) if part)
