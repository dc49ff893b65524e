"""`worldmodel data make`: matched clips to be surprised by, and clips of the same worlds to learn.

What is made is written beside its place under a hidden name, scene by scene, and takes its place
when all of it is there. Started again after an interruption it goes on with the first scene that is
missing. Knows nothing of worlds: the configuration names what draws the scenes.
"""

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import torch
from einops import rearrange
from PIL import Image

from worldmodel.errors import ConfigError, nearest
from worldmodel.runs.lock import LOCK, locked
from worldmodel.runs.progress import ProgressBar
from worldmodel.runs.run import Run
from worldmodel.storage.files import whole_file, write_table, writing_output
from worldmodel.tools.conversion.encode_video import encode

TRAIN = "train"  # the part of which nothing is impossible
_POSSIBLE = (True, True, False, False)  # of the clips of a scene; pairs are 1 and 3, 2 and 4
_LOSSLESS = 0  # H.264's quality: what is the same in two clips is the same in their files
_FACTS, _LABELS, _RATE = "suite.json", "labels.csv", "fps.txt"


class Scene(Protocol):
    """Two clips that can happen, and the two that begin as those and go on as the other.

    Attributes:
        clips: 4 t h w c, uint8.
        event: the frame, counted from 0, in which a pair's clips part.
    """

    @property
    def clips(self) -> np.ndarray: ...  # noqa: D102

    @property
    def event(self) -> int: ...  # noqa: D102


