"""Minari data sets that are stored as HDF5 (https://minari.farama.org).

`data/main_data.hdf5` has a group for each episode, `episode_<i>`, with `observations`, one more row
than steps, and `actions`, `rewards`, `terminations`, `truncations` and `infos`; what is nested is
groups in groups. An image is pixels or, as newer versions write it, a JPEG in each row. The spaces
and the environment are told by `data/metadata.json`, in older versions by attributes of the file.
"""

import json
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from worldmodel.datasets.episode_source import (
    DEFAULT_FPS,
    Choices,
    EpisodeFormat,
    check_positive,
    choose,
    fetch_again,
    warn_once,
)
from worldmodel.datasets.hdf5_episodes import (
    HDF5Episodes,
    HDF5Video,
    choose_frames,
    how_coded,
    info_keys,
    size_of_frames,
    with_info_names,
)
from worldmodel.datasets.hdf5_file import (
    Rows,
    by_number,
    datasets_below,
    group_keys,
    opened_h5,
)
from worldmodel.errors import EpisodeError, printable
from worldmodel.storage.files import require_file
from worldmodel.video.decoding import Decoding

_MAIN, _ABOUT = "main_data.hdf5", "metadata.json"
_BEGINNING = 4096  # bytes of a description that are looked at to recognise it
_MOST_BYTES = 2**26  # of a description
_MOST_CHOICES = 100_000  # alternatives of one choice: each becomes a number that is learned


