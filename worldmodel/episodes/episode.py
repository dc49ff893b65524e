"""One episode and its file: the writer beside the reader.

A file is safetensors with `frames`, `times`, optionally `actions`, and `info.<name>`; its header
carries strings. Knows nothing of environments, and nothing of folders (`folder.py`).
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from worldmodel.errors import EpisodeError
from worldmodel.storage.files import require_file, whole_file
from worldmodel.storage.tensors import write_safetensors
from worldmodel.types import Clip

FORMAT_VERSION = 1
REMEDY = "remove the file or collect the episode again"


def require(ok: bool, message: str) -> None:
    """Raise an `EpisodeError` with this message where something is not so."""
    if not ok:
        raise EpisodeError(message)


@dataclass(frozen=True)
class Episode:
    """One episode: frames, their times, the actions between them, and infos of the environment.

    `actions[i]` leads from `frames[i]` to `frames[i + 1]`; `actions=None` is a video only.
    An info array has one entry per frame, except those named `*_image`: one image (h w c,
    uint8) for the whole episode.

    Raises:
        EpisodeError: lengths differ, or values are not as stated.
    """

    frames: Tensor  # t h w c, uint8
    times: Tensor  # t, float64, seconds, increasing
    actions: Tensor | None = None  # t-1 a, float32, finite, in the environment's units
    info: Mapping[str, Tensor] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    source: str = ""  # the file it was read from; empty if it was not

    def __post_init__(self) -> None:
        f, times = self.frames, self.times
        require(
            f.ndim == 4 and f.shape[-1] == 3 and f.dtype == torch.uint8 and f.numel() > 0,
            f"frames must be t h w 3, uint8, not empty; got {tuple(f.shape)} {f.dtype}",
        )
        require(times.dtype == torch.float64, f"times must be float64, got {times.dtype}")
        require(
            times.shape == f.shape[:1],
            f"{len(f)} frames need as many times, got shape {tuple(times.shape)}",
        )
        require(
            bool(times.isfinite().all()) and bool((times.diff() > 0).all()),
            "times must be finite and increase",
        )
        self._check_actions()
        for name, values in self.info.items():
            require(
                name.endswith("_image") or (values.ndim > 0 and len(values) == len(f)),
                f"info '{name}' must have an entry for each of {len(f)} frames, "
                f"got shape {tuple(values.shape)}",
            )

    def _check_actions(self) -> None:
        a = self.actions
        if a is None:
            return
        require(
            a.ndim == 2 and len(a) == len(self.frames) - 1,
            f"{len(self.frames)} frames need {len(self.frames) - 1} actions (t-1 a), "
            f"got shape {tuple(a.shape)}",
        )
        require(a.dtype == torch.float32, f"actions must be float32, got {a.dtype}")
        bad = (~a.isfinite().all(dim=1)).nonzero().flatten().tolist()
        require(not bad, f"{len(bad)} actions are NaN or infinite, the first at step {bad[:1]}")

    def __len__(self) -> int:
        return len(self.frames)

    @staticmethod
    def from_numpy(
        frames: np.ndarray,
        actions: np.ndarray | None,
        *,
        fps: float,
        info: Mapping[str, np.ndarray] | None = None,
        metadata: Mapping[str, str] | None = None,
    ) -> "Episode":
        """From `t h w c` uint8 frames at a constant rate `fps` and `t-1 a` actions."""
        return Episode(
            torch.from_numpy(np.ascontiguousarray(frames)),
            torch.arange(len(frames), dtype=torch.float64) / fps,
            None if actions is None else torch.from_numpy(np.array(actions, dtype=np.float32)),
            {name: torch.from_numpy(np.array(values)) for name, values in (info or {}).items()},
            dict(metadata or {}),
        )

    def clip(self, num_frames: int | None = None) -> Clip:
        """The first frames, all if None, as a batch of one: frames 1 t c h w, times 1 t.

        Raises:
            EpisodeError: the episode is shorter than that.
        """
        t = len(self.frames) if num_frames is None else num_frames
        require(
            1 <= t <= len(self.frames),
            f"a clip of {t} frames of an episode of {len(self.frames)}; ask for fewer",
        )
        frames = self.frames[:t].movedim(-1, 1).contiguous()
        return Clip.from_uint8(frames[None], self.times[None, :t], sources=(self.source,))


def write_episode(episode: Episode, path: Path | str) -> Path:
    """Write one episode file, completely or not at all."""
    path = Path(path)
    tensors = {"frames": episode.frames, "times": episode.times}
    if episode.actions is not None:
        tensors["actions"] = episode.actions
    tensors |= {f"info.{name}": values for name, values in episode.info.items()}
    header = {"format_version": str(FORMAT_VERSION), **episode.metadata}
    with whole_file(path) as temporary:
        write_safetensors(tensors, temporary, header)
        _order_header(temporary)
    return path


def _order_header(path: Path) -> None:
    """Sort the strings of a header in place: safetensors writes them in a random order.

    So the same episode is the same bytes.
    """
    with path.open("r+b") as file:
        size = int.from_bytes(file.read(8), "little")
        entries = json.loads(file.read(size))
        entries["__metadata__"] = dict(sorted(entries["__metadata__"].items()))
        text = json.dumps(entries, separators=(",", ":"), ensure_ascii=False).encode().ljust(size)
        if len(text) == size:  # else the strings are escaped in another way: leave them
            file.seek(8)
            file.write(text)


def read_episode(path: Path | str) -> Episode:
    """Read one episode file.

    Raises:
        EpisodeError: naming the file, what is wrong with it and what to do.
    """
    path = Path(path)
    with open_episode(path) as file:
        header = dict(file.metadata() or {})
        version = header.pop("format_version", "none")
        if version != str(FORMAT_VERSION):
            raise EpisodeError(
                f"{path}: episode format {version}, this version reads {FORMAT_VERSION}; {REMEDY}"
            )
        names = set(file.keys())
        missing = {"frames", "times"} - names
        if missing:
            raise EpisodeError(f"{path}: has no {' and no '.join(sorted(missing))}; {REMEDY}")
        tensors = {name: file.get_tensor(name) for name in names}
    info = {k.removeprefix("info."): v for k, v in tensors.items() if k.startswith("info.")}
    try:
        return Episode(
            tensors["frames"],
            tensors["times"],
            tensors.get("actions"),
            dict(sorted(info.items())),
            header,
            str(path),
        )
    except EpisodeError as cause:
        raise EpisodeError(f"{path}: {cause}; {REMEDY}") from cause


def open_episode(path: Path) -> safe_open:
    """The opened file, its header read and its tensors not.

    Raises:
        EpisodeError: not a regular file, or not complete.
    """
    require_file(path, "episode", EpisodeError)
    try:
        return safe_open(path, framework="pt")
    except (SafetensorError, OSError) as cause:
        raise EpisodeError(
            f"{path}: not a valid safetensors file ({cause}), truncated or of another program; "
            f"{REMEDY}"
        ) from cause


@dataclass(frozen=True)
class FolderInfo:
    """The contents of `episodes.json`: facts about all the episodes of a folder."""

    env_id: str  # gymnasium id, or what stands for it
    fps: float  # environment steps per second of the world's time
    action_low: tuple[float, ...]  # a; empty where no episode has actions
    action_high: tuple[float, ...]  # a
    count: int = 0
    seeds: tuple[int, ...] = ()  # of the resets, one per episode; empty if unknown
    held_out: tuple[int, ...] = ()  # numbers of the episodes that nothing is trained on
    action_choices: tuple[int, ...] = ()  # a: alternatives of each; empty where they are numbers
    format_version: int = FORMAT_VERSION