class Suite(Protocol):
    """Draws scenes by their numbers, the same ones every time.

    Attributes:
        parts: names of its parts, `train` among them.
        conditions: such as `occluded`; in a `control` all four clips can happen.
        properties: such as `permanence`.
    """

    @property
    def parts(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def conditions(self) -> Sequence[str]: ...  # noqa: D102

    @property
    def properties(self) -> Sequence[str]: ...  # noqa: D102

    def quadruplet(self, part: str, condition: str, property: str, number: int) -> Scene:
        """A scene of any part but `train`."""

    def training_clip(self, number: int) -> np.ndarray:
        """A clip that can happen, of no scene of another part: t h w c, uint8."""


@dataclass(frozen=True)
class ClipFormat:
    """The size, length and rate of clips.

    Attributes:
        size: height and width in pixels.
        num_frames: of each clip.
        fps: frames per second.
    """

    size: int = 64
    num_frames: int = 24
    fps: float = 5.0


@dataclass(frozen=True)
class Label:
    """A clip as `labels.csv` lists it; what a training clip has not is left empty.

    Attributes:
        path: of its MP4, in the suite's folder.
        scene: what its four clips share, and no others of the part.
        condition, property: of the scene.
        pair: 1 or 2: clips of a scene that are compared.
        possible: whether it can happen; of a control it says which clip of the pair stands for the
            impossible one.
        fps: frames per second.
        event_frame: the first frame, counted from 0, in which the clips of the pair differ.
    """

    path: str
    scene: str
    condition: str
    property: str
    pair: int | None
    possible: bool
    fps: float
    event_frame: int | None


_CLIP = ClipFormat()


def make(
    run: Run,
    *,
    suite: str,
    suites: Mapping[str, Callable[..., Suite]],
    output: str | None = None,
    n: int = 20,
    train_clips: int = 1000,
    parts: Sequence[str] = (TRAIN, "test", "shifted"),
    clip: ClipFormat = _CLIP,
    seed: int = 0,
) -> dict[str, float]:
    """Write a suite of matched clips in IntPhys's layout, and clips to learn from.

    Args:
        run: Where progress is shown.
        suite: Which.
        suites: What draws each, with the size, length, rate and seed of the clips.
        output: The folder to write, which must not be there; `suites/SUITE-SEED` if None.
        n: Scenes of each condition and property, in each part but `train`.
        train_clips: Clips in the part `train`, all of which can happen.
        parts: What to write: `train`, `dev` to choose settings with, `test`, and `shifted`.
        clip: Size, length and rate of the clips.
        seed: Of all scenes; those of different parts are different whatever it is.

    Returns:
        `scenes`, `clips` (of both kinds), `train_clips`, and `frames`.

    Raises:
        ConfigError: an unknown suite or part, a number below 1, or an output that is there or
            cannot be written.
        RunError: another process writes the output.
    """
    if suite not in suites:
        raise ConfigError(f"suite={suite}: {nearest(str(suite), suites)}")
    for name, value in (("n", n), ("train_clips", train_clips)):
        if value < 1:
            raise ConfigError(f"{name} must be at least 1, got {value}")
    drawn = suites[suite](**asdict(clip), seed=seed)
    if unknown := next((part for part in parts if part not in drawn.parts), None):
        raise ConfigError(f"parts={unknown}: {nearest(str(unknown), drawn.parts)}")
    if not parts or len(set(parts)) < len(parts):
        raise ConfigError(f"parts={[*parts]}: name each once, from {', '.join(drawn.parts)}")
    folder = Path(output if output is not None else f"suites/{suite}-{seed}")
    if os.path.lexists(folder):
        raise ConfigError(f"output={folder}: is there already; name a new folder, or remove it")
    facts = {
        "suite": suite, "seed": seed, "n": n, "train_clips": train_clips, "parts": [*parts],
        **asdict(clip),
    }  # fmt: skip
    unfinished = folder.with_name(f".{folder.name}.unfinished")
    with writing_output(str(folder)), locked(unfinished):
        _begin(unfinished, facts)
        writer = _Writer(unfinished, drawn, clip.fps)
        scenes = n * len(drawn.conditions) * len(drawn.properties)
        counts = [train_clips if part == TRAIN else scenes for part in parts]
        with run.progress(sum(counts), "make") as bar:
            labels = [label for part in parts for label in writer.part(part, n, train_clips, bar)]
        write_table(unfinished / _LABELS, Label, labels)
        with suppress(FileNotFoundError):
            (unfinished / LOCK).unlink()  # the folder goes on without it
        os.rename(unfinished, folder)
    run.say(f"{folder}: {len(labels)} clips")
    of_train = train_clips if TRAIN in parts else 0
    return {
        "scenes": (len(labels) - of_train) / 4, "clips": len(labels), "train_clips": of_train,
        "frames": len(labels) * clip.num_frames,
    }  # fmt: skip


def _begin(folder: Path, facts: Mapping[str, Any]) -> None:
    """Keep what an interrupted run has written with these settings; remove anything else."""
    path, text = folder / _FACTS, json.dumps(facts, indent=1)
    if path.is_file() and path.read_text(encoding="utf-8") == text:
        return
    for left in folder.iterdir():
        if left.is_dir():
            shutil.rmtree(left)
        elif left.name != LOCK:
            left.unlink()
    with whole_file(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _video(part: str, scene: str, index: int) -> str:
    """A scene's clip as a video: not beside its images, so that either is all that a folder has."""
    return f"videos/{part}/{scene}_{index + 1}.mp4"


@dataclass(frozen=True)
class _Writer:
    """Writes the parts of a suite that are missing.

    Attributes:
        folder: Of the suite.
        suite: What draws it.
        fps: Frames per second.
    """

    folder: Path
    suite: Suite
    fps: float

    def part(self, part: str, n: int, train_clips: int, bar: ProgressBar) -> list[Label]:
        """All of a part."""
        place = self.folder / part
        place.mkdir(exist_ok=True)
        (place / _RATE).write_text(f"{self.fps:g}\n", encoding="utf-8")
        labels: list[Label] = []
        if part == TRAIN:
            for number in range(train_clips):
                labels.append(self._training_clip(place, number))
                bar.advance()
            return labels
        for condition in self.suite.conditions:
            for what in self.suite.properties:
                for number in range(n):
                    labels += self._scene(place, condition, what, number)
                    bar.advance()
        return labels

    def _training_clip(self, place: Path, number: int) -> Label:
        path = place / f"{number + 1:06d}.mp4"
        if not path.exists():
            self._encode(path, self.suite.training_clip(number))
        name = path.relative_to(self.folder).as_posix()
        return Label(name, "", "", "", None, True, self.fps, None)

    def _scene(self, place: Path, condition: str, what: str, number: int) -> list[Label]:
        scene = self.suite.quadruplet(place.name, condition, what, number)
        name = f"{condition}_{what}/{number + 1:04d}"
        path = place / name
        if not path.exists():
            half = path.with_name(f".{path.name}.unfinished")
            if half.exists():  # a killed run was writing it
                shutil.rmtree(half)
            for index, (clip, possible) in enumerate(zip(scene.clips, _POSSIBLE, strict=True)):
                self._clip(half / str(index + 1), clip, possible=possible, event=scene.event)
                self._encode(self.folder / _video(place.name, name, index), clip)
            os.rename(half, path)
        return [
            Label(
                _video(place.name, name, index), name, condition, what, index % 2 + 1, possible,
                self.fps, scene.event,
            )
            for index, possible in enumerate(_POSSIBLE)
        ]  # fmt: skip

    def _clip(self, folder: Path, clip: np.ndarray, *, possible: bool, event: int) -> None:
        """A clip as numbered images, with what is known of it."""
        images = folder / "scene"
        images.mkdir(parents=True)
        for number, image in enumerate(clip):
            Image.fromarray(image).save(images / f"scene_{number + 1:03d}.png")
        header = {"is_possible": possible, "fps": self.fps, "event_frame": event}
        text = json.dumps({"header": header}, indent=1)
        (folder / "status.json").write_text(text, encoding="utf-8")

    def _encode(self, path: Path, clip: np.ndarray) -> None:
        frames = rearrange(torch.from_numpy(clip), "t h w c -> t c h w")
        chunks = iter([(frames, np.arange(len(clip)) / self.fps)])
        encode(path, chunks, quality=_LOSSLESS, full_colour=True)
