import math

import pytest

from benchmarks.records import measure_all, read_records


def root(number):
    return {"case": number, "root": math.sqrt(number)}


def test_a_case_that_fails_costs_no_other_and_is_raised_at_the_end(tmp_path):
    path, seen = tmp_path / "kept" / "roots.jsonl", []
    with pytest.raises(ValueError, match="math domain|nonnegative"):
        for record in measure_all([4, -1, 9, 16], root, kept_in=path, workers=1):
            seen.append(record["case"])
    assert sorted(seen) == [4, 9, 16]
    assert sorted(read_records(path), key=lambda r: r["case"]) == [root(n) for n in (4, 9, 16)]


def test_a_line_that_was_cut_is_no_record_and_spoils_no_other(tmp_path):
    path = tmp_path / "roots.jsonl"
    assert read_records(path) == []
    path.write_text('{"case": 4, "root": 2.0}\n{"case": 9, "ro')
    assert [r["case"] for r in read_records(path)] == [4]
    list(measure_all([9], root, kept_in=path, workers=1))
    assert [r["case"] for r in read_records(path)] == [4, 9]
