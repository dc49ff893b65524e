"""The README does what it says: its Python runs as written, its commands exist."""

import re
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from worldmodel.cli import _sort
from worldmodel.settings import settle
from worldmodel.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(*languages: str) -> list[str]:
    """The fenced blocks of a language."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", README, re.MULTILINE | re.DOTALL)
    return [text for language, text in found if language in languages]


def commands() -> list[str]:
    """The lines that a reader would type, without their comments."""
    lines = "\n".join(blocks("", "sh", "bash", "console")).splitlines()
    words = [line.split("#")[0].removeprefix("$ ").strip() for line in lines]
    return [line for line in words if line.startswith(("make ", "worldmodel "))]


def test_it_begins_with_the_two_commands() -> None:
    assert {"make quickstart", "make test"} <= {" ".join(line.split()) for line in commands()}


@pytest.mark.parametrize("line", commands())
def test_every_command_is_one_that_exists(line: str) -> None:
    program, *words = line.split()
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
        return
    assert words[0] in VERBS or words[0].startswith("-")
    if words[0] in VERBS:
        settle(words[0], _sort(words[0], words[1:])[1], checked=False)


@pytest.mark.slow
def test_its_python_runs_as_written(smoke: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(smoke)
    for name in re.findall(r"[\w/.-]+\.mp4", "".join(blocks("python"))):
        write_video(smoke / name)
    names: dict[str, object] = {}
    assert blocks("python")
    for block in blocks("python"):
        exec(compile(block, "README.md", "exec"), names)


@pytest.mark.parametrize("target", re.findall(r"\]\(([^)#\s]+)", README))
def test_links_lead_to_files(target: str) -> None:
    assert target.startswith(("http://", "https://")) or (ROOT / target).exists()


def write_video(path: Path, *, frames: int = 60, size: int = 96, fps: int = 30) -> None:
    """A square that crosses the picture."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=Fraction(fps))
        stream.width = stream.height = size
        stream.pix_fmt = "yuv420p"
        for index in range(frames):
            picture = np.full((size, size, 3), 40, np.uint8)
            picture[30:50, index : index + 20] = (220, 180, 60)
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())
