"""Folders of episodes as ACT and ALOHA record them: one HDF5 file for each (arXiv:2304.13705).

`episode_<i>.hdf5` holds `action` (t a), `observations/images/<camera>` and rows of numbers such as
`observations/qpos`, `observations/qvel`, `observations/effort` and `base_action`. Images are pixels
(t h w 3, uint8), or, where the file's attribute `compress` is true, a JPEG in each row, padded with
zeros to the length of the longest.
"""

import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from worldmodel.datasets.episode_source import EpisodeFormat, check_positive
from worldmodel.datasets.hdf5_episodes import (
    HDF5Episodes,
    HDF5Video,
    choose_action,
    choose_frames,
    how_coded,
    info_keys,
    size_of_frames,
    with_info_names,
)
from worldmodel.datasets.hdf5_file import (
    Rows,
    by_number,
    dataset,
    datasets_below,
    group_keys,
    opened_h5,
)
from worldmodel.datasets.listing import names_in
from worldmodel.errors import EpisodeError, WorldModelError, printable
from worldmodel.video.decoding import Decoding

_FILE = re.compile(r"episode_\d+\.(hdf5|h5)")
_IMAGES = "observations/images/"
_NO_IMAGES = (
    "below observations/images there are no frames t h w 3 of uint8 and no JPEGs; record the "
    "episodes with a camera"
)
_LENGTHS = "compress_len"  # of the JPEGs; a row for each camera, not for each frame


@dataclass(frozen=True)
class ACT(EpisodeFormat):
    """A folder with `episode_0.hdf5`, `episode_1.hdf5`, ...

    Attributes:
        camera: Which frames, by their name; needed where there are several.
        action: Which actions; `action` by default.
        size: Episodes are read as middle squares of this side; as they are where it is None.
        fps: Frames per second; the files do not say.
        jpeg: What a JPEG decodes to: `bgr` where red and blue are exchanged, as in the files of
            ACT's and ALOHA's recorders, which hand RGB to an encoder that takes it for BGR; `rgb`
            where the recorder converts. Pixels are as they are.
    """

    name: ClassVar[str] = "act"
    rank: ClassVar[int] = 14
    looks: ClassVar[str] = "a folder with episode_0.hdf5"

    camera: str | None = None
    action: str | None = None
    size: int | None = None
    fps: float = 50.0
    jpeg: Literal["bgr", "rgb"] = "bgr"

    def __post_init__(self) -> None:
        check_positive("size", self.size)
        check_positive("fps", self.fps)

    @classmethod
    def recognises(cls, path: str) -> bool:
        """By the names in the folder."""
        try:
            return bool(_files(path))
        except WorldModelError:
            return False

    def source(self, path: str, video: Decoding) -> HDF5Episodes:
        """The episodes of the folder; no video file is decoded, but the limits count."""
        files = _files(path)
        if not files:
            raise EpisodeError(
                f"{path}: holds no episode_0.hdf5; name the folder that the episodes lie in"
            )
        videos: list[HDF5Video] = []
        for file in files:
            videos.append(self._episode(os.path.join(path, file), videos[:1]))
        videos = with_info_names(videos, "observations/")
        env = f"act/{Path(path).resolve().name}"
        return HDF5Episodes(path, env, videos, size=self.size, limits=video.limits)

    def _episode(self, path: str, before: list[HDF5Video]) -> HDF5Video:
        """The episode in a file; its infos go by their keys."""
        name = printable(path)
        with opened_h5(path) as file:
            arrays = _arrays(file, path)
            cameras = {key: array for key, array in arrays.items() if key.startswith(_IMAGES)}
            frames = choose_frames(cameras, self.camera, name, missing=_NO_IMAGES)
            actions = choose_action(arrays, self.action, name)
            length = len(arrays[frames])
            if actions is not None and len(arrays[actions]) != length or length < 1:
                raise EpisodeError(
                    f"{name}: '{frames}' has {length} rows, '{actions}' "
                    f"{len(arrays[actions or frames])}; record the episode again"
                )
            coded = how_coded(arrays[frames])
            # Of JPEGs one is decoded for all episodes; those of another size are found when read.
            same = before and coded != "pixels"
            size = before[0].size if same else size_of_frames(arrays[frames], name)
            infos = info_keys(arrays, [length], [actions, frames, _LENGTHS])
        return HDF5Video(
            name, name, path, Rows(frames, 0, length), size, self.fps, actions,
            tuple((key, key) for key in infos), coded if coded == "pixels" else self.jpeg,
        )  # fmt: skip


def _files(path: str) -> list[str]:
    """The names of the episodes' files, in the order of their numbers."""
    if "\0" in path or "://" in path:
        return []
    found = [name for name in names_in(path) if _FILE.fullmatch(name)]
    return sorted(found, key=lambda name: by_number(name.partition(".")[0]))


def _arrays(file: Any, path: str) -> dict[str, Any]:
    """The datasets of an episode by their keys."""
    found = {key: dataset(file, path, key) for key in group_keys(file, path)}
    arrays = {key: array for key, array in found.items() if array is not None and array.shape}
    inside = datasets_below(file, path, "observations")
    arrays |= {f"observations/{key}": array for key, array in inside.items() if array.shape}
    return arrays
