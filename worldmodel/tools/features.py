"""The verb `features`: what a model makes of every window of every video, as files.

The files and how they are read are in `feature_files.py`, which window follows which in
`loading/every_window.py`.
"""

import hashlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import numpy as np
import torch
from einops import reduce
from torch import Tensor

from worldmodel.checkpoint import placed
from worldmodel.datasets import open_catalogue
from worldmodel.datasets.catalogue import Catalogue, LeftOut
from worldmodel.errors import ConfigError, ShapeError, VideoError, nearest
from worldmodel.interop import Hints
from worldmodel.interop.load import load_with_report
from worldmodel.loading.every_window import (
    EveryWindow,
    Place,
    WindowBatch,
    WindowLoading,
    WindowRow,
)
from worldmodel.loading.skipped import SkippedTable
from worldmodel.loading.window_reader import WindowRule
from worldmodel.model import WorldModel
from worldmodel.nn.patches import Grid
from worldmodel.tools.feature_files import (
    FeatureRow,
    FileFormat,
    Shard,
    finished_shards,
    require_format,
    write_index,
    write_shard,
)
from worldmodel.video.arguments import counted
from worldmodel.video.decoding import Decoding

if TYPE_CHECKING:
    from worldmodel.runs.run import Run

Pool = Literal["mean", "tokens", "time"]
DType = Literal["float32", "float16"]
_SHARD_BYTES = 2**28  # a shard is not larger, whatever its rows
_NO_LABEL = -1


@dataclass(frozen=True)
class Writing:
    """How features are written.

    Attributes:
        dtype: of the numbers, float32 or float16.
        shard_rows: windows in a file, at most: what is lost where a run is ended. A file is not
            larger than 256 MiB, and holds whole batches.

    Raises:
        ConfigError: one of them is no such thing.
    """

    dtype: DType = "float32"
    shard_rows: int = 512

    def __post_init__(self) -> None:
        if self.dtype not in get_args(DType):
            raise ConfigError(f"no dtype '{self.dtype}': {nearest(self.dtype, get_args(DType))}")
        if self.shard_rows < 1:
            raise ConfigError(f"shard_rows must be at least 1, got {self.shard_rows}")


_LOADING, _WRITING, _HINTS = WindowLoading(), Writing(), Hints()


