"""Memory of a process and its children, while children come and go."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from worldmodel.runs import memory

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="reads /proc")


def test_children_are_found_and_their_children():
    line = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'input()'])"
    child = subprocess.Popen([sys.executable, "-c", line], stdin=subprocess.PIPE)
    try:
        while len(found := memory._descendants(child.pid)) < 1:
            pass
        assert {child.pid, *found} <= set(memory._descendants(os.getpid()))
    finally:
        child.communicate(b"\n", timeout=60)


def test_a_process_that_ends_while_it_is_looked_at_holds_nothing(monkeypatch):
    """Children are listed, and gone when they are looked at themselves."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    read = Path.read_text
    monkeypatch.setattr(
        Path, "read_text",
        lambda path: str(gone.pid) if path.name == "children" else read(path),
    )  # fmt: skip
    assert memory._descendants(gone.pid) == []
    assert set(memory._descendants(os.getpid())) == {gone.pid}
    assert memory.resident_bytes() > 0
