"""Files of features: shards in safetensors or Parquet, each written whole, and how they are read.

    features/00000.safetensors  rows in order; its header says where the next shard begins
    features/00001.safetensors
    features/index.json         written last: what the rows are, and how many each shard has

Nothing here is a pickle. Knows neither videos nor models.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from worldmodel.datasets.format import require_extra
from worldmodel.errors import CheckpointError, ConfigError, RunError, nearest
from worldmodel.storage.files import require_access, require_file, whole_file
from worldmodel.storage.tensors import read_tensors, write_safetensors

FileFormat = Literal["safetensors", "parquet"]
INDEX, VERSION = "index.json", 1
_HEADER = "features"  # one key alone: the order of several is not the same in every file
_REMEDY = "say existing=redo to make the features again"
_DAMAGED = (
    ValueError, LookupError, TypeError, AttributeError, OSError, NotImplementedError,
    OverflowError, MemoryError, RuntimeError, SafetensorError,
)  # fmt: skip


@dataclass(frozen=True)
class FeatureRow:
    """The features of one window of a video.

    Attributes:
        file: the video's name.
        label: its class number, -1 for none; see `Features.classes`.
        window: the window's number in the video, from 0.
        frames: how many of its frames are the video's; the others hold the last of them.
        start: seconds, when its first frame is shown.
        times: `t`, seconds, of the last frame of each of its time steps.
        features: `d` (pool=mean), `t d` (time), or `n d` (tokens; n = t h w, see `Features.grid`).
    """

    file: str
    label: int
    window: int
    frames: int
    start: float
    times: np.ndarray
    features: np.ndarray


@dataclass
class Shard:
    """Rows that stand in one file.

    Attributes:
        rows: in order.
        left_out: what could not be read since the shard before, name and reason.
        next: where the next shard begins.
        counts: of rows that a rule has changed, by the name of the rule.
    """

    rows: list[FeatureRow] = field(default_factory=list)
    left_out: list[tuple[str, str]] = field(default_factory=list)
    next: tuple[int, int] = (0, 0)
    counts: dict[str, int] = field(default_factory=dict)

    def header(self, facts: Mapping[str, Any]) -> dict[str, Any]:
        """All that is not a row, as JSON."""
        return {
            "facts": dict(facts), "rows": len(self.rows), "next": list(self.next),
            "left_out": self.left_out, "counts": self.counts,
            "files": list(dict.fromkeys(row.file for row in self.rows)),
        }  # fmt: skip


def write_shard(folder: Path, number: int, shard: Shard, facts: Mapping[str, Any]) -> Path:
    """Write a shard whole or not at all; the same rows make the same bytes.

    Args:
        folder: of the features.
        number: of the shard, from 0.
        shard: at least one row.
        facts: what is the same for all shards; `format` is that of the file.
    """
    header = shard.header(facts)
    path = folder / f"{number:05d}.{facts['format']}"
    with whole_file(path) as temporary:
        write = _write_parquet if facts["format"] == "parquet" else _write_safetensors
        write(temporary, shard.rows, header)
    return path


def _columns(rows: Sequence[FeatureRow]) -> dict[str, np.ndarray]:
    """What is a number, by name."""
    return {
        "label": np.array([row.label for row in rows], np.int64),
        "window": np.array([row.window for row in rows], np.int64),
        "frames": np.array([row.frames for row in rows], np.int64),
        "start": np.array([row.start for row in rows], np.float64),
        "times": np.stack([row.times for row in rows]).astype(np.float64),
        "features": np.stack([row.features for row in rows]),
    }


def _write_safetensors(path: Path, rows: Sequence[FeatureRow], header: dict[str, Any]) -> None:
    place = {name: number for number, name in enumerate(header["files"])}
    columns = {"file": np.array([place[row.file] for row in rows], np.int64), **_columns(rows)}
    tensors = {name: torch.from_numpy(column) for name, column in columns.items()}
    write_safetensors(tensors, path, {_HEADER: json.dumps(header)})


def _write_parquet(path: Path, rows: Sequence[FeatureRow], header: dict[str, Any]) -> None:
    pyarrow, parquet = _pyarrow()
    columns: dict[str, Any] = {"file": [_text(row.file) for row in rows], **_columns(rows)}
    header["shape"] = list(columns["features"].shape[1:])
    for name in ("times", "features"):
        flat = columns[name].reshape(len(rows), -1)
        values = pyarrow.array(flat.reshape(-1))
        columns[name] = pyarrow.FixedSizeListArray.from_arrays(values, flat.shape[1])
    table = pyarrow.table(columns).replace_schema_metadata({_HEADER: json.dumps(header)})
    parquet.write_table(table, path, compression="zstd")


def _pyarrow() -> tuple[Any, Any]:
    what = "format=parquet"
    return require_extra("pyarrow", "lerobot", what), require_extra(
        "pyarrow.parquet", "lerobot", what
    )


def require_format(name: str) -> None:
    """Refuse a format of files that there is not, or that nothing installed here writes.

    Raises:
        ConfigError: with those that there are.
    """
    if name not in get_args(FileFormat):
        raise ConfigError(f"format={name}: {nearest(str(name), get_args(FileFormat))}")
    if name == "parquet":
        _pyarrow()


def _text(name: str) -> str:
    """A name as text that every reader of Parquet takes: names of files may hold any bytes."""
    return name.encode("utf-8", "backslashreplace").decode()


def finished_shards(folder: Path, facts: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The headers of the shards that an earlier, interrupted go has left.

    Args:
        folder: of the features; what was being written when it was ended is removed.
        facts: what must be the same for all shards.

    Raises:
        RunError: one is damaged or was made of other things.
    """
    for unfinished in folder.glob(".*.tmp.*"):
        unfinished.unlink()
    headers: list[dict[str, Any]] = []
    while (path := folder / f"{len(headers):05d}.{facts['format']}").is_file():
        header = read_header(path)
        for name, value in facts.items():
            if header["facts"].get(name) != value:
                raise RunError(
                    f"{path}: was made with another {name.replace('_', ' ')}, which has changed "
                    f"since; {_REMEDY}"
                )
        headers.append(header)
    return headers


