"""The role of a suite: matched clips on disk, of which some show what cannot happen.

A new suite is one new file in this folder, a frozen dataclass whose fields are its options, and one
YAML in `configs/suite/`. Knows nothing of models and of scores.
"""

import os
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

from worldmodel.datasets.catalogue import Item
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.arguments import counted

CONTROL = "control"  # the condition whose clips can all happen


@dataclass(frozen=True)
class SuiteData:
    """Where a published suite is.

    Attributes:
        path: its folder, as it was published.
    """

    path: str | None = None


@dataclass(frozen=True)
class SuiteClip:
    """One clip of a suite, not opened yet.

    Attributes:
        name: names it in messages and in the results: its path below the suite's folder.
        scene: its clips are matched with one another, and are not independent.
        property: what is violated where something is, such as `permanence`.
        condition: `visible`, `occluded`, or `control` where all clips can happen; empty where the
            suite does not tell.
        pair: clips of a scene with the same number are compared; None where only their frames tell
            which belong together (`matching.py`).
        possible: whether it can happen; None where the suite keeps that to itself.
        fps: frames per second; None where the file says it.
        event: seconds after the first frame at which it becomes impossible, where the suite tells.
        read: what opens as its video: `read.open(decoding)`.
        start: the first frame that is scored. Those before it are a priming, which shows what the
            rest depends on.
    """

    name: str
    scene: str
    property: str
    condition: str
    pair: int | None
    possible: bool | None
    fps: float | None
    event: float | None
    read: Item
    start: int = 0

    def group(self) -> tuple[str, str, str]:
        """Condition, property and scene: only clips in which they are the same are compared."""
        return self.condition, self.property, self.scene


class Suite(ABC):
    """Matched clips on disk. Subclasses are frozen dataclasses; their fields are options."""

    @final
    def clips(self, path: str) -> list[SuiteClip]:
        """All clips in the folder of a suite, in a fixed order. No frame is decoded.

        Args:
            path: the folder, as the suite was published.

        Raises:
            VideoError: naming the file, clip or scene that is missing, not of this layout, without
                its counterpart, or whose label contradicts the others.
        """
        if not os.path.isdir(path):
            raise VideoError(f"{path}: is no folder; say where the suite is with data.path=")
        clips = self.listed(path.rstrip(os.sep) or path)
        if not clips:
            raise VideoError(f"{path}: holds no clip of {type(self).__name__}; check the path")
        require_pairs(clips)
        return clips

    @abstractmethod
    def listed(self, path: str) -> list[SuiteClip]:
        """What `clips` gives, before it is checked that no clip is without its counterpart.

        Args:
            path: a folder that is there.
        """

    def submission(self, path: str, surprises: Mapping[str, float], folder: Path) -> Path:
        """Write the file that the authors of a suite without labels score.

        Only a suite that lists clips with `possible=None` has one.

        Args:
            path: the folder of the suite.
            surprises: of each clip, by its name.
            folder: where the file goes.

        Returns:
            The file.
        """
        raise ConfigError(
            f"{type(self).__name__} has no form for a submission; name a labelled split"
        )


def require_pairs(clips: Sequence[SuiteClip]) -> None:
    """Refuse clips without a counterpart, and names that are there twice.

    Raises:
        VideoError: naming the scene or the clip.
    """
    name, times = Counter(clip.name for clip in clips).most_common(1)[0]
    if times > 1:
        raise VideoError(f"{name}: is in the suite {times} times; leave all but one out")
    groups: dict[tuple[tuple[str, str, str], int | None], list[SuiteClip]] = {}
    for clip in clips:
        groups.setdefault((clip.group(), clip.pair), []).append(clip)
    for ((condition, _, scene), pair), found in groups.items():
        labels = Counter(clip.possible for clip in found)
        if labels[None]:
            continue
        # Of a control all clips may be labelled possible.
        matched = labels[True] == labels[False] or (
            condition == CONTROL and not labels[False] and len(found) % 2 == 0
        )
        if not matched or (pair is not None and len(found) != 2):
            which = scene if pair is None else f"{scene}, pair {pair}"
            names = ", ".join(clip.name for clip in found)
            raise VideoError(
                f"{which}: has {counted(labels[True], 'possible clip')} and {labels[False]} "
                f"impossible ({names}), where each needs a counterpart; fetch the missing clip, or "
                "correct the label"
            )


def folders_in(path: str) -> list[str]:
    """The names of the folders in a folder, sorted, hidden ones left out."""
    with os.scandir(path) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and entry.name[0] != ".")
