"""Draw every violation of our suites as a contact sheet: python -m benchmarks.suite_sheets."""

import sys
from pathlib import Path

from benchmarks.suites import FRAMES, SUITES
from worldmodel.envs.suites.flat import PROPERTIES, FlatSuite
from worldmodel.envs.suites.quadruplet import Quadruplet
from worldmodel.tools.contact_sheet import Strip, write_sheet

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "suites"
SIZE, FPS = 96, 5.0
# Of a scene, the clip that can happen is drawn where it is hidden; else the spliced one says all.
CLIPS = {"occluded": {0: "possible", 2: "impossible"}, "visible": {2: "impossible"},
         "control": {2: "possible too"}}  # fmt: skip


def sheet(name: str, folder: Path, *, number: int = 1) -> Path:
    """The scenes of this number of a suite, by property."""
    suite = SUITES[name](size=SIZE, num_frames=FRAMES, fps=FPS)
    strips = [strip for what in PROPERTIES for strip in _strips(suite, what, number)]
    return write_sheet(strips, folder / f"{name}.png")


def _strips(suite: FlatSuite, what: str, number: int) -> list[Strip]:
    found = []
    for condition, clips in CLIPS.items():
        scene = suite.quadruplet("test", condition, what, number)
        for clip, said in clips.items():
            frames = shown(scene)
            images = [scene.clips[clip][t] for t in frames]
            times = [t / FPS for t in frames]
            found.append(Strip(f"{what}, {condition}: {said}", images, times))
    return found


def shown(scene: Quadruplet) -> list[int]:
    """The frames before and after what is hidden, or before and after the cut."""
    hidden = scene.event - scene.run
    return [
        max(0, hidden - 5), *range(hidden - 3, hidden), scene.cut,
        *(min(t, FRAMES - 1) for t in range(scene.event, scene.event + 5, 2)),
    ]  # fmt: skip


if __name__ == "__main__":
    for suite_name in sys.argv[1:] or SUITES:
        print(sheet(suite_name, FOLDER))
