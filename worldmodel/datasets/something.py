"""Something-Something v2: `<id>.webm`, a JSON list for each split, and `labels.json`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar, Literal

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import NO_LABEL
from worldmodel.datasets.published import (
    first_file,
    first_folder,
    json_of,
    listed_videos,
    named_rows,
    number_of,
)
from worldmodel.errors import VideoError

_FOLDERS = ("20bn-something-something-v2", "videos", "video")


def _names(what: str) -> tuple[str, ...]:
    return (
        f"labels/{what}.json", f"{what}.json", f"something-something-v2-{what}.json",
        f"labels/something-something-v2-{what}.json",
    )  # fmt: skip


@dataclass(frozen=True)
class SomethingSomething(Format):
    """Labels are the numbers of `labels.json`; the videos of `test` have none.

    Attributes:
        split: `train`, `validation` or `test`; the first two by default.
    """

    name: ClassVar[str] = "something"
    rank: ClassVar[int] = 33
    looks: ClassVar[str] = "a folder with labels.json and train.json, also in labels/"

    split: Literal["train", "validation", "test"] | None = None

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its lists."""
        return first_file(path, _names("labels")) is not None and any(
            first_file(path, _names(split)) is not None for split in ("train", "validation", "test")
        )

    def open(self, path: str) -> Catalogue:
        """The videos of the split, in the order of its list."""
        index = first_file(path, _names("labels"))
        if index is None:
            raise VideoError(f"{path}: has no labels.json; fetch the data set's lists")
        label, classes = _classes(index)
        entries: list[tuple[str, int]] = []
        for split in (self.split,) if self.split else ("train", "validation"):
            rows = first_file(path, _names(split))
            if rows is not None:
                entries += _entries(rows, label)
            elif self.split:
                raise VideoError(f"{path}: has no {split}.json; fetch the data set's lists")
        return listed_videos(path, first_folder(path, _FOLDERS), entries, classes)


def _classes(path: str) -> tuple[dict[str, int], list[str]]:
    """The number of each template, and the templates in that order."""
    values = json_of(path)
    if not isinstance(values, dict) or not values:
        raise VideoError(f"{path}: is not templates with their numbers; fetch it again")
    label = {
        name: number_of(number, path, f"'{name[:60]}'", below=len(values))
        for name, number in values.items()
    }
    if len(set(label.values())) < len(label):
        raise VideoError(f"{path}: two templates have one number; fetch it again")
    return label, sorted(label, key=lambda name: label[name])


def _entries(path: str, label: dict[str, int]) -> Iterator[tuple[str, int]]:
    for where, name, row in named_rows(path, "id"):
        template = str(row.get("template")).replace("[", "").replace("]", "")
        if "template" in row and template not in label:
            raise VideoError(
                f"{path}: {where} has the template '{template[:60]}', which labels.json lacks; "
                f"fetch it again"
            )
        yield name, label[template] if "template" in row else NO_LABEL
