"""Parquet files, read so that a damaged one is an error.

Where a footer contradicts itself, pyarrow ends the process when it is asked about groups of rows
and their columns (`metadata.row_group(i).column(j)` and its statistics): exceptions of the C++
library pass through functions that Python does not guard. So only functions that read rows are
called here; from those such exceptions arrive in Python.
"""

from pathlib import Path
from typing import Any

import numpy as np

from worldmodel.datasets.episode_source import fetch_again
from worldmodel.datasets.format import require_extra
from worldmodel.errors import EpisodeError
from worldmodel.storage.files import require_file

_MOST_BYTES = 2**32  # of the columns asked for, unpacked
_ROWS = 1024  # read at once


def read_table(path: str, columns: list[str] | None = None, *, episode: int | None = None) -> Any:
    """A parquet file, or some of its columns, as a `pyarrow.Table`.

    Args:
        path: The file.
        columns: The columns; all by default.
        episode: Groups of rows that hold nothing of it, by their `episode_index`, are left out.

    Raises:
        EpisodeError: it is no parquet file, lacks a column, or takes more than 4 GiB unpacked.
    """
    pyarrow = require_extra("pyarrow", "lerobot", "LeRobot data")
    parquet = require_extra("pyarrow.parquet", "lerobot", "LeRobot data")
    require_file(Path(path), "parquet file", EpisodeError)
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            missing = [name for name in columns or () if name not in names]
            if missing:
                raise EpisodeError(
                    f"{path}: has no column '{missing[0]}'; there are {', '.join(names)}"
                )
            groups = [n for n in range(file.num_row_groups) if _has(file, n, episode)]
            batches, taken = [], 0
            ask = {"row_groups": groups, "columns": columns, "use_threads": False}
            # Older versions of pyarrow take no groups for the last one.
            for batch in file.iter_batches(_ROWS, **ask) if groups else ():
                batches.append(batch)
                taken += batch.nbytes
                if taken > _MOST_BYTES:
                    raise EpisodeError(f"{path}: holds more than 4 GiB; write smaller files")
            if not batches:
                return file.schema_arrow.empty_table().select(columns or names)
            return pyarrow.Table.from_batches(batches)
    except (OSError, ValueError, KeyError, NotImplementedError, OverflowError, MemoryError,
            TypeError, RuntimeError) as cause:  # fmt: skip
        reason = " ".join(str(cause).split())[:120]
        raise EpisodeError(
            f"{path}: is no valid parquet file ({reason}); {fetch_again(path)}"
        ) from cause


def rows_of(column: Any) -> np.ndarray:
    """A column of numbers, or of lists of numbers, as an array n ... in the type that they have.

    Raises:
        ValueError: its lists differ in length.
    """
    rows = np.array(column.to_pylist())
    kind = column.type
    while hasattr(kind, "value_type"):  # a list
        kind = kind.value_type
    # Python knows one kind of float and one of int. What has gaps is left as it is, to be refused.
    return rows.astype(kind.to_pandas_dtype()) if rows.dtype.kind in "fiub" else rows


def _has(file: Any, group: int, episode: int | None) -> bool:
    """True if a group of rows has some of an episode."""
    if episode is None:
        return True
    rows = file.read_row_group(group, columns=["episode_index"], use_threads=False)
    return episode in rows.column("episode_index").to_pylist()
