"""Published suites of matched clips, made small in a folder."""

import csv
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np
from PIL import Image

from worldmodel.evaluation.suites.grasp import Grasp
from worldmodel.evaluation.suites.inflevel import InfLevel
from worldmodel.evaluation.suites.intphys import IntPhys
from worldmodel.evaluation.suites.intphys2 import IntPhys2
from worldmodel.evaluation.suites.suite import Suite

SIDE, LENGTH, EVENT = 16, 12, 6  # pixels; frames; the first frame that differs


@dataclass(frozen=True)
class MadeSuite:
    """A suite in a folder, and what has to be found in it.

    Attributes:
        path: the folder.
        suite: its layout.
        pairs: names of the possible and the impossible clip of each pair.
        properties: of its clips, in order.
        fps: of its clips, where they say it.
    """

    path: Path
    suite: Suite
    pairs: set[tuple[str, str]]
    properties: list[str]
    fps: float | None


def grey(levels: Sequence[int]) -> np.ndarray:
    """Frames t h w c, each of one grey level."""
    frames = np.repeat(np.array(levels, np.uint8), SIDE * SIDE * 3)
    return frames.reshape(len(levels), SIDE, SIDE, 3)


def clip_levels(first: int, second: int) -> list[int]:
    """Grey levels of a clip that begins one way and ends another way."""
    return [first] * EVENT + [second] * (LENGTH - EVENT)


def write_frames(folder: Path, frames: np.ndarray) -> None:
    folder.mkdir(parents=True)
    for number, frame in enumerate(frames, start=1):
        Image.fromarray(frame).save(folder / f"scene_{number:03d}.png")


def write_video(path: Path, frames: np.ndarray, fps: int = 10) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=fps)
        stream.height, stream.width, stream.pix_fmt = *frames.shape[1:3], "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))


