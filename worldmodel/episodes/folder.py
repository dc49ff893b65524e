"""Folders of episodes: `<index:06d>.safetensors` files and `episodes.json`, written last.

Knows nothing of what is inside an episode (`episode.py`), or of how segments are cut out of them
(`windows.py`).
"""

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from worldmodel.episodes.episode import (
    FORMAT_VERSION,
    REMEDY,
    Episode,
    FolderInfo,
    open_episode,
    read_episode,
    require,
    write_episode,
)
from worldmodel.episodes.store import EpisodeStore
from worldmodel.errors import EpisodeError
from worldmodel.storage.files import require_file, whole_file

EPISODE_FILE = re.compile(r"\d{6,}\.safetensors")


class EpisodeWriter:
    """Writes a folder of episodes; `episodes.json` comes last, so one without it is incomplete.

    Episodes that are already there stay (see `done`), which is how a collection goes on after an
    interruption.

    Example:
        with EpisodeWriter(folder, FolderInfo("worldmodel/TwoRoom-v0", 10.0, low, high)) as writer:
            writer.write(episode)
    """

    def __init__(self, folder: Path | str, info: FolderInfo) -> None:
        self.folder = Path(folder)
        self.info = info
        self.folder.mkdir(parents=True, exist_ok=True)
        (self.folder / "episodes.json").unlink(missing_ok=True)

    @property
    def done(self) -> frozenset[int]:
        """Indices of the episodes that the folder holds."""
        return frozenset(int(path.stem) for path in _episode_files(self.folder))

    def write(self, episode: Episode, index: int | None = None) -> Path:
        """Write `episode` as number `index`; without one, after the last that is there."""
        index = max(self.done, default=-1) + 1 if index is None else index
        return write_episode(episode, self.folder / f"{index:06d}.safetensors")

    def __enter__(self) -> "EpisodeWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            self.close()

    def close(self) -> None:
        """Write `episodes.json`, with the count and the seeds from the files' headers."""
        seeds = []
        paths = _episode_files(self.folder)
        for path in paths:
            with open_episode(path) as file:
                seeds.append((file.metadata() or {}).get("seed"))
        known = tuple(int(seed) for seed in seeds if seed is not None)
        done = replace(self.info, count=len(paths), seeds=known if len(known) == len(seeds) else ())
        with whole_file(self.folder / "episodes.json") as temporary:
            temporary.write_text(json.dumps(asdict(done), indent=1))


class Episodes(EpisodeStore):
    """The episodes of a folder, read from disk when asked for; slices are `Episodes` again.

    Args:
        folder: of the episodes, or of the run that collected them.

    Raises:
        EpisodeError: no such folder, no episodes, an unfinished folder, an unreadable header.
    """

    def __init__(self, folder: Path | str) -> None:
        folder = Path(folder)
        is_run = not (folder / "episodes.json").is_file() and (folder / "episodes").is_dir()
        folder = folder / "episodes" if is_run else folder
        self.folders: tuple[Path, ...] = (folder,)
        self.info = read_folder_info(folder)
        self.files = [EpisodeFile.read(path) for path in _episode_files(folder)]

    @staticmethod
    def of(folders: Sequence[Path], info: FolderInfo, files: Sequence["EpisodeFile"]) -> "Episodes":
        """Some episodes of one folder or of several; nothing is read."""
        view = object.__new__(Episodes)
        view.folders, view.info, view.files = tuple(folders), info, list(files)
        return view

    @property
    def name(self) -> str:
        """Where they are, for messages."""
        return ", ".join(map(str, self.folders))

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> Episode:
        """Episode number `index`, from 0."""
        return read_episode(self.files[index].path)

    def select(self, indices: Sequence[int]) -> "Episodes":
        """The episodes with these numbers."""
        return Episodes.of(self.folders, self.info, [self.files[index] for index in indices])

    @property
    def training(self) -> "Episodes":
        """Those that are not held out, which is what everything learns from."""
        return self._where(held_out=False)

    @property
    def held_out(self) -> "Episodes":
        """Those that nothing is trained on."""
        return self._where(held_out=True)

    def _where(self, *, held_out: bool) -> "Episodes":
        apart = set(self.info.held_out)
        return self.select([i for i, n in enumerate(self.numbers) if (n in apart) == held_out])

    @property
    def numbers(self) -> list[int]:
        """The number of each in the folder, which a selection keeps."""
        return [file.number for file in self.files]

    @property
    def paths(self) -> list[Path]:
        """The files, in order."""
        return [file.path for file in self.files]

    @property
    def lengths(self) -> list[int]:
        """Number of frames of each, from the headers alone."""
        return [file.num_frames for file in self.files]

    @property
    def has_actions(self) -> list[bool]:
        """True for each that has actions, from the headers alone."""
        return [file.has_actions for file in self.files]


@dataclass(frozen=True)
class EpisodeFile:
    """What the header of an episode's file tells."""

    path: Path
    number: int  # among the episodes that it belongs to
    num_frames: int
    size: tuple[int, int]  # h w, pixels
    has_actions: bool

    @staticmethod
    def read(path: Path) -> "EpisodeFile":
        """The header of a file.

        Raises:
            EpisodeError: it holds no frames.
        """
        with open_episode(path) as file:
            names = file.keys()
            require("frames" in names, f"{path}: has no frames; {REMEDY}")
            shape = file.get_slice("frames").get_shape()
        require(len(shape) == 4, f"{path}: frames are t h w c, got shape {shape}; {REMEDY}")
        return EpisodeFile(path, int(path.stem), shape[0], (shape[1], shape[2]), "actions" in names)


def _episode_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if EPISODE_FILE.fullmatch(p.name))


def read_folder_info(folder: Path) -> FolderInfo:
    """Read `episodes.json` and see that as many files are there as it names.

    Raises:
        EpisodeError: naming the folder, what is wrong with it and what to do.
    """
    require(folder.is_dir(), f"{folder}: no such folder of episodes; check the path or collect")
    path = folder / "episodes.json"
    require(
        path.exists(),
        f"{folder}: has no episodes.json, so it is no folder of episodes, or what wrote it was "
        f"interrupted; run that again (worldmodel collect, or data convert)",
    )
    info = _read_index(path)
    found = len(_episode_files(folder))
    require(
        found == info.count and found > 0,
        f"{folder}: holds {found} episode files, episodes.json names {info.count}; "
        f"collect or convert the episodes again",
    )
    return info


def _read_index(path: Path) -> FolderInfo:
    require_file(path, "episode index", EpisodeError)
    try:
        values = json.loads(path.read_text())
        version = values.get("format_version")
        require(
            version == FORMAT_VERSION,
            f"{path}: episode format {version}, this version reads {FORMAT_VERSION}; collect again",
        )
        return FolderInfo(
            env_id=str(values["env_id"]),
            fps=float(values["fps"]),
            action_low=tuple(map(float, values["action_low"])),
            action_high=tuple(map(float, values["action_high"])),
            action_choices=tuple(map(int, values.get("action_choices", ()))),
            count=int(values["count"]),
            seeds=tuple(map(int, values["seeds"])),
            held_out=tuple(map(int, values.get("held_out", ()))),
        )
    except (ValueError, TypeError, KeyError, AttributeError) as cause:
        raise EpisodeError(
            f"{path}: is not an episode index ({type(cause).__name__}: {cause}); "
            f"collect the episodes again"
        ) from cause
