"""IntPhys 2 (Bordes et al. 2025, arXiv:2506.09849): two possible and two impossible clips a scene.

    <split>/metadata.csv               SceneIndex, type (1_Possible, ...), condition, file_name
    <split>/Videos/<name>.mp4

As frames, with the list of the authors' evaluation:

    <split>/labels.csv                 SceneIndex, type, condition, filename
    <split>/Images/<name>/*.png        with fps.txt beside or above them
"""

import os
import re
from dataclasses import dataclass
from typing import Literal

from worldmodel.datasets.catalogue import Item
from worldmodel.datasets.frame_folders import RATE_FILE, FrameFolder, rate_in
from worldmodel.datasets.listing import VIDEOS, VideoFile
from worldmodel.datasets.published import first_file
from worldmodel.errors import VideoError
from worldmodel.evaluation.suites.suite import Suite, SuiteClip
from worldmodel.evaluation.suites.table import file_in, rows_of

LISTS = ("metadata.csv", "labels.csv")
COLUMNS = ("SceneIndex", "type", "condition")
_NAMES = ("file_name", "filename", "name")  # the column that names the clip, best first
_TYPE = re.compile(r"(\d+)_(Possible|Impossible)")


@dataclass(frozen=True)
class IntPhys2(Suite):
    """Clip `1_Possible` of a scene is compared with `1_Impossible`, and so on.

    A scene that was rendered several times, as in the debug set, has as many pairs of each number.
    The held-out set has no labels and cannot be read.

    Attributes:
        split: the part of the suite: `Main` or `Debug`.
    """

    split: Literal["Main", "Debug"] = "Main"

    def listed(self, path: str) -> list[SuiteClip]:
        """The clips that the list in `<path>/<split>` names; or that in `path`, if it has one."""
        inside = os.path.join(path, self.split)
        root = inside if os.path.isdir(inside) else path
        file = first_file(root, LISTS)
        if file is None:
            raise VideoError(
                f"{root}: has no {' and no '.join(LISTS)}; check data.path= or suite.split="
            )
        clips: list[SuiteClip] = []
        seen: dict[tuple[str, str], int] = {}
        for where, row in rows_of(file, COLUMNS):
            scene, kind, what = (row[column] for column in COLUMNS)
            found = _TYPE.fullmatch(kind)
            if found is None:
                raise VideoError(
                    f"{where}: type is '{kind[:60]}', not 1_Possible, 1_Impossible or the like; "
                    "fetch the list again"
                )
            times = seen[scene, kind] = seen.get((scene, kind), -1) + 1
            pair = 1000 * times + int(found[1])
            name, item = _item(root, row, where)
            possible = found[2] == "Possible"
            fps = item.fps if isinstance(item, FrameFolder) else None
            clips.append(SuiteClip(name, scene, what, "", pair, possible, fps, None, item))
        return clips


def _item(root: str, row: dict[str, str], where: str) -> tuple[str, Item]:
    """The name of a clip, and the video or the folder of frames that it is."""
    name = next((row[column] for column in _NAMES if row.get(column)), None)
    if name is None:
        raise VideoError(f"{where}: has no {_NAMES[0]} and no {_NAMES[1]}; fetch the list again")
    frames = os.path.join(root, "Images", name)
    if os.path.isdir(frames):
        places = (frames, os.path.join(root, "Images"), root)
        rate = next((f for p in places if os.path.isfile(f := os.path.join(p, RATE_FILE))), None)
        if rate is None:
            raise VideoError(
                f"{frames}: nothing says how many frames per second it has; write it into "
                f"{os.path.join(root, 'Images', RATE_FILE)}"
            )
        return name, FrameFolder(frames, frames, rate_in(rate))
    ending = "" if name.lower().endswith(VIDEOS) else ".mp4"
    files = (f"{name}{ending}", f"Videos/{name}{ending}")
    found = next((f for f in files if os.path.exists(os.path.join(root, f))), files[-1])
    file = file_in(root, found, where)
    return name, VideoFile(file, file, origin=f" ({where})")
