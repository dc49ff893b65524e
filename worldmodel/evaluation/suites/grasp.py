"""GRASP, level 2 (Jassim et al. 2023, arXiv:2311.09048): videos of sixteen tests of physics.

P_<property>/<scene>.mp4     possible
IP_<property>/<scene>.mp4    the same scene, impossible
"""

import os
from dataclasses import dataclass

from worldmodel.datasets.listing import VIDEOS, VideoFile, names_in
from worldmodel.errors import VideoError
from worldmodel.evaluation.suites.suite import Suite, SuiteClip, folders_in

_POSSIBLE, _IMPOSSIBLE = "P_", "IP_"


@dataclass(frozen=True)
class Grasp(Suite):
    """Pairs of videos of the same name, for each property."""

    def listed(self, path: str) -> list[SuiteClip]:
        """The videos of all properties, in the order of their names."""
        folders = folders_in(path)
        pairs = dict.fromkeys(
            folder.removeprefix(start)
            for folder in folders
            for start in (_POSSIBLE, _IMPOSSIBLE)
            if folder.startswith(start)
        )
        if not pairs:
            raise VideoError(
                f"{path}: has no folders P_<property> and IP_<property>; check data.path="
            )
        return [clip for what in sorted(pairs) for clip in _of(path, what)]


def _of(path: str, what: str) -> list[SuiteClip]:
    """The clips of a property."""
    clips = []
    for start, possible in ((_POSSIBLE, True), (_IMPOSSIBLE, False)):
        folder = f"{start}{what}"
        for name in names_in(os.path.join(path, folder)):
            if not name.lower().endswith(VIDEOS) or name[0] == ".":
                continue
            file = os.path.join(path, folder, name)
            scene = f"{what}/{os.path.splitext(name)[0]}"
            clips.append(
                SuiteClip(
                    f"{folder}/{name}", scene, what, "", 0, possible, None, None,
                    VideoFile(file, file),
                )
            )  # fmt: skip
    return clips
