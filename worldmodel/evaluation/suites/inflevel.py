"""InfLevel-lab (Weihs et al. 2022): filmed pairs that are told apart by what was shown before.

    continuity.csv  gravity.csv  solidity.csv     a pair in each row
    <property>/<video>.mp4

The lists are those of the evaluation by Garrido et al. 2025 (arXiv:2502.11831). Of each video they
say where its two primings end: there it is shown, for example, whether a tube has a bottom. The
primings are no part of what is scored; a model without a memory (`memory=short`) never sees them,
which makes gravity and solidity unsolvable for it.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass

from worldmodel.datasets.listing import VideoFile
from worldmodel.errors import ConfigError, VideoError, nearest
from worldmodel.evaluation.suites.suite import Suite, SuiteClip
from worldmodel.evaluation.suites.table import Row, file_in, rows_of

PROPERTIES = ("continuity", "gravity", "solidity")
LABELS = {"possible": True, "impossible": False}
_SHARED = 4  # parts of a name that a scene's clips share: view, property, cover, object


@dataclass(frozen=True)
class InfLevel(Suite):
    """A pair of videos in each row of the lists.

    A scene is one cover and one object in one view: its pairs are not independent. Of a video,
    what is scored begins with the frame after the second priming (`vid1_end_priming_2` + 1).

    Attributes:
        lists: the folder of the lists, if they are not beside the videos.
        properties: which of them to read; each has to be there.
    """

    lists: str | None = None
    properties: Sequence[str] = PROPERTIES

    def __post_init__(self) -> None:
        for name in self.properties:
            if name not in PROPERTIES:
                raise ConfigError(f"no property '{name}' of InfLevel: {nearest(name, PROPERTIES)}")

    def listed(self, path: str) -> list[SuiteClip]:
        """The videos of all rows, list by list."""
        columns = [f"vid{k}_{name}" for k in (1, 2) for name in ("path", "end_priming_2", "label")]
        clips, pairs = [], dict[str, int]()
        for what in self.properties:
            for row in rows_of(os.path.join(self.lists or path, f"{what}.csv"), columns):
                scene = _scene(what, row)
                pairs[scene] = pairs.get(scene, -1) + 1
                clips += [_clip(path, what, row, k, scene, pairs[scene]) for k in (1, 2)]
        return clips


def _scene(what: str, row: Row) -> str:
    """The scene that both videos of a row are of."""
    where, values = row
    stems = [os.path.splitext(os.path.basename(values[f"vid{k}_path"]))[0] for k in (1, 2)]
    first, second = ("__".join(stem.split("__")[:_SHARED]) for stem in stems)
    if first != second:
        raise VideoError(
            f"{where}: pairs {stems[0]} with {stems[1]}, which are of different scenes; fetch the "
            "list again"
        )
    return f"{what}/{first}"


def _clip(path: str, what: str, row: Row, k: int, scene: str, pair: int) -> SuiteClip:
    where, values = row
    name, end, label = (values[f"vid{k}_{key}"] for key in ("path", "end_priming_2", "label"))
    if label not in LABELS:
        raise VideoError(
            f"{where}: label '{label[:60]}' is neither possible nor impossible; correct it"
        )
    if name.split("/")[0] != what:
        raise VideoError(
            f"{where}: names {name} of another folder than {what}, which the list is of; fetch it "
            "again"
        )
    if not end.isdecimal():
        raise VideoError(
            f"{where}: vid{k}_end_priming_2 is '{end[:60]}', not the number of a frame"
        )
    file = file_in(path, name, where)
    video = VideoFile(file, file, origin=f" ({where})")
    start = int(end) + 1
    return SuiteClip(name, scene, what, "", pair, LABELS[label], None, None, video, start=start)
