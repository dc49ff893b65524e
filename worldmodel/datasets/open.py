"""From a path to what is in it: its format, its videos, or its episodes."""

import os
from dataclasses import fields
from pathlib import Path
from typing import Any

from worldmodel.datasets.catalogue import Catalogue
from worldmodel.datasets.format import Format, formats, make_format, recognise
from worldmodel.datasets.unread import refuse_unread
from worldmodel.datasets.video_folder import Folder
from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.joined import Folders, join, listed, named
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import ConfigError, EpisodeError, VideoError, nearest
from worldmodel.video.decoding import Decoding


def open_catalogue(path: str | Path, *, format: str = "auto", **options: Any) -> Catalogue:
    """The videos that a path stands for, in a fixed order; opens none of them.

    Args:
        path: A file, a folder, a URL or a pattern of shards.
        format: Its layout; `auto` looks. `find_format(path)` returns what it would take.
        options: Of the format; see its class.

    Raises:
        VideoError: there is nothing there, or it is not what its format asks for.
        ConfigError: no such format or option.
    """
    return find_format(path, format=format, **options).open(os.fspath(path))


def open_episodes(
    path: Folders,
    *,
    format: str = "auto",
    fit: int | None = None,
    video: Decoding | None = None,
    **options: Any,
) -> EpisodeStore:
    """The episodes in a folder or file, in any format that holds actions: see docs/data.md.

    Args:
        path: The folder or file; or several folders of ours, which are read as one.
        format: Its layout; `auto` looks.
        fit: Side of square frames, where the format can make them so; ours stay as they are.
        video: How video files are decoded, and what is refused.
        options: Of the format: `camera`, `action`, `size`, `fps` where it has them.

    Raises:
        EpisodeError: there is nothing there, it is not what its format asks for, or several
            folders do not go together.
        ConfigError: no such format or option, one without actions, or several that are not ours.
    """
    several = listed(path)
    stores = [_open(one, format=format, fit=fit, video=video, **options) for one in several]
    if len(stores) == 1:
        return stores[0]
    ours = [store for store in stores if isinstance(store, Episodes)]
    kinds = zip(several, stores, strict=True)
    if others := [where for where, store in kinds if not isinstance(store, Episodes)]:
        raise ConfigError(
            f"{named(path)}: several folders are read as one where they are ours, and {others[0]} "
            "is in another format: worldmodel data convert to=episodes writes it as ours"
        )
    return join(ours)


def _open(
    path: str | Path, *, format: str, fit: int | None, video: Decoding | None, **options: Any
) -> EpisodeStore:
    if "://" not in os.fspath(path) and not os.path.lexists(path):
        raise EpisodeError(f"{path}: no such folder of episodes; check the path or collect")
    found = find_format(path, format=format, **options)
    if fit is not None and "size" in (field.name for field in fields(found)):  # type: ignore[arg-type]
        found = find_format(path, format=found.name, **({"size": fit} | options))
    if isinstance(found, Folder):
        refuse_unread(os.fspath(path), EpisodeError)
    return found.episodes(os.fspath(path), video)


def find_format(path: str | Path, *, format: str = "auto", **options: Any) -> Format:
    """The format that a path is in, or the one that is insisted on, with its options.

    Raises:
        VideoError: there is nothing there, or nothing that can be read.
        ConfigError: no such format or option.
    """
    known = formats()
    if format != "auto":
        if format not in known:
            raise ConfigError(f"no format '{format}': {nearest(format, [*known, 'auto'])}")
        return make_format(known[format], options)
    found = recognise(os.fspath(path))
    if found is not None:
        return make_format(found, options)
    if not os.path.lexists(path):
        raise VideoError(f"{path}: there is nothing; check the path")
    raise VideoError(
        f"{path}: is in no format that is known ({', '.join(known)}); name it with format="
    )
