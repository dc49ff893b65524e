"""Features of frozen encoders for labelled videos: extracted once, kept in files, read by rows.

Every video is decoded once for all encoders that are compared. Each file holds the features of a
few videos, so an interrupted extraction goes on with the next one.
"""

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from worldmodel.datasets.catalogue import Item, LeftOut
from worldmodel.errors import ConfigError, VideoError
from worldmodel.evaluation.views import ViewRequest, Views, read_views
from worldmodel.loading.in_memory import BAD
from worldmodel.loading.workers import WorkerPool
from worldmodel.model import WorldModel
from worldmodel.nn.positions import sincos
from worldmodel.storage.tensors import save_tensors
from worldmodel.video.decoding import Decoding
from worldmodel.video.reader import require_backend

Encode = Callable[[Tensor], tuple[Tensor, Tensor]]
"""Views b t c h w in [0, 1] -> their tokens b n d and one vector for each b m."""

SHARD = 32  # videos in a file
_TOGETHER = 16  # views that are encoded together
_SIDE = 8  # pixels that frames are averaged to, where pixels stand in for an encoder


def tokens_of(model: WorldModel) -> Encode:
    """The tokens of a model's encoder, and their mean."""

    def encode(frames: Tensor) -> tuple[Tensor, Tensor]:
        tokens = model.encoder(frames.to(model.device)).cpu()
        return tokens, tokens.mean(dim=1)

    return encode


def pixels(tubelet_frames: int) -> Encode:
    """The frames themselves, averaged to 8 x 8 pixels.

    A token for each time step, with sines and cosines of its time added, for a read-out that knows
    no order; and all pixels of the clip side by side.
    """

    def encode(frames: Tensor) -> tuple[Tensor, Tensor]:
        small = nn.functional.adaptive_avg_pool2d(frames.flatten(1, 2), _SIDE)
        tokens = rearrange(small, "b (t p c) h w -> b t (p c h w)", p=tubelet_frames, c=3)
        _, t, d = tokens.shape
        return tokens + sincos(d, (t, 1, 1)).reshape(t, d), tokens.flatten(1)

    return encode


@dataclass(frozen=True)
class Features:
    """What one encoder makes of videos, `k` views each.

    Attributes:
        means: v k m, one vector for each view.
        places: the file of each video, and its row there.
        encoder: the name that tokens have in the files.
    """

    means: Tensor
    places: Sequence[tuple[Path, int]]
    encoder: str

    def __len__(self) -> int:
        return len(self.means)

    @property
    def views(self) -> int:
        """Views of a video."""
        return self.means.shape[1]

    def take(self, rows: Sequence[int]) -> "Features":
        """Only the videos at these places."""
        return replace(self, means=self.means[list(rows)], places=[self.places[i] for i in rows])

    def tokens(self, rows: Sequence[int], views: Sequence[int]) -> Tensor:
        """The tokens b n d of a view of each of these videos, float32, read from the files."""
        found, files = [], {path: None for path, _ in (self.places[i] for i in rows)}
        for path in files:
            with safe_open(path, framework="pt") as file:
                kept = file.get_slice(f"{self.encoder}.tokens")
                for at, (row, view) in enumerate(zip(rows, views, strict=True)):
                    if self.places[row][0] == path:
                        place = self.places[row][1]
                        found.append((at, kept[place : place + 1, view : view + 1][0, 0].float()))
        return torch.stack([tokens for _, tokens in sorted(found, key=lambda pair: pair[0])])


