"""A decoder is said to work where it has decoded something, not where it can be imported."""

import importlib.util
import subprocess
import sys
from types import ModuleType

import numpy as np
import pytest
import torch

from worldmodel.errors import ConfigError
from worldmodel.video.clip import VideoReader, read_clip
from worldmodel.video.decoders import known, why_not
from worldmodel.video.decoding import Decoding

# As torchcodec tells it, cut short: of each FFmpeg that it tries why it is not that one.
UNLOADED = """Could not load libtorchcodec. Likely causes:
          1. FFmpeg is not properly installed in your environment.
FFmpeg version 8:
OSError: {eight}
The above exception was the direct cause of the following exception:
OSError: Could not load this library: /somewhere/libtorchcodec_core8.so
FFmpeg version 7:
OSError: {seven}
OSError: Could not load this library: /somewhere/libtorchcodec_core7.so
[end of libtorchcodec loading traceback]."""
ABSENT = "libavutil.so.{}: cannot open shared object file: No such file or directory"


@pytest.fixture
def torchcodec_with(monkeypatch):
    """Puts a class in the place of torchcodec's decoder; what was found out before is forgotten."""

    def put(decoder: type) -> None:
        package, decoders = ModuleType("torchcodec"), ModuleType("torchcodec.decoders")
        decoders.VideoDecoder = decoder
        monkeypatch.setitem(sys.modules, "torchcodec", package)
        monkeypatch.setitem(sys.modules, "torchcodec.decoders", decoders)
        why_not.cache_clear()

    yield put
    why_not.cache_clear()


def that_says(text: str) -> type:
    """A decoder that can be imported and fails once it is used."""

    class Fails:
        def __init__(self, *_: object, **__: object) -> None:
            raise RuntimeError(text)

    return Fails


def test_pyav_works_and_every_answer_is_a_line():
    assert why_not("pyav") is None
    for name in known():
        answer = why_not(name)
        assert answer is None or (answer.startswith(name) and "; " in answer and "\n" not in answer)


def test_a_library_of_ffmpeg_that_is_missing_is_named(torchcodec_with):
    text = UNLOADED.format(eight=ABSENT.format(60), seven=ABSENT.format(59))
    torchcodec_with(that_says(text))
    answer = why_not("torchcodec")
    assert "libavutil" in answer and "apt-get install ffmpeg" in answer
    assert "\n" not in answer and len(answer) < 300


def test_the_ffmpeg_that_is_there_gives_the_reason(torchcodec_with):
    seven = "/somewhere/libtorchcodec_core7.so: undefined symbol: _ZN2at4Tag"
    torchcodec_with(that_says(UNLOADED.format(eight=ABSENT.format(60), seven=seven)))
    answer = why_not("torchcodec")
    assert "undefined symbol" in answer and "libavutil" not in answer


def test_a_decoder_that_gives_wrong_frames_does_not_work(torchcodec_with):
    class Black:
        def __init__(self, *_: object, **__: object) -> None: ...

        def __len__(self) -> int:
            return 6

        def get_frames_at(self, indices: list[int]) -> object:
            batch = ModuleType("batch")
            batch.data = torch.zeros(len(indices), 3, 64, 64, dtype=torch.uint8)
            batch.pts_seconds = torch.tensor(indices) / 10
            return batch

    torchcodec_with(Black)
    assert "wrong frames" in why_not("torchcodec")


@pytest.mark.parametrize("name", ["torchcodec", "decord"])
def test_a_package_that_is_not_installed_is_said(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, f"{name}.decoders", raising=False)
    why_not.cache_clear()
    try:
        assert "pip install" in why_not(name) and name in why_not(name)
    finally:
        why_not.cache_clear()


def test_it_is_said_before_the_first_file_is_opened_and_auto_goes_on(
    tmp_path, make_video, torchcodec_with
):
    torchcodec_with(that_says(UNLOADED.format(eight=ABSENT.format(60), seven=ABSENT.format(59))))
    for ask in (
        lambda path: read_clip(path, num_frames=1, backend="torchcodec"),
        lambda path: VideoReader(path, Decoding(backend="torchcodec")),
    ):
        with pytest.raises(ConfigError, match="^backend=torchcodec: .*libavutil.*backend=auto$"):
            ask(tmp_path / "there_is_no_such_file.mp4")
    reader = VideoReader(make_video(tmp_path / "a.mp4"), Decoding(backend="auto"))
    assert reader.backend == "pyav" and len(reader.read(np.arange(3))) == 3


def test_worlds_that_pygame_draws_are_drawn_where_decord_has_read_something():
    """Its library brings a zlib, with which pygame could not read the pendulum's arrow."""
    if why_not("decord") is not None or importlib.util.find_spec("pygame") is None:
        pytest.skip("decord or pygame is not installed")
    code = (
        "import gymnasium\n"
        "from worldmodel.video.decoders import why_not\n"
        "assert why_not('decord') is None\n"
        "env = gymnasium.make('Pendulum-v1', render_mode='rgb_array')\n"
        "env.reset(seed=0)\n"
        "assert env.render().std() > 1\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