@dataclass(frozen=True)
class Minari(EpisodeFormat):
    """A folder with `data/main_data.hdf5`, or the folder `data` itself.

    Attributes:
        camera: Which image observation, by its key or the last part of it; needed where there
            are several.
        action: Which actions, where they are nested; the only ones by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; the files do not say.
    """

    name: ClassVar[str] = "minari"
    rank: ClassVar[int] = 15
    looks: ClassVar[str] = "a folder with data/main_data.hdf5, or metadata.json of Minari"

    camera: str | None = None
    action: str | None = None
    size: int | None = None
    fps: float = DEFAULT_FPS

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the names of its files, and the first words of its description."""
        return _root(path) is not None

    def source(self, path: str, video: Decoding) -> HDF5Episodes:
        """The episodes of the data set; no video file is decoded, but the limits count."""
        root = _root(path)
        if root is None:
            raise EpisodeError(
                f"{path}: holds no data/{_MAIN}; name the folder of one Minari data set"
            )
        about = _description(os.path.join(root, _ABOUT))
        stored = about.get("data_format", "hdf5")
        if stored != "hdf5":
            raise EpisodeError(
                f"{path}: is a Minari data set that is stored as {stored!s:.20}, and only hdf5 is "
                f"read; create it again with data_format='hdf5'"
            )
        main = os.path.join(root, _MAIN)
        with opened_h5(main) as file:
            about = {**dict(file.attrs), **about}  # attributes, in older versions
            names = [n for n in group_keys(file, main) if n.startswith("episode_")]
            if not names:
                raise EpisodeError(f"{main}: holds no episode; fetch the data set again")
            environment = _environment(about)
            videos = [
                self._episode(file, main, name, environment, about.get("action_space"))
                for name in sorted(names, key=by_number)
            ]
        videos = with_info_names(videos, "observations/", "infos/")
        name = environment or str(about.get("dataset_id") or Path(path).resolve().name)
        return HDF5Episodes(path, f"minari/{name}", videos, size=self.size, limits=video.limits)

    def _episode(
        self, file: Any, path: str, episode: str, environment: str, space: Any
    ) -> HDF5Video:
        """An episode; its infos go by their keys."""
        name = printable(f"{path}::{episode}")
        arrays = {k: a for k, a in datasets_below(file, path, episode).items() if a.shape}
        seen = {k: a for k, a in arrays.items() if k.split("/")[0] == "observations"}
        frames = choose_frames(seen, self.camera, name, missing=_no_images(seen, environment))
        length = len(arrays[frames])
        action = self._actions(arrays, name)
        steps = len(arrays[action])
        if length != steps + 1:
            raise EpisodeError(
                f"{name}: has {length} observations and {steps} actions, not one observation more; "
                f"fetch or write the data set again"
            )
        choices = _choices(space, action, path)
        if choices is None and space is None and arrays[action].dtype.kind in "iu":
            warn_once(
                (path, "actions"),
                f"{path}: does not say what its actions are ({_ABOUT} has no action_space); whole "
                f"numbers are taken for quantities, not for choices",
            )
        infos = info_keys(arrays, [length, steps], [action, frames])
        return HDF5Video(
            name, name, path, Rows(f"{episode}/{frames}", 0, length),
            size_of_frames(arrays[frames], name), self.fps, f"{episode}/{action}",
            tuple((key, f"{episode}/{key}") for key in infos), how_coded(arrays[frames]),
            between=True, choices=choices,
        )  # fmt: skip

    def _actions(self, arrays: dict[str, Any], name: str) -> str:
        if self.action is not None:
            return choose("action", self.action, list(arrays), name=name)
        keys = [key for key in arrays if key.split("/")[0] == "actions"]
        return choose("action", None, keys, name=name, missing="fetch the data set again")


def _root(path: str) -> str | None:
    """The folder that the data lies in, or None if there is none; never raises."""
    if "\0" in path or "://" in path:
        return None
    for root in (os.path.join(path, "data"), path):
        if os.path.isfile(os.path.join(root, _MAIN)):
            return root
        about = os.path.join(root, _ABOUT)
        with suppress(OSError):
            if os.path.isfile(about):
                with open(about, "rb") as file:
                    beginning = file.read(_BEGINNING)
                if b'"data_format"' in beginning and b'"total_episodes"' in beginning:
                    return root
    return None


def _description(path: str) -> dict[str, Any]:
    """What `metadata.json` says; nothing where there is none.

    Raises:
        EpisodeError: it is damaged.
    """
    if not os.path.lexists(path):
        return {}
    require_file(Path(path), "description", EpisodeError)
    try:
        with open(path, "rb") as file:
            about = json.loads(file.read(_MOST_BYTES))
    except (OSError, ValueError, RecursionError) as cause:
        reason = " ".join(str(cause).split())[:120]
        raise EpisodeError(f"{path}: is no JSON ({reason}); {fetch_again(path)}") from cause
    if not isinstance(about, dict):
        raise EpisodeError(f"{path}: describes no data set; fetch it again")
    return about


def _environment(about: dict[str, Any]) -> str:
    """The gymnasium id of the environment that was recorded; '' where nothing tells it."""
    with suppress(ValueError, TypeError, KeyError, RecursionError):
        return printable(str(json.loads(about["env_spec"])["id"]))[:100]
    return ""


def _no_images(seen: dict[str, Any], environment: str) -> str:
    shown = ", ".join(f"{key} {array.shape[1:]}" for key, array in seen.items())[:200]
    return (
        f"no observation is an image h w 3 of uint8 ({shown or 'there are none'}), as in most "
        f"Minari data sets; record episodes with images instead: worldmodel collect "
        f"env={environment or 'ID'}"
    )


def _choices(space: Any, action: str, path: str) -> Choices | None:
    """What the actions of this key are numbers of; None where they are quantities.

    Args:
        space: The action space as Minari writes it, in JSON; None where it is not told.
        action: The key of the actions below their episode.
        path: Of the file, for messages.

    Raises:
        EpisodeError: it is no space.
    """
    if space is None or action.split("/")[0] != "actions":
        return None
    try:
        inner = json.loads(space) if isinstance(space, str | bytes) else space
        for part in action.split("/")[1:]:
            inside = inner["subspaces"]
            inner = inside[int(part.removeprefix("_index_"))] if (
                isinstance(inside, list)) else inside[part]  # fmt: skip
        kind = inner["type"]
        if kind == "Discrete":
            return _checked([inner["n"]], [inner.get("start", 0)])
        if kind == "MultiDiscrete":
            counts = np.ravel(inner["nvec"]).tolist()
            return _checked(counts, np.ravel(inner.get("start", [0] * len(counts))).tolist())
        if kind == "MultiBinary":
            number = int(np.prod(inner["n"], dtype=object))
            if number > _MOST_CHOICES:
                raise ValueError(f"{number} choices are more than {_MOST_CHOICES}")
            return _checked([2] * number, [0] * number)
        return None
    except (ValueError, TypeError, KeyError, IndexError, AttributeError, RecursionError) as cause:
        reason = " ".join(str(cause).split())[:80]
        raise EpisodeError(
            f"{path}: its action_space is no space of Minari ({type(cause).__name__}: {reason}); "
            f"fetch the data set again"
        ) from cause


def _checked(counts: Sequence[Any], first: Sequence[Any]) -> Choices:
    """Choices of whole numbers.

    Raises:
        ValueError: they are not.
    """
    if not all(type(number) is int for number in (*counts, *first)) or len(counts) != len(first):
        raise ValueError("choices are whole numbers")
    if not counts or not all(1 <= count <= _MOST_CHOICES for count in counts):
        raise ValueError(f"a choice has 1 to {_MOST_CHOICES} alternatives")
    return Choices(tuple(counts), tuple(map(float, first)))
