"""The tests of decoders once more, where FFmpeg's libraries cannot be loaded.

So the run on a machine that has them shows what happens on one that has not.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def hidden(tmp_path: Path) -> dict[str, str]:
    """An environment in which empty files stand before the system's libraries of FFmpeg."""
    for name in ("avutil", "avcodec", "avformat", "avfilter", "avdevice", "swscale", "swresample"):
        for version in range(2, 70):
            (tmp_path / f"lib{name}.so.{version}").touch()
    return os.environ | {"LD_LIBRARY_PATH": str(tmp_path)}


def test_it_is_said_what_to_install(hidden: dict[str, str]) -> None:
    program = "from worldmodel.video.decoders import why_not; print(why_not('torchcodec'))"
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=hidden, capture_output=True, text=True
    )
    assert done.stdout.startswith("torchcodec does not work here"), done.stderr
    assert "apt-get install ffmpeg" in done.stdout


@pytest.mark.slow
def test_the_tests_of_decoders_pass_or_are_skipped(hidden: dict[str, str]) -> None:
    words = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k",
             "(decoder or torchcodec or doctor) and not without_ffmpeg"]  # fmt: skip
    places = ["tests/worldmodel/video", "tests/worldmodel/cli", "tests/benchmarks"]
    done = subprocess.run([*words, *places], cwd=ROOT, env=hidden, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-5000:]
    assert int(re.findall(r"(\d+) passed", done.stdout)[0]) > 50
    assert re.search(r"SKIPPED \[\d\d+\].*torchcodec does not work here", done.stdout)
