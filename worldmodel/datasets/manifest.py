"""Lists of videos, as V-JEPA reads them: `path label` in each line, without a header.

A list is a text file with a path and a class number, separated by a space, a comma, or `::` where
paths have spaces in them; or a numpy array of paths.
"""

import csv
import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Literal

import numpy as np

from worldmodel.datasets.array_video import load_array
from worldmodel.datasets.catalogue import AllLeftOut, Catalogue, LeftOut
from worldmodel.datasets.format import Format
from worldmodel.datasets.listing import NO_LABEL, VIDEOS, FileCatalogue
from worldmodel.errors import VideoError
from worldmodel.storage.files import require_file

TEXTS = (".csv", ".txt")
_LONGEST = 10_000  # characters of a line; a path has at most 4096, a signed URL some more
_BLANK = " \t\r"
_LABELLED = re.compile(r"(.*?)(?:(?:::|,)[ \t]*|[ \t])(-?)([0-9]+)", re.S)
_VIDEO = "|".join(re.escape(ending) for ending in VIDEOS)
_THEN_MORE = re.compile(rf"(?:{_VIDEO})(?:[ \t,]|::)[ \t,:]*([^ \t].*)", re.I)
_URL_THEN_MORE = re.compile(rf"(?:{_VIDEO})[ \t,]+([^ \t,].*)", re.I)  # `::` names its archive
_HEADER = frozenset("file filename name path video video_path".split())


@dataclass(frozen=True)
class Manifest(Format):
    """A list of videos; relative paths start at the manifest's folder.

    A class number may follow each path; -1 says that there is none.

    Attributes:
        outside: Allow relative paths to leave the manifest's folder (`../`). Absolute paths and
            URLs are always taken.
        on_bad: `error` stops at the first line that cannot be read, `skip` takes the others, and
            lists it in `left_out`.
    """

    name: ClassVar[str] = "manifest"
    rank: ClassVar[int] = 80
    looks: ClassVar[str] = "a file named .csv, .txt or .npy"

    outside: bool = False
    on_bad: Literal["error", "skip"] = "error"

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By its ending."""
        return path.lower().endswith((*TEXTS, ".npy")) and not os.path.isdir(path)

    def open(self, path: str) -> Catalogue:
        """The videos in the order of the lines; a file that is missing is found on opening it."""
        require_file(Path(path), "manifest of videos", VideoError)
        is_array = path.lower().endswith(".npy")
        root = os.path.dirname(path)
        paths, labels, lines, left_out = [], [], [], []
        for line, text in _array_rows(path) if is_array else _text_rows(path):
            try:
                name, label = self._parse(text, line, is_array)
            except VideoError as cause:
                problem = VideoError(f"{path}, line {line}: {cause}")
                if self.on_bad == "error":
                    raise problem from cause
                left_out.append(LeftOut(f"{path}, line {line}", str(problem)))
                continue
            paths.append(os.path.join(root, name) if "://" not in name else name)
            labels.append(label)
            lines.append(line)
        if not paths:
            first = left_out[0].reason if left_out else "write the path of a video in each line"
            raise AllLeftOut(f"{path}: names no video; {first}", left_out)
        return FileCatalogue(
            path, paths, labels=np.array(labels, np.int32), lines=np.array(lines, np.int32),
            left_out=left_out,
        )  # fmt: skip

    def _parse(self, text: str, line: int, is_array: bool) -> tuple[str, int]:
        """The path and the label in a line; in an array there are no labels."""
        if len(text) > _LONGEST:
            raise VideoError(f"has {len(text)} characters, more than any path; correct it")
        name, label = (text, NO_LABEL) if is_array else _parts(text)
        if "\0" in name:
            raise VideoError("a path with a zero byte in it; write the paths again")
        first = re.split("[ ,]", name)[0].lower()
        if line == 1 and not is_array and first in _HEADER and not name.lower().endswith(VIDEOS):
            raise VideoError(f"'{text[:80]}' is a header; remove it")
        leaves = ".." in name and os.path.normpath(name).split(os.sep)[0] == ".."
        if leaves and "://" not in name and not self.outside:
            raise VideoError(
                f"'{name}' leaves the manifest's folder; write an absolute path, or allow it with "
                f"outside=true"
            )
        return name, label


def _text_rows(path: str) -> Iterator[tuple[int, str]]:
    """Each line that is not blank, with its number."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # with or without a byte order mark
            text = file.read()
    except UnicodeDecodeError as cause:
        raise VideoError(
            f"{path}: is not a text file in UTF-8 (byte {cause.start}); a manifest has the "
            f"path of a video in each line"
        ) from cause
    if "\0" in text:
        raise VideoError(
            f"{path}: is not a text file in UTF-8 (it has zero bytes); a manifest has the "
            f"path of a video in each line"
        )
    for number, line in enumerate(text.split("\n"), start=1):
        if line := line.strip(_BLANK):
            yield number, line


def _parts(line: str) -> tuple[str, int]:
    """`a b.mp4 7`, `a b.mp4,7`, `a b.mp4::7`, `"a b.mp4" 7` and `a b.mp4` all name `a b.mp4`."""
    if match := _LABELLED.fullmatch(line):
        name, sign, digits = match[1].rstrip(_BLANK), match[2], match[3]
        if not name:
            raise VideoError(f"'{line[:80]}' has a label and no path; write one")
        if len(digits) > 9 or (sign and int(digits) != 1):
            raise VideoError(
                f"label {sign}{digits[:20]} must lie between 0 and 999999999, or be -1 for none"
            )
        return _unquote(name), int(sign + digits)
    if not line.lower().endswith(VIDEOS):
        more = (_URL_THEN_MORE if "://" in line else _THEN_MORE).search(line)
        if more and not line.endswith('"'):
            raise VideoError(
                f"label '{more[1][:80]}' is not a whole number; write class numbers, or put a "
                f"path that has it in its name in quotes"
            )
    return _unquote(line), NO_LABEL


def _unquote(name: str) -> str:
    """The path, without the quotes that a spreadsheet puts around one with a comma in it."""
    if len(name) < 3 or not name.startswith('"') or not name.endswith('"'):
        return name
    return next(csv.reader([name]))[0]


def _array_rows(path: str) -> Iterator[tuple[int, str]]:
    """Each string that is not empty, with its number."""
    try:
        names = load_array(path)
    except ValueError as cause:
        raise VideoError(
            f"{path}: is not an array of paths that can be read without running code "
            f"({' '.join(str(cause).split())[:120]}); save it as an array of strings: "
            f"np.save(path, np.array(paths, dtype=str))"
        ) from cause
    if names.ndim != 1 or names.dtype.kind not in "US":
        raise VideoError(
            f"{path}: a manifest is one row of strings, this is an array "
            f"{names.shape} of {names.dtype}; save the paths, or name the format of the data"
        )
    if names.dtype.kind == "U" and names.size and names.dtype.itemsize:
        codes = names.view(np.dtype("u4").newbyteorder(names.dtype.byteorder))
        if int(codes.max()) > sys.maxunicode:  # numpy makes a string of it that breaks Python
            raise VideoError(f"{path}: holds something that is not text; save the paths again")
    for number, name in enumerate(names, start=1):
        text = name.decode("utf-8", "surrogateescape") if isinstance(name, bytes) else str(name)
        if text:
            yield number, text
