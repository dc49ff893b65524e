"""Several folders of our episodes as one: of one world, each with what it holds out.

So a model learns from two behaviours, or from more of one than was collected at first.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from worldmodel.episodes.episode import FolderInfo
from worldmodel.episodes.folder import Episodes
from worldmodel.errors import ConfigError, EpisodeError

Folders = str | Path | Sequence[str | Path]
"""A folder of episodes, or several."""


def listed(folders: Folders, setting: str = "episodes") -> list[str | Path]:
    """The folders, one or several.

    Args:
        folders: As a user says them.
        setting: By which they are named, for the message.

    Raises:
        ConfigError: they are no paths, or there are none.
    """
    found = [folders] if isinstance(folders, str | Path) else folders
    if (
        not isinstance(found, Sequence)
        or not found
        or not all(isinstance(one, str | Path) for one in found)
    ):
        raise ConfigError(f"{setting}={folders}: say a folder, or several as [a,b]")
    return list(found)


def named(folders: Folders) -> str:
    """The folders as one text, for messages."""
    return ", ".join(map(str, listed(folders)))


def read_episodes(folders: Folders, setting: str = "episodes") -> Episodes:
    """The episodes of a folder, or of several one after another.

    Args:
        folders: Of episodes, or of the runs that collected them.
        setting: By which they are named, for messages.

    Raises:
        ConfigError: they are no paths, there are none, or one of them comes twice.
        EpisodeError: what `Episodes` raises, and folders that do not go together.
    """
    return join([Episodes(folder) for folder in listed(folders, setting)])


def join(parts: Sequence[Episodes]) -> Episodes:
    """Episodes of several folders, in order; those held out are the held-out ones of each.

    They are numbered through: those of a later folder go on after the last number of the one
    before it.

    Raises:
        ConfigError: a folder comes twice.
        EpisodeError: two of them differ in their actions, the size of their frames or their rate.
    """
    first, *others = parts
    if not others:
        return first
    places = [folder.resolve() for part in parts for folder in part.folders]
    if twice := [place for index, place in enumerate(places) if place in places[:index]]:
        raise ConfigError(f"{twice[0]}: is named twice; name each folder of episodes once")
    for part in others:
        _require_alike(first, part)
    files, held_out, after = [], [], 0
    for part in parts:
        files += [replace(file, number=after + file.number) for file in part.files]
        held_out += [after + number for number in part.info.held_out]
        after += 1 + max([*part.numbers, *part.info.held_out], default=-1)
    info = replace(
        _together([part.info for part in parts]), count=len(files), held_out=tuple(held_out)
    )
    return Episodes.of([folder for part in parts for folder in part.folders], info, files)


def _together(infos: Sequence[FolderInfo]) -> FolderInfo:
    """The facts of folders that go together, but for their numbers of episodes."""
    acting = [info for info in infos if info.action_low]
    known = all(info.seeds for info in infos)
    return replace(
        acting[0] if acting else infos[0],
        env_id=" + ".join(dict.fromkeys(info.env_id for info in infos)),
        action_low=tuple(map(min, zip(*(info.action_low for info in acting), strict=True))),
        action_high=tuple(map(max, zip(*(info.action_high for info in acting), strict=True))),
        seeds=tuple(seed for info in infos for seed in info.seeds) if known else (),
    )


def _require_alike(one: Episodes, other: Episodes) -> None:
    """Refuse two folders that cannot be one.

    Raises:
        EpisodeError: names both, and what differs.
    """
    here, there = (_facts(part) for part in (one, other))
    for what, value in here.items():
        if value is not None and there[what] is not None and value != there[what]:
            raise EpisodeError(
                f"{one.name} and {other.name} do not go together: {what} are {value} in the one "
                f"and {there[what]} in the other; name folders of one world, recorded alike"
            )


def _facts(part: Episodes) -> dict[str, str | None]:
    """What has to be the same, in words; None where a folder does not tell."""
    info = part.info
    h, w = part.files[0].size
    return {
        "numbers of an action": str(len(info.action_low)) if info.action_low else None,
        "alternatives of an action": str(list(info.action_choices)) if info.action_low else None,
        "bounds of actions": _bounds(info),
        "frames": f"{h} x {w} pixels",
        "frames a second": f"{info.fps:g}",
    }


def _bounds(info: FolderInfo) -> str | None:
    # Where no reset had a seed, nobody collected: a data set was converted, and its bounds are the
    # extremes that its actions happen to have.
    if not info.action_low or not info.seeds:
        return None
    return f"{list(info.action_low)} to {list(info.action_high)}"
