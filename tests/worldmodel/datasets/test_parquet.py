import subprocess
import sys

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from worldmodel.datasets import parquet
from worldmodel.datasets.parquet import read_table
from worldmodel.errors import EpisodeError

ROWS = pa.table({
    "episode_index": np.repeat([0, 1, 2], 700), "timestamp": np.arange(2100) / 10,
    "action": [[0.5, number] for number in range(2100)], "a.b": ["x", "y", "z"] * 700,
})  # fmt: skip


@pytest.fixture
def path(tmp_path):
    place = tmp_path / "rows.parquet"
    pq.write_table(ROWS, place, row_group_size=350)  # two groups for each episode
    return str(place)


def test_tables_come_back_whatever_their_groups(path):
    assert read_table(path).equals(ROWS)
    assert read_table(path, ["a.b", "episode_index"]).equals(ROWS.select(["a.b", "episode_index"]))


@pytest.mark.parametrize("episode", [0, 1, 2])
def test_only_groups_with_rows_of_the_episode_are_read(path, episode):
    found = read_table(path, ["episode_index", "timestamp"], episode=episode)
    assert found.equals(ROWS.slice(700 * episode, 700).select(["episode_index", "timestamp"]))


def test_of_an_episode_that_is_not_there_nothing_is_read(path):
    found = read_table(path, ["timestamp", "episode_index"], episode=7)
    assert len(found) == 0 and found.schema.equals(ROWS.select(found.column_names).schema)


def test_a_file_without_rows_has_its_columns(tmp_path):
    pq.write_table(ROWS.slice(0, 0), tmp_path / "none.parquet")
    for episode in (None, 1):
        found = read_table(str(tmp_path / "none.parquet"), ["episode_index"], episode=episode)
        assert found.equals(ROWS.slice(0, 0).select(["episode_index"]))


def test_a_column_that_is_missing_is_named(path):
    with pytest.raises(EpisodeError, match="has no column 'reward'; there are episode_index, time"):
        read_table(path, ["reward"])


def test_a_small_file_that_is_large_in_memory_is_refused(tmp_path, monkeypatch):
    pq.write_table(pa.table({"a": np.zeros(10**6)}), tmp_path / "a.parquet")
    assert (tmp_path / "a.parquet").stat().st_size < 2**14
    monkeypatch.setattr(parquet, "_MOST_BYTES", 2**20)
    with pytest.raises(EpisodeError, match="a.parquet: holds more than"):
        read_table(str(tmp_path / "a.parquet"))


DAMAGE = """
import sys
from pathlib import Path
from worldmodel.datasets.parquet import read_table
from worldmodel.errors import EpisodeError

whole = Path(sys.argv[1]).read_bytes()
damaged = Path(sys.argv[2])
begin = len(whole) - 8 - int.from_bytes(whole[-8:-4], "little")  # of the footer
found = {"read": 0, "refused": 0}
for at in range(begin, len(whole)):
    for other in (whole[at] ^ 1, whole[at] ^ 2, whole[at] ^ 16, 0, 255):
        damaged.write_bytes(whole[:at] + bytes([other]) + whole[at + 1 :])
        try:
            read_table(str(damaged), episode=1)
            found["read"] += 1
        except EpisodeError as error:
            assert "\\n" not in str(error)
            found["refused"] += 1
print(*found.values())
"""


def test_no_damaged_byte_of_a_footer_ends_the_process(tmp_path):
    pq.write_table(ROWS.slice(0, 20), tmp_path / "whole.parquet", store_schema=False)
    words = [sys.executable, "-c", DAMAGE, tmp_path / "whole.parquet", tmp_path / "damaged.parquet"]
    ended = subprocess.run(words, capture_output=True, text=True, timeout=300)
    assert ended.returncode == 0, ended.stderr[-1000:]
    read, refused = map(int, ended.stdout.split())
    assert read > 100 and refused > 1000
