"""Broken files: one line that names the file, or frames; never a crash, a hang or another error."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.worldmodel.video.made_videos import MADE_VIDEOS

ROOT = Path(__file__).parents[3]
SEEDS = ("plain", "mpeg4-b-avi", "variable-mkv", "vp9", "h264-ts", "flv", "gif", "edit-list")

# In a process of its own: a segmentation fault must fail this test, not end the suite.
PROGRAM = """
import faulthandler, os, resource, sys, traceback
from pathlib import Path
import numpy as np
from hypothesis import HealthCheck, Phase, given, seed, settings, strategies as st
from worldmodel.video.decoding import Limits, Decoding
from worldmodel.video.clip import VideoReader, decode, read_clip, video_info
from worldmodel.errors import VideoError

count, rounds, place = int(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
videos = [Path(name).read_bytes() for name in sys.argv[4:]]
limits = Limits(pixels=2**20, frames=5000, mib=64, seconds=10)
reached = {"read": 0, "refused": 0}

def cut(content, at): return content[: int(at * len(content))]
def flip(content, places):
    content = bytearray(content)
    for at, value in places:
        content[int(at * (len(content) - 1))] = value
    return bytes(content)
def swap(content, a, b, size):
    content, i, j = bytearray(content), int(a * len(content)), int(b * len(content))
    content[i : i + size], content[j : j + size] = content[j : j + size], content[i : i + size]
    return bytes(content)

share = st.floats(0, 1, exclude_max=True)
video = st.sampled_from(videos)
byte = st.tuples(share.map(lambda x: x**3), st.sampled_from([0, 1, 127, 128, 255]))
mutated = st.one_of(
    st.builds(cut, video, share),
    st.builds(
        flip, video, st.lists(st.tuples(share, st.integers(0, 255)), min_size=1, max_size=40)
    ),
    st.builds(flip, video, st.lists(byte, min_size=1, max_size=8)),  # mostly in the header
    st.builds(swap, video, share, share, st.integers(1, 200)),
    st.builds(lambda a, b: a[: len(a) // 2] + b[len(b) // 2 :], video, video),
    st.builds(lambda f, tail: f[:200] + tail, video, st.binary(max_size=400)),
    st.binary(min_size=1, max_size=400),
)

def use(source):
    reader = VideoReader(source, Decoding(short_side=8, limits=limits), complete=False)
    last = reader.num_frames - 1
    try:
        reader.read(np.array([last // 2, 0]))
        frames = reader.read(np.array([0, last]))
        assert frames.shape[0] == 2 and frames.shape[1] == 3
        times = reader.times(np.arange(reader.num_frames))
        assert (np.diff(times) > 0).all() and times[0] == 0
    finally:
        reader.close()

def attempt(action):
    try:
        action()
        reached["read"] += 1
    except VideoError as error:
        assert "\\n" not in str(error) and ": " in str(error) and ";" in str(error), str(error)
        reached["refused"] += 1
    except Exception:  # said without the file's content, which stays in `place`
        traceback.print_exc()
        os._exit(3)

def check(content):
    faulthandler.dump_traceback_later(60, exit=True)  # a hang ends the process, with its place
    place.write_bytes(content)
    attempt(lambda: use(content))
    attempt(lambda: [None for _ in decode(place, limits=limits)])
    attempt(lambda: video_info(place, limits=limits))
    attempt(lambda: read_clip(place, num_frames=2, fps=3, size=8, limits=limits))
    faulthandler.cancel_dump_traceback_later()

peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
for content in videos:
    check(content)
before = peak()
for number in range(rounds):
    run = settings(max_examples=count, deadline=None, database=None,
                   phases=[Phase.generate],
                   suppress_health_check=list(HealthCheck))(given(mutated)(check))
    seed(number)(run)()
grown = peak() - before
print(reached, grown)
assert min(reached.values()) > count * rounds / 20, reached
assert grown < 400, f"{grown} MiB more than before"
"""


def fuzz(folder: Path, count: int, rounds: int = 1) -> None:
    videos = [str(MADE_VIDEOS[name].write(folder, name)) for name in SEEDS]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(count), str(rounds), str(folder / "bad.mp4"), *videos],
        capture_output=True, text=True, cwd=ROOT, timeout=60 + count * rounds,
    )  # fmt: skip
    said = f"{done.stdout[-500:]} {done.stderr[-4000:]}"
    assert done.returncode == 0, f"exit {done.returncode}: {said}"


def test_500_broken_files(tmp_path):
    fuzz(tmp_path, 500)


@pytest.mark.exhaustive
def test_10000_broken_files(tmp_path):
    fuzz(tmp_path, 500, rounds=20)