def read_header(path: Path) -> dict[str, Any]:
    """The header of a shard.

    Raises:
        RunError: it is missing or damaged.
    """
    require_file(path, "file of features", RunError)
    try:
        if path.suffix == ".parquet":
            text = _pyarrow()[1].read_schema(path).metadata[_HEADER.encode()]
        else:
            with safe_open(path, framework="np") as file:
                text = file.metadata()[_HEADER]
        header = json.loads(text)
        if not {"facts", "rows", "next", "left_out", "counts", "files"} <= header.keys():
            raise ValueError("it lacks an entry")
        return header
    except _DAMAGED as cause:
        raise _damaged(path, cause) from cause


def _damaged(path: Path, cause: BaseException) -> RunError:
    reason = " ".join(str(cause).split())[:120] or type(cause).__name__
    return RunError(f"{path}: is not a complete file of features ({reason}); {_REMEDY}")


def write_index(folder: Path, facts: Mapping[str, Any], headers: Sequence[Mapping]) -> None:
    """Write `index.json`, the sign that all shards are there."""
    index = {"version": VERSION, **facts, "shards": [header["rows"] for header in headers]}
    with whole_file(folder / INDEX) as temporary:
        temporary.write_text(json.dumps(index, indent=1) + "\n", encoding="utf-8")


@dataclass(frozen=True)
class FeatureTable:
    """All rows, each attribute of `FeatureRow` as one array with `n` rows in front."""

    file: list[str]
    label: np.ndarray  # n
    window: np.ndarray  # n
    frames: np.ndarray  # n
    start: np.ndarray  # n, seconds
    times: np.ndarray  # n t, seconds
    features: np.ndarray  # n ...


