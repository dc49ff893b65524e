"""What long benchmarks measured so far, a line of JSON each, so that they can be interrupted."""

import json
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from pathlib import Path
from typing import Any, TypeVar

Case = TypeVar("Case")
Record = dict[str, Any]


def read_records(path: Path) -> list[Record]:
    """The records that a file has; none where there is no file."""
    if not path.is_file():
        return []
    return [json.loads(line) for line in path.read_text().splitlines()]


def measure_all(
    cases: Iterable[Case], measure: Callable[[Case], Record], *, kept_in: Path, workers: int
) -> Iterator[Record]:
    """Measure cases in processes of their own; each record is written as it is given out."""
    kept_in.parent.mkdir(parents=True, exist_ok=True)
    with ProcessPoolExecutor(workers, mp_context=get_context("spawn")) as pool:
        for future in as_completed([pool.submit(measure, case) for case in cases]):
            record = future.result()
            with kept_in.open("a") as file:
                file.write(json.dumps(record) + "\n")
            yield record
