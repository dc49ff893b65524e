"""Tables that list the clips of a suite: CSV files with a header."""

import csv
import os
from collections.abc import Sequence

from worldmodel.datasets.published import lines_of
from worldmodel.errors import VideoError

Row = tuple[str, dict[str, str]]  # where it stands, for messages; and its values by column


def rows_of(file: str, columns: Sequence[str]) -> list[Row]:
    """The rows of a table.

    Args:
        file: a CSV file whose first line names the columns.
        columns: those that it has to have.

    Raises:
        VideoError: naming the file and the column that it lacks, or the line that is too short.
    """
    lines = list(lines_of(file, "list of clips"))
    table = csv.DictReader(line for _, line in lines)
    missing = [column for column in columns if column not in (table.fieldnames or ())]
    if missing:
        raise VideoError(
            f"{file}: has no column {missing[0]}; its columns are "
            f"{', '.join(table.fieldnames or ()) or 'none'}; fetch it again"
        )
    rows = []
    for (number, _), row in zip(lines[1:], table, strict=False):
        where = f"{file}, line {number}"
        short = [column for column in columns if not row[column]]
        if short:
            raise VideoError(f"{where}: has no {short[0]}; fetch the list again")
        rows.append((where, {key: value for key, value in row.items() if key is not None}))
    return rows


def file_in(folder: str, name: str, where: str) -> str:
    """The path of a file that a table names.

    Raises:
        VideoError: it leads out of the folder, or is not there.
    """
    if "\0" in name or os.path.isabs(name) or ".." in name.split("/"):
        raise VideoError(f"{where}: '{name[:100]}' leads out of the folder; fetch the list again")
    path = os.path.join(folder, name)
    if not os.path.exists(path):
        raise VideoError(f"{where}: names {path}, which is not there; fetch it")
    return path
