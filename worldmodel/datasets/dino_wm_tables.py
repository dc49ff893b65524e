"""What DINO-WM keeps beside the frames: tables of all episodes, `n t ...`, padded to the longest.

`states.pth`, `actions.pth`, `rel_actions.pth`, `velocities.pth`, ... and `seq_lengths.pth` or
`.pkl`, which says how long each episode is; without it all are as long as the tables. What is of
another shape is not read, nor are other pickles.
"""

import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from worldmodel.datasets.array_video import looks_like_frames
from worldmodel.datasets.episode_source import choose
from worldmodel.datasets.listing import names_in, shown
from worldmodel.errors import EpisodeError
from worldmodel.storage.pickles import is_dense, is_held, read_list, read_torch

ACTIONS = ("rel_actions", "actions", "abs_actions")  # the first that is there; as DINO-WM has it
_NUMBERS = frozenset((
    torch.float16, torch.float32, torch.float64, torch.bool,
    torch.uint8, torch.int8, torch.int16, torch.int32, torch.int64,
))  # fmt: skip


@dataclass(frozen=True)
class Tables:
    """What lies beside the frames. Light and picklable: every item carries it.

    Attributes:
        root: The folder.
        names: The tables that have a row for every frame.
        action: The one of them that is the actions, if any.
    """

    root: str
    names: tuple[str, ...]
    action: str | None

    @classmethod
    def read(cls, root: str, action: str | None) -> "Tables":
        """Find the tables; `action` insists on one.

        Raises:
            EpisodeError: a file is damaged or would run code.
            ConfigError: there is no such table.
        """
        count, longest = _table(root, "states").shape[:2]
        names = []
        for file in names_in(root):
            stem, ending = os.path.splitext(file)
            if ending != ".pth" or stem == "seq_lengths":
                continue
            table = _table(root, stem) if stem in ACTIONS else _table_or_none(root, stem)
            if table is None:
                continue
            if table.shape[:2] == (count, longest):
                names.append(stem)
            elif stem in ACTIONS:
                raise EpisodeError(
                    f"{shown(os.path.join(root, file))}: has {tuple(table.shape[:2])} episodes and "
                    f"rows, states.pth {(count, longest)}; fetch them again"
                )
        if action is not None:
            action = choose("action", action, names, name=shown(root))
        else:
            action = next((name for name in ACTIONS if name in names), None)
        return cls(root, tuple(names), action)

    def lengths(self) -> list[int]:
        """Frames of each episode.

        Raises:
            EpisodeError: they do not fit the tables.
        """
        count, longest = _table(self.root, "states").shape[:2]
        kept, plain = (Path(self.root, f"seq_lengths{ending}") for ending in (".pth", ".pkl"))
        lengths: Any = [longest] * count
        path = kept if kept.exists() else plain
        if kept.exists():
            lengths = read_torch(kept, "list of lengths", EpisodeError)
            lengths = lengths.tolist() if _is_whole(lengths, kept) else lengths
        elif plain.exists():
            lengths = read_list(plain, "list of lengths", EpisodeError)
        if not isinstance(lengths, list) or len(lengths) != count or not all(
            type(n) is int and 1 <= n <= longest for n in lengths
        ):  # fmt: skip
            raise EpisodeError(
                f"{shown(str(path))}: is no list of {count} whole numbers from 1 to {longest}, as "
                f"states.pth has episodes and rows; fetch both again"
            )
        return lengths

    def rows(self, name: str, index: int, length: int) -> np.ndarray:
        """The rows of an episode, `t ...`, what is in a row flattened."""
        table = _table(self.root, name)
        if index >= len(table) or length > table.shape[1]:
            raise EpisodeError(f"{shown(self.root)}: {name}.pth has changed; begin again")
        rows = table[index, :length].numpy()
        return np.array(rows if rows.ndim < 3 else rows.reshape(length, -1))

    def numbers(self, index: int, length: int) -> tuple[np.ndarray | None, dict[str, np.ndarray]]:
        """The actions of an episode, and everything else."""
        rows = {name: self.rows(name, index, length) for name in self.names}
        return (rows.pop(self.action) if self.action else None), rows


def frame_files(root: str, count: int) -> list[str]:
    """Where the frames of each episode are.

    Raises:
        EpisodeError: those of one are nowhere.
    """
    together, alone = set(names_in(os.path.join(root, "obses"))), set(names_in(root))
    files = []
    for index in range(count):
        names = [f"episode_{index:03d}.mp4", f"episode_{index:03d}.pth"]
        name = next((name for name in names if name in together), None)
        if name is not None:
            files.append(os.path.join(root, "obses", name))
        elif f"{index:06d}" in alone:
            files.append(os.path.join(root, f"{index:06d}", "obses.pth"))
        else:
            raise EpisodeError(
                f"{shown(root)}: has no frames of episode {index}: neither obses/{names[0]} nor "
                f"obses/{names[1]} nor {index:06d}/obses.pth; fetch it again"
            )
    return files


def frame_table(path: str) -> Tensor:
    """The frames of an episode, `t h w c` or `t c h w`, uint8, left on disk.

    Raises:
        EpisodeError: they are something else.
    """
    frames = read_torch(Path(path), "file of frames", EpisodeError)
    if not _is_whole(frames, path) or not looks_like_frames(frames.numpy()):
        raise EpisodeError(f"{shown(path)}: holds no frames t h w c of uint8; fetch it again")
    return frames


def _table(root: str, name: str) -> Tensor:
    """A table `n t ...`, left on disk.

    Raises:
        EpisodeError: it is none.
    """
    table = _table_or_none(root, name)
    if table is None:
        raise EpisodeError(
            f"{shown(root)}: {shown(name)}.pth is no table of numbers, episodes x rows; fetch it "
            "again"
        )
    return table


def _table_or_none(root: str, name: str) -> Tensor | None:
    path = os.path.join(root, f"{name}.pth")
    status = Path(path).stat() if os.path.isfile(path) else None
    return _read(path, None if status is None else (status.st_mtime_ns, status.st_size))


@lru_cache(maxsize=16)  # as many as lie beside each other, and more
def _read(path: str, stamp: tuple[int, int] | None) -> Tensor | None:
    table = read_torch(Path(path), "table of episodes", EpisodeError)
    return table if _is_whole(table, path) and table.ndim >= 2 and table.numel() else None


def _is_whole(value: Any, path: str | Path) -> bool:
    """Whether it is a tensor of numbers that the file really holds."""
    return is_dense(value) and value.dtype in _NUMBERS and is_held(value, os.path.getsize(path))