@dataclass(frozen=True)
class Extraction:
    """What is extracted from each video, and where it is kept.

    Attributes:
        encoders: by name.
        views: of each video.
        size: side of the square frames in pixels.
        decoding: how videos are opened.
        tokens: keep all tokens; otherwise only the vector of each view.
        folder: where the files go.
    """

    encoders: Mapping[str, Encode]
    views: Views
    size: int
    decoding: Decoding
    tokens: bool
    folder: Path

    def run(
        self, items: Sequence[Item], *, progress: Callable[[int], None],
        on_skip: Callable[[LeftOut], None],
    ) -> tuple[dict[str, Features], list[int]]:  # fmt: skip
        """Extract what is not in the folder yet.

        Args:
            items: the videos.
            progress: called with the number of videos done so far.
            on_skip: called with each bad video that is left out.

        Returns:
            The features of each encoder, and the places in `items` of the videos that they are of:
            all but the bad ones.

        Raises:
            VideoError: a video is bad and must not be skipped, or all are.
            ConfigError: the files would not fit on the disk.
        """
        require_backend(self.decoding.backend)  # said here, not by each process
        starts = range(0, len(items), SHARD)
        shards = {self.folder / f"{i:05d}.safetensors": items[s : s + SHARD]
                  for i, s in enumerate(starts)}  # fmt: skip
        missing = {path: some for path, some in shards.items() if not _is_of(path, some)}
        done = sum(len(some) for path, some in shards.items() if path not in missing)
        work = partial(read_views, self.views, self.size, self.decoding)
        seconds = self.decoding.limits.seconds
        with WorkerPool(work, workers=self.views.workers, seconds=seconds) as pool:
            tasks = (ViewRequest(item) for some in missing.values() for item in some)
            read = pool.each(tasks, ahead=2 * max(self.views.workers, 1))
            for path, some in missing.items():
                rows = []
                for _, (request, future) in zip(some, read, strict=False):
                    rows.append(self._row(request, future, on_skip))
                    done += 1
                    progress(done)
                self._write(path, some, rows, len(items))
        return self._load(list(shards))

    def _row(self, request: ViewRequest, future: Any, on_skip: Any) -> dict[str, Tensor] | None:
        """All features of a video; None if it is bad and may be skipped."""
        try:
            views = torch.from_numpy(future.result())
        except BAD as error:
            if self.views.on_bad_video == "error":
                raise
            on_skip(LeftOut(request.name, str(error)))
            return None
        return self._encode(views)

    @torch.inference_mode()
    def _encode(self, views: Tensor) -> dict[str, Tensor]:
        found: dict[str, Tensor] = {}
        for name, encode in self.encoders.items():
            pairs = [encode(some.float() / 255) for some in views.split(_TOGETHER)]
            tokens, means = (torch.cat(part) for part in zip(*pairs, strict=True))
            found[f"{name}.means"] = means.float()
            if self.tokens:
                half = tokens.half()
                # What is too large for half precision is kept whole.
                found[f"{name}.tokens"] = half if half.isfinite().all() else tokens.float()
        return found

    def _write(
        self, path: Path, items: Sequence[Item], rows: Sequence[dict[str, Tensor] | None],
        total: int,
    ) -> None:  # fmt: skip
        good = [row for row in rows if row is not None]
        tensors = {
            name: torch.stack([row[name].to(_widest(name, good)) for row in good])
            for name in (good[0] if good else ())
        }
        tensors["good"] = torch.tensor([row is not None for row in rows])
        if path.name.startswith("00000"):
            self._require_room(tensors, len(items), total)
        save_tensors(tensors, {"names": _names(items)}, path)

    def _require_room(self, tensors: Mapping[str, Tensor], count: int, total: int) -> None:
        """Refuse features that the disk has no room for, as the first file tells."""
        needed = sum(t.numel() * t.element_size() for t in tensors.values()) * total / count
        self.folder.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.folder).free
        if needed > free:
            raise ConfigError(
                f"{self.folder}: the features of {total} videos take {needed / 2**30:.3g} GiB, "
                f"{free / 2**30:.3g} are free; say fewer views.clips or views.crops, or leave out "
                "~probes.attentive, which needs all tokens"
            )

    def _load(self, shards: Sequence[Path]) -> tuple[dict[str, Features], list[int]]:
        means: dict[str, list[Tensor]] = {name: [] for name in self.encoders}
        places: list[tuple[Path, int]] = []
        kept: list[int] = []
        for number, path in enumerate(shards):
            with safe_open(path, framework="pt") as file:
                good = file.get_tensor("good")
                if good.any():
                    for name, parts in means.items():
                        parts.append(file.get_tensor(f"{name}.means"))
            places += [(path, row) for row in range(int(good.sum()))]
            kept += [number * SHARD + i for i in good.nonzero().flatten().tolist()]
        if not kept:
            raise VideoError("all videos are bad, nothing is left to read; see skipped.csv")
        return {n: Features(torch.cat(parts), places, n) for n, parts in means.items()}, kept


def _is_of(path: Path, items: Sequence[Item]) -> bool:
    """True if the file is there and holds these videos."""
    if not path.is_file():
        return False
    try:
        with safe_open(path, framework="pt") as file:
            return bool((file.metadata() or {}).get("names") == _names(items))
    except (SafetensorError, OSError):
        return False


def _names(items: Sequence[Item]) -> str:
    return json.dumps([item.name for item in items])


def _widest(name: str, rows: Sequence[Mapping[str, Tensor]]) -> torch.dtype:
    """Float32 where one of the rows is."""
    kinds = {row[name].dtype for row in rows}
    return torch.float32 if torch.float32 in kinds else kinds.pop()
