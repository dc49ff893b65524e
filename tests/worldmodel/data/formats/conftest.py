"""One small video that the layouts copy."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.worldmodel.data.formats.layouts import LAYOUTS, Made


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


@pytest.fixture(autouse=True)
def reader_of_files(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory):
    """Stands in until the reader of videos takes file objects."""
    from worldmodel.data.formats import shards
    from worldmodel.data.video import VideoReader

    def reader(source, opening, *, name):
        if not isinstance(source, str):
            place = tmp_path_factory.mktemp("spooled") / "video.mp4"
            place.write_bytes(source.read())
            source = str(place)
        return VideoReader(source, opening, name=name)

    monkeypatch.setattr(shards, "VideoReader", reader)
