"""Labelled videos in memory, and how a pretraining reads them."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from worldmodel.loading.in_memory import ClipDataset, MemoryVideo
from worldmodel.loading.sources import ClipSource
from worldmodel.storage.tensors import read_tensors, save_tensors

FRAMES_PER_SECOND = 10

Part = Literal["train", "validation", "test"]
PARTS: tuple[Part, ...] = get_args(Part)


@dataclass(frozen=True)
class Videos:
    """Videos and what is known of them."""

    frames: Tensor  # n t c h w, uint8
    labels: dict[str, np.ndarray]  # n t ..., of each frame: classes (int64) or numbers (float64)

    def __len__(self) -> int:
        return len(self.frames)

    def __getitem__(self, part: slice) -> "Videos":
        return Videos(self.frames[part], {name: of[part] for name, of in self.labels.items()})


class InMemory(ClipSource):
    """Videos in memory, as something to pretrain on.

    Args:
        videos: what to learn from; the labels are not looked at.
        clips_per_video: clips of each video in a batch.
        flip: mirror half of the clips.
    """

    def __init__(self, videos: Videos, clips_per_video: int, *, flip: bool = False) -> None:
        self.videos, self.clips_per_video, self.flip = videos, clips_per_video, flip

    def open(self, *, size: int, num_frames: int, **_: Any) -> ClipDataset:
        """Clips of them."""
        times = torch.arange(self.videos.frames.shape[1]) / FRAMES_PER_SECOND
        sources = [
            MemoryVideo(f"video {i}", frames, times) for i, frames in enumerate(self.videos.frames)
        ]
        return ClipDataset(
            sources, num_frames=num_frames, stride=1, size=size, flip=self.flip, epochs=True,
            clips_per_video=self.clips_per_video,
        )  # fmt: skip


def save_videos(videos: Videos, path: Path) -> None:
    """Keep videos and their labels in a file."""
    labels = {f"label.{name}": torch.from_numpy(of) for name, of in videos.labels.items()}
    save_tensors({"frames": videos.frames, **labels}, {}, path)


def load_videos(path: Path) -> Videos:
    """What `save_videos` kept."""
    found = read_tensors(path, remedy="delete it, and it is drawn again")
    frames = found.pop("frames")
    return Videos(frames, {k.removeprefix("label."): of.numpy() for k, of in found.items()})
