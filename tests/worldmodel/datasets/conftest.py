"""One small video that the layouts copy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worldmodel.datasets.layouts import LAYOUTS, Made


@pytest.fixture
def video(tmp_path_factory, make_video) -> Path:
    return make_video(tmp_path_factory.mktemp("video") / "video.mp4", 8, size=(32, 24))


@pytest.fixture
def make_layout(tmp_path: Path, video: Path) -> Callable[[str], Made]:
    def make(name: str) -> Made:
        place = tmp_path / name
        place.mkdir()
        return LAYOUTS[name](place, video)

    return make
