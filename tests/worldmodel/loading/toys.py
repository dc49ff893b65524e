"""A data set of videos that nobody has to decode, some of them bad."""

import os
import signal
import time
from dataclasses import dataclass

import numpy as np
import torch

from worldmodel.datasets.catalogue import Catalogue, Item
from worldmodel.errors import VideoError
from worldmodel.loading.in_memory import MemoryVideo
from worldmodel.video.decoding import Decoding
from worldmodel.video.video import Video

opened: list[str] = []  # what was opened in this process


@dataclass(frozen=True)
class ToyItem(Item):
    """Frame `t` of video `number` has red `t` and green `number`; its width is 12, height 8."""

    name: str
    key: str
    number: int
    length: int = 20
    window: tuple[float, float] | None = None
    trouble: str = ""

    @property
    def opens(self) -> str:
        return self.key

    def open(self, decoding: Decoding) -> Video:
        opened.append(self.name)
        if self.trouble == "hang":
            time.sleep(3600)
        if self.trouble == "crash":
            os.kill(os.getpid(), signal.SIGSEGV)
        if self.trouble == "bad":
            raise VideoError(f"{self.name}: is bad")
        frames = torch.zeros(self.length, 3, 8, 12, dtype=torch.uint8)
        frames[:, 0] = torch.arange(self.length, dtype=torch.uint8)[:, None, None]
        frames[:, 1] = self.number % 256
        frames[:, 2] = torch.arange(12, dtype=torch.uint8)
        kind = TornVideo if self.trouble == "torn" else MemoryVideo
        times = torch.arange(self.length, dtype=torch.float64) / 10
        if self.trouble == "gap":
            times[self.length // 2 :] += 0.6
        return kind(self.name, frames, times)


class TornVideo(MemoryVideo):
    """Its second half cannot be read."""

    def read(self, indices: np.ndarray) -> torch.Tensor:
        if indices.max() >= self.num_frames // 2:
            raise VideoError(f"{self.name}: is torn")
        return super().read(indices)


class ToyCatalogue(Catalogue):
    """Toy videos `name/0` ... ; `trouble` says which are bad, and how."""

    def __init__(
        self, count: int, *, name: str = "toy", trouble: dict[int, str] | None = None,
        length: int = 20, windows: bool = False,
    ) -> None:  # fmt: skip
        self.name = name
        self._items = [
            ToyItem(
                f"{name}/{number}",
                f"{name}/one file" if windows else f"{name}/{number}",
                number,
                length,
                (number * 0.5, number * 0.5 + 0.5) if windows else None,
                (trouble or {}).get(number, ""),
            )
            for number in range(count)
        ]

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index):
        return self._items[index]


def numbers(frames: torch.Tensor) -> list[int]:
    """Which video each clip is of."""
    return (frames[:, 0, 1, 0, 0] * 255).round().int().tolist()


def reds(frames: torch.Tensor) -> np.ndarray:
    """Which frames each clip shows."""
    return (frames[:, :, 0, 0, 0] * 255).round().int().numpy()