def features(
    run: "Run", *, model: str, path: str, window: int = 16, stride: int = 8,
    fps: float | None = None, pool: Pool = "mean", format: FileFormat = "safetensors",
    layout: str = "auto", reading: Mapping[str, Any] | None = None,
    loading: WindowLoading = _LOADING, writing: Writing = _WRITING,
    hints: Hints = _HINTS, video: Decoding | None = None, device: str = "cpu",
) -> dict[str, float]:  # fmt: skip
    """Write what a model's encoder makes of every window of every video.

    Windows of `window` frames begin every `stride` frames of a video, from its first one on. Where
    frames are left after the last whole window, and another would have begun there, one more is
    taken that ends with the last frame. A video shorter than a window, and a single image, is one
    window that holds its last frame until it is full. Frames get the model's size: the short side
    is resized and the square in the middle is taken, or all is made square (`loading.fit=stretch`);
    colours are normalised by the model itself. How many windows each rule has changed is among the
    results, and what could not be read is listed in `skipped.csv`.

    An interrupted run goes on with the first file that is missing; the files are the same, byte for
    byte, on one machine. `worldmodel.read_features` reads them.

    Args:
        run: where `features/` and `skipped.csv` go.
        model: a model or run of ours, a `.pt` file of V-JEPA, or a Hugging Face folder.
        path: a folder of videos, a manifest, shards, episodes, images, ... or one file.
        window: frames of a window.
        stride: frames from the beginning of one window to that of the next.
        fps: frames per second at which frames are taken and counted, the nearest in time; null
            takes all frames.
        pool: `mean` of all tokens, of the tokens of each time step (`time`), or all `tokens`.
        format: of the files, safetensors or parquet.
        layout: of what is in `path`; `auto` looks.
        reading: options of that layout, for example `{camera: top}`.
        loading: how windows are loaded.
        writing: how features are written.
        hints: what third-party weights leave open.
        video: how files are decoded.
        device: where to compute.

    Returns:
        `windows`, `videos`, `left_out`, `held` (windows longer than their video), `shifted` (last
        windows that begin earlier than their turn), `cropped` (windows of frames that were not
        square), `numbers` in a row.

    Raises:
        WorldModelError: there is nothing, or nothing that can be read; or what was begun was made
            of other videos or another model.
    """
    if pool not in get_args(Pool):
        raise ConfigError(f"pool={pool}: {nearest(str(pool), get_args(Pool))}")
    require_format(format)
    rule = WindowRule(window, stride, fps)
    learned = placed(load_with_report(Path(model), hints)[0], device)
    encoding = Encoding(learned, window, pool, writing.dtype)
    catalogue = open_catalogue(path, format=layout, **dict(reading or {}))
    facts = {
        "format": format, "model": model, "model_sha256": _sha256_of_model(learned),
        "videos_sha256": _sha256_of_names(catalogue), "classes": list(catalogue.classes),
        "pool": pool, "grid": list(encoding.grid), "dtype": writing.dtype, "size": learned.size,
        "window": window, "stride": stride, "fps": fps, "fit": loading.fit,
    }  # fmt: skip
    folder = run.folder / "features"
    headers = finished_shards(folder, facts)
    skipped = SkippedTable(run.folder / "skipped.csv", run.say)
    for bad in catalogue.left_out:
        skipped.add(bad)
    windows = EveryWindow(
        catalogue, rule=rule, size=learned.size, loading=loading, decoding=video or Decoding()
    )
    place = Place(*headers[-1]["next"]) if headers else Place()
    batches = encoding.batches_of_shard(loading.batch, most=writing.shard_rows)
    with run.progress(len(catalogue), "features") as bar:
        bar.update(place.video)
        for shard in _shards(windows.batches(place), encoding, batches=batches, rule=rule):
            if shard.rows:
                write_shard(folder, sum(header["rows"] > 0 for header in headers), shard, facts)
            headers.append(shard.header(facts))
            for name, reason in shard.left_out:
                skipped.add(LeftOut(name, reason))
            bar.update(shard.next[0], windows=sum(header["rows"] for header in headers))
        bar.update(len(catalogue))
    results = _counted(headers, len(catalogue), skipped) | {"numbers": encoding.numbers}
    if not results["windows"]:
        first = headers[0]["left_out"][0][1] if headers else "it is empty"
        raise VideoError(f"{path}: nothing in it can be read; the first: {first}")
    write_index(folder, facts, [header for header in headers if header["rows"]])
    _say(run, results, encoding)
    return results


