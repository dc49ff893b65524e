"""Small labelled videos: on disk, in memory, and as frozen features."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from tests.worldmodel.toys import seeded
from worldmodel.datasets.catalogue import Item
from worldmodel.errors import VideoError
from worldmodel.evaluation.frozen_features import Features
from worldmodel.evaluation.probes.probe import Labelled
from worldmodel.loading.in_memory import MemoryVideo
from worldmodel.storage.tensors import save_tensors
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

RED, GREEN, BLUE = (200, 30, 30), (30, 200, 30), (30, 30, 200)


def touch(*paths: Path) -> None:
    """Files that are named like videos and never opened."""
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"-")


def write_colours(root: Path, *, each: int, frames: int = 8, seed: int = 0) -> Path:
    """Folders of frames `root/<colour>/<video>/<frame>.png`: the colour is the class."""
    random = np.random.default_rng(seed)
    for name, colour in (("blue", BLUE), ("green", GREEN), ("red", RED)):
        for number in range(each):
            folder = root / name / f"clip{number}"
            folder.mkdir(parents=True)
            for t in range(frames):
                noise = random.integers(-25, 25, (20, 16, 3))
                image = np.clip(np.array(colour) + noise, 0, 255).astype(np.uint8)
                Image.fromarray(image).save(folder / f"{t:03d}.png")
    return root


@dataclass(frozen=True)
class Kept(Item):
    """A video in memory: frame `t` has the grey level `t` everywhere but in its left half."""

    name: str
    key: str = ""
    frames: int = 12
    shape: tuple[int, int] = (16, 16)
    is_bad: bool = False

    def open(self, decoding: Decoding) -> Video:
        if self.is_bad:
            raise VideoError(f"{self.name}: is bad")
        pixels = torch.arange(self.frames, dtype=torch.uint8)[:, None, None, None]
        frames = pixels.expand(-1, 3, *self.shape).clone()
        columns = torch.arange(self.shape[1], dtype=torch.uint8) + 100
        frames[:, :, 0, :] = columns  # the first row says which column it is
        return MemoryVideo(self.name, frames, torch.arange(self.frames) / 10)


def features(folder: Path, means: Tensor, tokens: Tensor, *, name: str = "model") -> Features:
    """Features of which means (v k d) and tokens (v k n d) are known, in two files."""
    half = len(means) // 2
    places = []
    for number, part in enumerate((slice(0, half), slice(half, None))):
        path = folder / f"{number}.safetensors"
        save_tensors({f"{name}.tokens": tokens[part]}, {}, path)
        places += [(path, row) for row in range(len(means[part]))]
    return Features(means, places, name)


def clusters(
    folder: Path, *, classes: int = 3, each: int = 8, views: int = 2, spread: float = 0.3,
    seed: int = 0,
) -> Labelled:  # fmt: skip
    """Videos whose tokens lie around the mean of their class."""
    random = seeded(seed)
    middles = 2 * torch.randn(classes, 16, generator=seeded(99))
    labels = torch.arange(classes).repeat(each)
    noise = torch.randn(len(labels), views, 3, 16, generator=random)
    tokens = middles[labels][:, None, None] + spread * noise
    return Labelled(features(folder, tokens.mean(dim=2), tokens), labels)
