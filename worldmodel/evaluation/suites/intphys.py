"""IntPhys (Riochet et al. 2018, arXiv:1803.07616), and suites of ours in its layout.

    dev/O1/<scene>/<1..4>/scene/*.png      frames
    dev/O1/<scene>/<1..4>/status.json      header.is_possible
    test/...                               the same without status.json

O1 is permanence, O2 shape, O3 continuity. Any other folder is named after a condition and a
property: `occluded_permanence`, `visible_colour`, `control_permanence`.
"""

import os
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from worldmodel.datasets.frame_folders import RATE_FILE, FrameFolder, rate_in
from worldmodel.datasets.published import json_of, lines_of
from worldmodel.errors import VideoError
from worldmodel.evaluation.suites.suite import CONTROL, Suite, SuiteClip, folders_in
from worldmodel.storage.files import whole_file

BLOCKS = {"O1": "permanence", "O2": "shape", "O3": "continuity"}
CONDITIONS = ("visible", "occluded", CONTROL)
PUBLISHED_FPS = 15.0  # of O1, O2 and O3
PUBLISHED_CLIPS = ["1", "2", "3", "4"]  # of each of their scenes
_TASKS, _ANSWER, _SUBMISSION = "task.txt", "answer.txt", "submission.zip"


class _Status(NamedTuple):
    """What the header of a `status.json` says of a clip."""

    possible: bool | None = None
    event: int | None = None  # frames
    fps: float | None = None


@dataclass(frozen=True)
class IntPhys(Suite):
    """Two possible and two impossible clips of each scene, as folders of images.

    Which of them are compared is found by their frames; see `matching.py`. The rate is
    `header.fps` of a clip, or the nearest `fps.txt` in a folder above its frames; O1, O2 and O3
    have 15 frames per second where neither is there. `header.event_frame`, where there is one, is
    the first frame that cannot happen. The condition of O1, O2 and O3 is told by the name of the
    scene, where that has the word `visible` or `occluded`, as of the first test set.

    Attributes:
        split: `dev`, or `test`, which has no labels: results are a file to submit.
    """

    split: Literal["dev", "test"] = "dev"

    def listed(self, path: str) -> list[SuiteClip]:
        """The clips in `<path>/<split>`, or in `path` where there is no folder of that name."""
        root, clips = self._root(path), []
        for folder in folders_in(root):
            _kind(root, folder, "")  # refuses what is no such folder, before its scenes are read
            for scene in folders_in(os.path.join(root, folder)):
                condition, what = _kind(root, folder, scene)
                place = os.path.join(root, folder, scene)
                numbers = _numbers(place, published=folder in BLOCKS)
                for number in numbers:
                    clips.append(self._clip(root, (folder, scene, number), condition, what))
        return clips

    def submission(self, path: str, surprises: Mapping[str, float], folder: Path) -> Path:
        """Write `submission.zip` with `answer.txt`: a line `O1/0001/1 0.9751` for each clip.

        The number is a plausibility between 0 and 1: 1 / (1 + surprise), which keeps their order.
        Clips have the names and the order of `task.txt` of the challenge, where it lies in `path`
        or beside the clips; otherwise those of their folders. In the first edition it names them
        `O1/0001_O1_test_visible_static_nobj1/1`; what comes after the number of a scene is not
        looked at.

        Raises:
            VideoError: `task.txt` names a clip that is not there, or leaves one out.
        """
        root = self._root(path)
        places = dict.fromkeys((path, root, os.path.dirname(root)))
        files = [file for place in places if os.path.isfile(file := os.path.join(place, _TASKS))]
        names = {name: name for name in surprises}
        if files:
            names = _tasks(files[0], surprises)
        lines = (f"{task} {1 / (1 + surprises[name]):.17g}\n" for task, name in names.items())
        target = folder / _SUBMISSION
        with whole_file(target) as temporary, zipfile.ZipFile(temporary, "w") as archive:
            archive.writestr(_ANSWER, "".join(lines))
        return target

    def _root(self, path: str) -> str:
        other = {"dev": "test", "test": "dev"}[self.split]
        inside = os.path.join(path, self.split)
        if not os.path.isdir(inside) and os.path.isdir(os.path.join(path, other)):
            raise VideoError(
                f"{path}: has a folder {other} and none called {self.split}; say "
                f"suite.split={other}, or fetch the other"
            )
        return inside if os.path.isdir(inside) else path

    def _clip(self, root: str, parts: tuple[str, str, str], condition: str, what: str) -> SuiteClip:
        folder, scene, number = parts
        place = os.path.join(root, *parts)
        frames = os.path.join(place, "scene")
        if not os.path.isdir(frames):
            raise VideoError(f"{place}: has no folder scene with its frames; fetch it again")
        file, labelled = os.path.join(place, "status.json"), self.split == "dev"
        status = _status(file, labelled=labelled) if labelled or os.path.exists(file) else _Status()
        if not labelled and status.possible is not None:
            raise VideoError(
                f"{file}: says whether the clip is possible, where split=test has no labels; read "
                "labelled clips with suite.split=dev"
            )
        fps = _rate(root, parts, status.fps)
        return SuiteClip(
            "/".join(parts), f"{folder}/{scene}", what, condition, None, status.possible, fps,
            None if status.event is None else status.event / fps,
            FrameFolder(frames, frames, fps),
        )  # fmt: skip


