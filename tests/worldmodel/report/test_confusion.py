"""Confusion matrices on the page."""

import json
import re

import pytest

from worldmodel.errors import RunError
from worldmodel.report.confusion import section
from worldmodel.report.run_folder import RunRecord
from worldmodel.report.verb import report
from worldmodel.runs.run import Run


def record(folder, classes, **matrices):
    text = json.dumps({"classes": classes, "matrices": matrices})
    (folder / "confusion.json").write_text(text)
    return RunRecord(folder, "probe", "probe", {}, None, [])


def test_each_cell_says_who_was_taken_for_whom(tmp_path):
    drawn = section([record(tmp_path, ["run", "<walk>"], linear=[[3, 1], [0, 4]])])
    assert "linear: 7 of 8 right" in drawn
    titles = re.findall(r"<title>(.*?)</title>", drawn)
    assert titles == [
        "run taken for run: 3", "run taken for &lt;walk&gt;: 1",
        "&lt;walk&gt; taken for &lt;walk&gt;: 4",
    ]  # fmt: skip
    assert drawn.count("&lt;walk&gt;</text>") == 2 and "<walk>" not in drawn


def test_many_classes_are_drawn_without_names_beside_the_pairs_that_are_confused_most(tmp_path):
    classes = [f"class {i}" for i in range(60)]
    counts = [[5 * (i == j) for j in range(60)] for i in range(60)]
    counts[7][9], counts[3][2] = 4, 2
    drawn = section([record(tmp_path, classes, knn=counts)])
    assert "<text" not in drawn
    rows = re.findall(r"<tr><td>(.*?)</td><td>(.*?)</td><td class=\"number\">(\d+)", drawn)
    assert rows == [("class 7", "class 9", "4"), ("class 3", "class 2", "2")]


def test_a_run_without_one_has_no_part_and_a_damaged_one_is_told(tmp_path):
    assert section([RunRecord(tmp_path, "probe", "probe", {}, None, [])]) == ""
    (tmp_path / "confusion.json").write_text('{"classes": ["a"]}')
    with pytest.raises(RunError, match="confusion.json: is not a confusion matrix; run `probe"):
        section([RunRecord(tmp_path, "probe", "probe", {}, None, [])])


def test_the_page_of_a_run_has_it(tmp_path):
    run = Run.open(tmp_path / "run", verb="probe", config={}, seed=0)
    record(run.folder, ["a", "b"], attentive=[[1, 0], [0, 1]])
    run.finish({"attentive.accuracy": 1.0})
    report(run_folder=str(tmp_path / "run"))
    assert "<h2>Classes</h2>" in (tmp_path / "run/report.html").read_text()