def write_table(path: Path, rows: Sequence[dict[str, object]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)


def write_status(clip: Path, *, possible: bool, **header: object) -> None:
    (clip / "status.json").write_text(
        json.dumps({"header": {"is_possible": possible, **header}, "frames": []})
    )


def write_scene(
    scene: Path, clips: dict[str, tuple[bool | None, np.ndarray]], **header: object
) -> None:
    """A scene of IntPhys: for each clip its label, if it has one, and its frames."""
    for number, (possible, frames) in clips.items():
        write_frames(scene / number / "scene", frames)
        if possible is not None:
            write_status(scene / number, possible=possible, **header)


def quartet(*, labelled: bool = True) -> dict[str, tuple[bool | None, np.ndarray]]:
    """Two possible clips, 1 and 4, and two that begin as one of them and end as the other.

    Clip 2 begins as clip 4, and clip 3 as clip 1.
    """
    made = {"1": (True, 50, 60), "2": (False, 90, 60), "3": (False, 50, 95), "4": (True, 90, 95)}
    return {
        number: (possible if labelled else None, grey(clip_levels(*levels)))
        for number, (possible, *levels) in made.items()
    }


def intphys(root: Path) -> MadeSuite:
    for block in ("O1", "O3"):
        for scene in ("01", "02"):
            write_scene(root / "dev" / block / scene, quartet())
    scenes = [f"{block}/{scene}" for block in ("O1", "O3") for scene in ("01", "02")]
    pairs = {(f"{s}/{p}", f"{s}/{i}") for s in scenes for p, i in (("1", "3"), ("4", "2"))}
    return MadeSuite(root, IntPhys(), pairs, ["permanence", "continuity"], 15.0)


def ours(root: Path) -> MadeSuite:
    """A suite of ours in the layout of IntPhys, with a control whose clips are all possible."""
    (root / "occluded_permanence").mkdir()
    (root / "occluded_permanence" / "fps.txt").write_text("10\n")
    write_scene(root / "occluded_permanence" / "a", quartet(), event_frame=EVENT)
    control = {number: (True, frames) for number, (_, frames) in quartet().items()}
    write_scene(root / "control_colour" / "a", control, fps=10)
    pairs = {
        ("occluded_permanence/a/1", "occluded_permanence/a/3"),
        ("occluded_permanence/a/4", "occluded_permanence/a/2"),
        ("control_colour/a/1", "control_colour/a/3"),
        ("control_colour/a/2", "control_colour/a/4"),
    }
    return MadeSuite(root, IntPhys(), pairs, ["colour", "permanence"], 10.0)


def grasp(root: Path) -> MadeSuite:
    for what in ("Gravity", "ObjectPermanence2"):
        for scene in ("1", "2"):
            write_video(root / f"P_{what}" / f"{scene}.mp4", grey(clip_levels(50, 60)))
            write_video(root / f"IP_{what}" / f"{scene}.mp4", grey(clip_levels(50, 200)))
    pairs = {
        (f"P_{what}/{scene}.mp4", f"IP_{what}/{scene}.mp4")
        for what in ("Gravity", "ObjectPermanence2")
        for scene in ("1", "2")
    }
    return MadeSuite(root, Grasp(), pairs, ["Gravity", "ObjectPermanence2"], None)


PRIMED = 4  # frames of the priming of InfLevel


def inflevel(root: Path) -> MadeSuite:
    pairs = set()
    for what in ("continuity", "gravity", "solidity"):
        rows: list[dict[str, object]] = []
        for thing in ("duck", "ball"):
            names = [f"{what}/center__{what}__cup__{thing}__{code}.mp4" for code in ("cv", "ci")]
            row: dict[str, object] = {}
            for k, (name, label) in enumerate(zip(names, ("possible", "impossible"), strict=True)):
                primed = [20] * PRIMED
                levels = clip_levels(50, 60 if label == "possible" else 200)
                write_video(root / name, grey(primed + levels))
                row |= {
                    f"vid{k + 1}_path": name,
                    f"vid{k + 1}_start_priming_1": 0,
                    f"vid{k + 1}_end_priming_1": 0,
                    f"vid{k + 1}_start_priming_2": 1,
                    f"vid{k + 1}_end_priming_2": PRIMED - 1,
                    f"vid{k + 1}_label": label,
                }
            rows.append(row)
            pairs.add((names[0], names[1]))
        write_table(root / f"{what}.csv", rows)
    return MadeSuite(root, InfLevel(), pairs, ["continuity", "gravity", "solidity"], None)


def _scene_of_four(scene: str, what: str, column: str) -> list[dict[str, object]]:
    kinds = ("1_Possible", "1_Impossible", "2_Possible", "2_Impossible")
    return [
        {"SceneIndex": scene, "type": kind, "condition": what, column: f"{scene}_{kind}"}
        for kind in kinds
    ]


def _pairs_of_four(scenes: Sequence[str], ending: str = "") -> set[tuple[str, str]]:
    return {
        (f"{s}_{k}_Possible{ending}", f"{s}_{k}_Impossible{ending}") for s in scenes for k in (1, 2)
    }


def _levels(kind: object) -> list[int]:
    return clip_levels(50, 60 if str(kind).endswith("_Possible") else 200)


def intphys2(root: Path) -> MadeSuite:
    rows = [*_scene_of_four("0", "permanence", "name"), *_scene_of_four("1", "solidity", "name")]
    for row in rows:
        row["file_name"] = f"Videos/{row['name']}.mp4"
        write_video(root / "Main" / str(row["file_name"]), grey(_levels(row["type"])))
    write_table(root / "Main" / "metadata.csv", rows)
    pairs = {(f"Videos/{a}", f"Videos/{b}") for a, b in _pairs_of_four(["0", "1"], ending=".mp4")}
    return MadeSuite(root, IntPhys2(), pairs, ["permanence", "solidity"], None)


def intphys2_images(root: Path) -> MadeSuite:
    rows = _scene_of_four("7", "immutability", "filename")
    for row in rows:
        write_frames(root / "Images" / str(row["filename"]), grey(_levels(row["type"])))
    (root / "Images" / "fps.txt").write_text("10")
    write_table(root / "labels.csv", rows)
    return MadeSuite(root, IntPhys2(), _pairs_of_four(["7"]), ["immutability"], 10.0)


SUITES: dict[str, Callable[[Path], MadeSuite]] = {
    make.__name__: make for make in (intphys, ours, grasp, inflevel, intphys2, intphys2_images)
}
