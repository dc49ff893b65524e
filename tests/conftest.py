"""What several parts of the suite share: the smoke quickstart, run once."""

import os
from pathlib import Path

import pytest

from worldmodel.execute import run_verb


@pytest.fixture(scope="session")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder with `runs/quickstart` in it: the whole story at tiny sizes, finished."""
    folder = tmp_path_factory.mktemp("smoke")
    before = Path.cwd()
    os.chdir(folder)
    try:
        run_verb("quickstart", ["quickstart=smoke"], runs_dir="runs", name="quickstart")
    finally:
        os.chdir(before)
    return folder
