"""docs/weights.md does what it says: its commands and its Python run as written, on small data."""

import re
from pathlib import Path

import pytest
import torch

from tests.test_readme import write_video
from tests.worldmodel.foreign import makers
from tests.worldmodel.toys import write_dots
from worldmodel.cli import main

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "weights.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    """The fenced blocks of a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with small files of the names that the page uses, of published widths."""
    weights = makers.encoder(192, 16, depth=1), makers.predictor(384, 192, depth=1)
    torch.save(makers.checkpoint(*weights), tmp_path / "vitl.pt")
    torch.save(makers.checkpoint_ac(192, 384, patch=16), tmp_path / "vjepa2-ac.pt")
    write_video(tmp_path / "clip.mp4", frames=16, size=64)  # one window
    write_dots(tmp_path / "runs" / "collect" / "rooms", episodes=8, length=12)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_its_commands_run_one_after_the_other(place: Path) -> None:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert len(lines) >= 6
    for line in lines:
        program, *words = line.split()
        assert program == "worldmodel"
        if words[0] == "bench":
            continue  # takes a ViT-L; tests/worldmodel/test_bench.py runs it small
        assert main(words) == 0, line
    assert (place / "models" / "vitl-hf" / "config.json").is_file()


@pytest.mark.slow
def test_its_python_runs_as_written(place: Path) -> None:
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "docs/weights.md", "exec"), {})


def test_its_report_is_as_the_code_writes_it(place: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["export", "model=vitl.pt", "output=out"]) == 0
    written = capsys.readouterr().err
    shown = blocks("text")[0]
    for line in re.sub(r"\d+", "0", shown).splitlines():
        if line.strip() != "..." and "pos_embed" not in line:  # which the small file has not
            assert line.strip() in re.sub(r"\d+", "0", written), line


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#\s]+)", PAGE) or [""])
def test_links_lead_to_files(target: str) -> None:
    assert target.startswith(("http://", "https://")) or (ROOT / "docs" / target).exists()
