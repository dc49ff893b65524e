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
    """The records of a file, if there is one; a line that was cut is no record."""
    found = []
    for line in path.read_text().splitlines() if path.is_file() else []:
        try:
            found.append(json.loads(line))
        except json.JSONDecodeError:
            continue
    return found


def measure_all(
    cases: Iterable[Case], measure: Callable[[Case], Record], *, kept_in: Path, workers: int
) -> Iterator[Record]:
    """Measure cases in processes of their own; each record is written as it is given out.

    Raises:
        Exception: the first error of a case, after all others have been measured.
    """
    kept_in.parent.mkdir(parents=True, exist_ok=True)
    failed: BaseException | None = None
    pool = ProcessPoolExecutor(workers, mp_context=get_context("spawn"))
    try:
        for future in as_completed([pool.submit(measure, case) for case in cases]):
            if future.exception() is not None:
                failed = failed or future.exception()
                continue
            record = future.result()
            with kept_in.open("a") as file:
                # What was cut is on a line of its own.
                begun = file.tell() and not kept_in.read_bytes().endswith(b"\n")
                file.write("\n" * bool(begun) + json.dumps(record) + "\n")
            yield record
    finally:
        pool.shutdown(cancel_futures=True)
    if failed is not None:
        raise failed