def _kind(root: str, folder: str, scene: str) -> tuple[str, str]:
    """The condition and the property of a folder."""
    if folder in BLOCKS:
        words = scene.split("_")
        found = [word for word in words if word in CONDITIONS[:2]]
        return found[0] if found else "", BLOCKS[folder]
    condition, _, what = folder.partition("_")
    if condition not in CONDITIONS or not what:
        raise VideoError(
            f"{os.path.join(root, folder)}: is no folder of a property: those are called "
            f"{', '.join(BLOCKS)}, or <condition>_<property> with a condition out of "
            f"{', '.join(CONDITIONS)}; move it away, or check data.path="
        )
    return condition, what


def _numbers(scene: str, *, published: bool) -> list[str]:
    """The clips of a scene, in the order of their numbers."""
    names = folders_in(scene)
    wrong = [name for name in names if not name.isdecimal()]
    if wrong:
        raise VideoError(f"{scene}: clips are numbered folders, {wrong[0]} is none; move it away")
    numbers = sorted(names, key=int)
    if published and numbers != PUBLISHED_CLIPS:
        raise VideoError(
            f"{scene}: holds the clips {', '.join(numbers) or 'none'}, where a scene has 1, 2, 3 "
            "and 4; fetch it again"
        )
    if not numbers:
        raise VideoError(f"{scene}: holds no clip; fetch it again, or remove it")
    return numbers


def _status(file: str, *, labelled: bool) -> _Status:
    status = json_of(file, "status of a clip")
    header: Any = status.get("header") if isinstance(status, dict) else None
    if not isinstance(header, dict):
        raise VideoError(f"{file}: has no header; fetch it again")
    possible, event, fps = (header.get(key) for key in ("is_possible", "event_frame", "fps"))
    if not isinstance(possible, bool) and (labelled or possible is not None):
        raise VideoError(
            f"{file}: header.is_possible is {possible!r}, not true or false; fetch it again"
        )
    if event is not None and (type(event) is not int or event < 0):
        raise VideoError(
            f"{file}: header.event_frame is {event!r}, not the number of a frame; correct it"
        )
    if fps is not None and (type(fps) not in (int, float) or not 0 < fps < 1e6):
        raise VideoError(
            f"{file}: header.fps is {fps!r}, not a number of frames per second; correct it"
        )
    return _Status(possible, event, None if fps is None else float(fps))


def _rate(root: str, parts: tuple[str, str, str], said: float | None) -> float:
    """Frames per second of a clip."""
    places = [os.path.join(root, *parts[:length], *end)
              for length, end in ((3, ("scene",)), (3, ()), (2, ()), (1, ()), (0, ()))]  # fmt: skip
    files = [file for place in places if os.path.isfile(file := os.path.join(place, RATE_FILE))]
    written = rate_in(files[0]) if files else None
    name = os.path.join(root, *parts)
    if said is not None and written is not None and said != written:
        raise VideoError(
            f"{name}: has {said:g} frames per second by its status.json and {written:g} by "
            f"{files[0]}; correct the wrong one"
        )
    rate = said or written or (PUBLISHED_FPS if parts[0] in BLOCKS else None)
    if rate is None:
        raise VideoError(
            f"{name}: nothing says how many frames per second it has; write it as header.fps into "
            f"its status.json, or into a file {RATE_FILE} beside the scenes"
        )
    return rate


def _tasks(file: str, surprises: Mapping[str, float]) -> dict[str, str]:
    """The clip of each line of `task.txt`."""
    names: dict[str, str] = {}
    for line, task in lines_of(file):
        parts = task.split("/")
        choices = (
            [task] if len(parts) != 3 else [task, f"{parts[0]}/{parts[1].split('_')[0]}/{parts[2]}"]
        )
        name = next((name for name in choices if name in surprises), None)
        if name is None or name in names.values():
            why = "is not there" if name is None else "is named twice"
            raise VideoError(f"{file}, line {line}: {task[:80]} {why}; fetch the test set again")
        names[task] = name
    missing = sorted(set(surprises) - set(names.values()))
    if missing:
        raise VideoError(
            f"{file}: leaves out {len(missing)} clips that are there (the first: {missing[0]}); "
            "fetch the test set again"
        )
    return names
