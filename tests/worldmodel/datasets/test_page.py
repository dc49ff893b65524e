"""docs/data.md: its Python runs as written, and its table names every format and option."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from tests.worldmodel.datasets.layouts import lerobot_v3, put
from worldmodel.datasets import format as registry
from worldmodel.datasets import formats

PAGE = (Path(__file__).parents[3] / "docs" / "data.md").read_text(encoding="utf-8")
ROWS = dict(re.findall(r"^\| `(\w+)` \|(.*)\|$", PAGE, re.MULTILINE))


@pytest.mark.parametrize("name", list(formats()))
def test_the_table_names_every_format_and_option(name):
    options = re.findall(r"`(\w+)`", ROWS[name].rpartition("|")[2])
    assert set(options) == {field.name for field in fields(formats()[name])}


def test_its_python_runs_as_written(tmp_path, monkeypatch, video, capsys):
    put(video, tmp_path / "my/videos/a.mp4")
    (tmp_path / "my/robot").mkdir()
    lerobot_v3(tmp_path / "my/robot", video)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(registry, "_REGISTRY", dict(registry._REGISTRY))
    for block in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL):
        # A module of its own, as dataclasses look theirs up.
        exec(compile(block, "data.md", "exec"), {"__name__": __name__})
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["folder", "1 my/videos/a.mp4 None"]
    assert lines[2:] == ["3 [5, 8, 6] 10.0", "torch.Size([5, 64, 64, 3]) torch.Size([4, 2])"]
    put(video, tmp_path / "takes/take-1.mp4")
    assert formats()["takes"].recognises("takes")
