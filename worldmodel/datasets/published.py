"""Helpers of the published layouts: reading their lists, and finding the videos that they name.

Knows no single layout. Parts of these data sets vanish from the web, so a video that a list names
and the folder lacks is left out and counted in `left_out`; a damaged video is an error.
"""

import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.datasets.catalogue import LeftOut
from worldmodel.datasets.listing import VIDEOS, FileCatalogue, names_in
from worldmodel.errors import VideoError, WorldModelError
from worldmodel.storage.files import require_file


def first_folder(root: str, names: Sequence[str]) -> str:
    """The first of these folders below `root` that is there; `root` itself if none is."""
    return next((p for p in (os.path.join(root, n) for n in names) if os.path.isdir(p)), root)


def first_file(root: str, names: Sequence[str]) -> str | None:
    """The first of these files below `root` that is there."""
    return next((p for p in (os.path.join(root, n) for n in names) if os.path.isfile(p)), None)


def lines_of(
    path: str, what: str = "list of videos", error: type[WorldModelError] = VideoError
) -> Iterator[tuple[int, str]]:
    """The lines of a text file that are not blank, numbered.

    Raises:
        WorldModelError: of class `error`: it is not text.
    """
    require_file(Path(path), what, error)
    try:
        with open(path, encoding="utf-8-sig") as file:
            for number, line in enumerate(file, start=1):
                if line := line.strip():
                    yield number, line
    except UnicodeDecodeError as cause:
        raise error(f"{path}: is not a text file in UTF-8; fetch it again") from cause


def json_of(
    path: str, what: str = "list of videos", error: type[WorldModelError] = VideoError
) -> Any:
    """The content of a JSON file.

    Raises:
        WorldModelError: of class `error`: it is not JSON.
    """
    require_file(Path(path), what, error)
    try:
        with open(path, encoding="utf-8-sig") as file:
            return json.load(file)
    except (ValueError, RecursionError) as cause:
        raise error(f"{path}: is not complete JSON ({str(cause)[:80]}); fetch it again") from cause


def named_rows(path: str, key: str) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """The objects of a JSON list: for each where it stands, its name (at `key`), and all of it.

    Raises:
        VideoError: it is no such list, or one has no name.
    """
    rows = json_of(path)
    if not isinstance(rows, list):
        raise VideoError(f"{path}: is not a list of videos; fetch it again")
    for number, row in enumerate(rows):
        name = row.get(key) if isinstance(row, dict) else None
        if not isinstance(name, str | int) or isinstance(name, bool) or name == "":
            raise VideoError(f"{path}: entry {number} has no {key}; fetch it again")
        yield f"entry {number}", str(name), row


def number_of(text: Any, path: str, where: str, *, below: int | None = None) -> int:
    """A class number out of a list.

    Raises:
        VideoError: it is none, or no class has it.
    """
    try:
        value = int(text) if isinstance(text, int | str) and not isinstance(text, bool) else -1
    except ValueError:
        value = -1
    if not 0 <= value < (2**31 if below is None else below):
        rule = "a class number" if below is None else f"a class number below {below}"
        raise VideoError(f"{path}, {where}: '{str(text)[:60]}' is not {rule}; "
                         f"fetch the list again")  # fmt: skip
    return value


def listed_videos(
    name: str, folder: str, entries: Sequence[tuple[str, int]], classes: Sequence[str]
) -> FileCatalogue:
    """The videos that the entries name and the folder holds, in the order of the entries.

    Args:
        name: Of the data set.
        folder: Of the videos.
        entries: For each video its path below the folder, without the ending, and its label.
        classes: Names of the labels.

    Raises:
        VideoError: a name leads out of the folder, or none of them is there.
    """
    listings: dict[str, dict[str, str]] = {}
    paths, labels, left_out = [], [], []
    for place, label in dict.fromkeys(entries):
        inside, stem = os.path.split(place)
        if "\0" in place or os.path.isabs(inside) or ".." in inside.split("/"):
            raise VideoError(
                f"{name}: its lists name '{place[:100]}', which leads out of the folder; fetch "
                f"them again"
            )
        where = os.path.join(folder, inside) if inside else folder
        if where not in listings:
            listings[where] = _videos_in(where)
        file = listings[where].get(stem)
        if file is None:
            reason = f"{where}: holds no '{stem}' with the ending of a video"
            if os.path.isdir(os.path.join(where, stem)):
                reason += "; folders of frames are read with format=frames"
            left_out.append(LeftOut(place, reason))
        else:
            paths.append(os.path.join(where, file))
            labels.append(label)
    if not paths:
        first = f"; the first: {left_out[0].reason}" if left_out else ""
        raise VideoError(
            f"{name}: its lists name {len(left_out)} videos and {folder} holds none of them{first}"
        )
    return FileCatalogue(
        name, paths, labels=np.array(labels, np.int32), classes=classes, left_out=left_out
    )


def _videos_in(folder: str) -> dict[str, str]:
    """File names of videos by their stem; one look at the folder instead of one for each file."""
    found = [n for n in names_in(folder) if n.lower().endswith(VIDEOS) and n[0] != "."]
    return {os.path.splitext(n)[0]: n for n in reversed(found)}


def stem(name: str) -> str:
    """A name without the ending of a video."""
    base, ending = os.path.splitext(name)
    return base if ending.lower() in VIDEOS else name
