"""What several parts of the suite share: the smoke quickstart, run once."""

import os
from pathlib import Path

import pytest

# As the command line sets it, and as early: threads that spin while they wait make small operations
# many times slower beside one busy neighbour. It is read when torch is imported.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")
if "PYTEST_XDIST_WORKER" in os.environ:  # there is one of these for each core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

from worldmodel.cli.runner import run_verb

# Clips that nobody made for us, where they are at hand.
REAL = Path(__file__).parents[1].parent / "shared" / "videos"


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is exhaustive, whatever else is chosen, unless -m names it."""
    if "exhaustive" in config.option.markexpr:
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    items[:] = [item for item in items if item not in left_out]
    if left_out:
        config.hook.pytest_deselected(items=left_out)


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


@pytest.fixture
def real_videos() -> Path:
    if not REAL.is_dir():
        pytest.skip(f"the folder of real clips is not here: {REAL.name}")
    return REAL
