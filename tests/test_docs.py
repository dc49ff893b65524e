"""The documents do what they say: commands exist, and those of the guides run on small data."""

import re
from pathlib import Path

import pytest

from worldmodel.cli import _sort
from worldmodel.settings import settle
from worldmodel.verbs import VERBS

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def commands(page: Path) -> list[str]:
    """The lines of a page's fenced blocks that a reader would type, without their comments."""
    found = re.findall(r"^```(\w*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)
    text = "\n".join(body for kind, body in found if kind in ("", "sh", "bash", "console"))
    lines = text.replace("\\\n", " ").splitlines()
    words = [line.split(" #")[0].removeprefix("$ ").strip() for line in lines]
    return [" ".join(line.split()) for line in words if line.startswith(("make ", "worldmodel "))]


@pytest.mark.parametrize("line", sorted({line for page in PAGES for line in commands(page)}))
def test_every_command_is_one_that_exists(line: str) -> None:
    program, *words = line.split()
    if program == "make":
        targets = re.findall(r"^(\w+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
        assert words[0] in targets
        return
    assert words[0] in VERBS or words[0].startswith("-")
    if words[0] in VERBS:
        settle(words[0], _sort(words[0], words[1:])[1], checked=False)