class Encoding:
    """From the frames of windows to their features.

    Args:
        model: whose encoder makes tokens.
        window: frames of a window.
        pool: of the tokens: see `features`.
        dtype: of the features.

    Raises:
        ConfigError: such windows do not divide into the model's time steps.
    """

    grid: Grid  # of the tokens of a window

    def __init__(self, model: WorldModel, window: int, pool: Pool, dtype: DType) -> None:
        self._model, self._pool, self._dtype = model, pool, np.dtype(dtype)
        size, p = model.size, model.tubelet_frames
        try:
            self.grid = model.encoder.grid_of(window, size, size)
        except ShapeError as cause:
            near = " or ".join(str(n) for n in (window // p * p, -(-window // p) * p) if n)
            raise ConfigError(f"window={window}: {cause}; say window={near}") from cause
        self.time_step_frames = window // self.grid[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Of the features of a window: `d`, `t d` or `n d`."""
        t, h, w = self.grid
        return {"mean": (), "time": (t,), "tokens": (t * h * w,)}[self._pool] + (self.width,)

    @property
    def width(self) -> int:
        """Dimension of a token."""
        return self._model.encoder.width

    @property
    def numbers(self) -> int:
        """Of a window."""
        return int(np.prod(self.shape))

    def batches_of_shard(self, batch: int, *, most: int) -> int:
        """How many batches of so many windows go into a shard of at most `most`, at least one."""
        room = _SHARD_BYTES // (self.numbers * self._dtype.itemsize)
        return max(min(room, most) // batch, 1)

    @torch.inference_mode()
    def __call__(self, frames: Tensor) -> np.ndarray:
        """Features of frames b t c h w, uint8: b ..."""
        tokens = self._model.encoder(frames.to(self._model.device).float() / 255)
        if self._pool == "time":
            tokens = reduce(tokens, "b (t n) d -> b t d", "mean", t=self.grid[0])
        elif self._pool == "mean":
            tokens = tokens.mean(dim=1)
        return tokens.float().cpu().numpy().astype(self._dtype)


def _shards(
    batches_of: Iterable[WindowBatch], encoding: Encoding, *, batches: int, rule: WindowRule
) -> Iterator[Shard]:
    """Batches of windows as shards of so many batches each."""
    rest = iter(batches_of)
    while some := list(_encoded(islice(rest, batches), encoding)):
        shard = Shard()
        for batch, found in some:
            for row, numbers in zip(batch.rows, found, strict=True):
                shard.rows.append(_feature_row(row, numbers, encoding))
            shard.left_out += [(bad.name, bad.reason) for bad in batch.left_out]
            shard.next = batch.next
        taken = [row for batch, _ in some for row in batch.rows]
        shard.counts = {
            "held": sum(row.frames < rule.length for row in taken),
            "shifted": sum(row.first % rule.stride > 0 for row in taken),
            "cropped": sum(row.cropped for row in taken),
        }
        yield shard


def _encoded(
    batches: Iterable[WindowBatch], encoding: Encoding
) -> Iterator[tuple[WindowBatch, np.ndarray]]:
    """Each batch with its features; its frames are not kept."""
    for batch in batches:
        found = encoding(batch.frames) if batch.rows else np.empty((0, *encoding.shape))
        yield replace(batch, frames=batch.frames[:0]), found


def _feature_row(row: WindowRow, numbers: np.ndarray, encoding: Encoding) -> FeatureRow:
    label = _NO_LABEL if row.item.label is None else row.item.label
    p = encoding.time_step_frames
    return FeatureRow(
        file=row.item.name, label=label, window=row.window, frames=row.frames,
        start=float(row.times[0]), times=row.times[p - 1 :: p], features=numbers,
    )  # fmt: skip


def _counted(
    headers: Sequence[Mapping[str, Any]], videos: int, skipped: SkippedTable
) -> dict[str, float]:
    for header in headers:  # those of an earlier go are listed again where their list was lost
        for name, reason in header["left_out"]:
            skipped.add(LeftOut(name, reason))
    skipped.write()
    counts = {
        name: sum(header["counts"][name] for header in headers)
        for name in ("held", "shifted", "cropped")
    }
    windows = sum(header["rows"] for header in headers)
    return {"windows": windows, "videos": videos, "left_out": len(skipped), **counts}


def _say(run: "Run", results: Mapping[str, float], encoding: Encoding) -> None:
    """The results in a sentence, with what each rule has changed."""
    shape = " x ".join(map(str, encoding.shape))
    changed = {
        "held": "of videos shorter than a window, whose last frame is held",
        "shifted": "last ones that begin earlier than their turn",
        "cropped": "of frames that are not square, whose middle is taken",
        "left_out": "left out, see skipped.csv",
    }
    parts = [f"{counted(int(results['windows']), 'window')} of {shape} numbers"]
    parts += [f"{results[name]:.0f} {words}" for name, words in changed.items() if results[name]]
    run.say(f"{run.folder / 'features'}: {'; '.join(parts)}")


def _sha256_of_model(model: WorldModel) -> str:
    """Of the encoder's weights: features of two models must not be mixed."""
    found = hashlib.sha256()
    for name, weights in model.encoder.state_dict().items():
        found.update(name.encode())
        found.update(weights.detach().cpu().contiguous().flatten().view(torch.uint8).numpy())
    return found.hexdigest()


def _sha256_of_names(catalogue: Catalogue) -> str:
    found = hashlib.sha256()
    for number in range(len(catalogue)):
        item = catalogue[number]
        found.update(f"{item.name}\n{item.label}\n".encode("utf-8", "surrogatepass"))
    return found.hexdigest()