@dataclass(frozen=True)
class Features:
    """Features in files; iterating reads their rows in order, one shard at a time in memory.

    Attributes:
        folder: where they are.
        model: that made them, as it was named.
        pool: `mean`, `time` or `tokens`.
        grid: (t, h, w) of the tokens of a window.
        classes: names of the labels, where the videos have some.
        shards: how many rows each file has.
        format: of the files.
    """

    folder: Path
    model: str
    pool: str
    grid: tuple[int, int, int]
    classes: tuple[str, ...]
    shards: tuple[int, ...]
    format: str

    def __len__(self) -> int:
        return sum(self.shards)

    def __iter__(self) -> Iterator[FeatureRow]:
        for number in range(len(self.shards)):
            table = self._shard(number)
            for row in range(len(table.file)):
                taken = {f.name: getattr(table, f.name)[row] for f in fields(FeatureTable)}
                whole = {name: int(taken[name]) for name in ("label", "window", "frames")}
                yield FeatureRow(**{**taken, **whole, "start": float(taken["start"])})

    def table(self) -> FeatureTable:
        """All rows at once; in memory."""
        tables = [self._shard(number) for number in range(len(self.shards))]
        columns = {f.name: [getattr(t, f.name) for t in tables] for f in fields(FeatureTable)}
        files = [file for table in columns.pop("file") for file in table]
        return FeatureTable(file=files, **{k: np.concatenate(v) for k, v in columns.items()})

    def _shard(self, number: int) -> FeatureTable:
        path = self.folder / f"{number:05d}.{self.format}"
        header = read_header(path)
        try:
            read = _read_parquet if self.format == "parquet" else _read_safetensors
            table = read(path, header)
            held = {len(getattr(table, f.name)) for f in fields(FeatureTable)}
            if held != {self.shards[number]}:
                raise ValueError(f"it has {held} rows, not {self.shards[number]}")
            return table
        except (*_DAMAGED, CheckpointError) as cause:
            raise _damaged(path, cause) from cause


def _read_safetensors(path: Path, header: dict[str, Any]) -> FeatureTable:
    columns = {name: tensor.numpy() for name, tensor in read_tensors(path).items()}
    files = [header["files"][number] for number in columns.pop("file")]
    return FeatureTable(file=files, **columns)


def _read_parquet(path: Path, header: dict[str, Any]) -> FeatureTable:
    table = _pyarrow()[1].read_table(path, use_threads=False)
    columns: dict[str, Any] = {}
    for name in table.column_names:
        column = table.column(name).combine_chunks()
        if name == "file":
            columns[name] = column.to_pylist()
        elif name in ("times", "features"):
            values = column.flatten().to_numpy(zero_copy_only=False)
            columns[name] = values.reshape(len(column), -1)
        else:
            columns[name] = column.to_numpy(zero_copy_only=False)
    columns["features"] = columns["features"].reshape(-1, *header["shape"])
    return FeatureTable(**columns)


def read_features(folder: Path | str) -> Features:
    """Features that `worldmodel features` has written.

    Args:
        folder: of the run, or its folder `features`.

    Returns:
        An iterable of `FeatureRow`s; see `Features.table` for all of them at once.

    Raises:
        RunError: there are none, they are not finished, or the index is damaged.
    """
    folder = Path(folder)
    require_access(folder, RunError)
    if not (folder / INDEX).is_file() and (folder / "features").is_dir():
        folder = folder / "features"
    path = folder / INDEX
    if not path.is_file():
        begun = any(folder.glob("00000.*"))
        remedy = (
            "they are not finished: run the same command again, and it goes on"
            if begun
            else "name the folder of a run of `worldmodel features`"
        )
        raise RunError(f"{folder}: holds no features ({INDEX} is missing); {remedy}")
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["version"] != VERSION or index["format"] not in get_args(FileFormat):
            raise ValueError(f"version {index['version']}, format {index['format']}")
        t, h, w = map(int, index["grid"])
        return Features(
            folder, str(index["model"]), str(index["pool"]), (t, h, w),
            tuple(map(str, index["classes"])), tuple(map(int, index["shards"])), index["format"],
        )  # fmt: skip
    except _DAMAGED as cause:
        raise _damaged(path, cause) from cause
