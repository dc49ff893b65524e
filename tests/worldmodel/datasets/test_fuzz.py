"""Damaged and made-up files of every format: one of our errors or a result, in time, in memory.

500 cases with every run of the suite; 10,000 with `-m exhaustive`. Seeds are fixed.
"""

import json
import os
import resource
import shutil
import signal
import tarfile
import tempfile
import warnings
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from tests.worldmodel.datasets.layouts import LAYOUTS, Made
from worldmodel.datasets import open_catalogue, open_episodes
from worldmodel.errors import WorldModelError
from worldmodel.video.decoding import Decoding, Limits

SHARE = {"mutations": 360, "manifests": 60, "jsons": 40, "tars": 40}  # of 500
SECONDS = 20  # for one case; it takes milliseconds
MEMORY = 2**31  # bytes more than at the beginning


def cases(kind: str, times: int = 1) -> settings:
    return settings(
        max_examples=SHARE[kind] * times, derandomize=True, deadline=None, database=None,
        phases=(Phase.generate,), suppress_health_check=list(HealthCheck),
    )  # fmt: skip


def each_size(body, kind, *strategies):
    """The body with few cases, and the same with twenty times as many."""
    few = cases(kind)(given(*strategies)(body))
    many = cases(kind, 20)(given(*strategies)(body))
    return few, pytest.mark.slow(pytest.mark.exhaustive(many))


@contextmanager
def in_time_and_memory():
    def late(number, frame):
        raise AssertionError(f"took more than {SECONDS} s")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(SECONDS)
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - used < MEMORY / 1024


def read_all(path, options, *, episodes: bool) -> None:
    """Open everything there; only our errors come out, in one line."""
    decoding = Decoding(short_side=8, limits=Limits(pixels=2**20, frames=10_000, mib=64))
    with in_time_and_memory(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            catalogue = open_catalogue(path, **options)
            for item in catalogue[:4]:
                try:
                    source = item.open(decoding)
                    source.read(np.array([0, min(2, source.num_frames - 1)]))
                    source.close()
                except WorldModelError as error:
                    assert "\n" not in str(error)
            if episodes:
                open_episodes(path, **options)[0]
        except WorldModelError as error:
            assert "\n" not in str(error)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """Every layout, made once; cases work on copies."""
    import av

    root = tmp_path_factory.mktemp("made")
    with av.open(str(root / "v.mp4"), "w") as container:
        stream = container.add_stream("mpeg4", rate=10)
        stream.width, stream.height, stream.pix_fmt = 32, 24, "yuv420p"
        for number in range(6):
            image = np.full((24, 32, 3), 40 * number, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        container.mux(stream.encode(None))
    built = {}
    for name, build in LAYOUTS.items():
        if name != "shards_in_memory":
            (root / name).mkdir()
            built[name] = build(root / name, root / "v.mp4")
    return root, built


@contextmanager
def copy_of(root: Path, name: str, made: Made):
    with tempfile.TemporaryDirectory(dir=root) as place:
        there = Path(place) / "data"
        shutil.copytree(root / name, there)
        yield there, str(made.path).replace(str(root / name), str(there))


STRUCTURED = (".tar", ".h5", ".hdf5", ".parquet", ".npy", ".pth", ".zip")


def mutate(data: bytearray, draw) -> bytes:
    """Cut, overwrite, insert, repeat or exchange a few bytes."""
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(len(data) - 1, 0)))
        how = draw(st.sampled_from(["cut", "flip", "fill", "insert", "number", "drop"]))
        if how == "cut":
            del data[at:]
        elif how == "flip" and data:
            data[at] ^= 1 << draw(st.integers(0, 7))
        elif how == "fill":
            data[at : at + 8] = bytes([draw(st.sampled_from([0, 1, 0x7F, 0x80, 0xFF]))]) * 8
        elif how == "insert":
            data[at:at] = draw(st.binary(min_size=1, max_size=12))
        elif how == "number":
            number = draw(st.sampled_from([b"-1", b"1e400", b"99999999999999999999", b"NaN", b"{"]))
            data[at : at + len(number)] = number
        else:
            del data[at : at + draw(st.integers(1, 600))]
    return bytes(data)


def mutations(made, data):
    """One file of a good data set is damaged: mostly what describes the others."""
    root, built = made
    name = data.draw(st.sampled_from(sorted(built)))
    with copy_of(root, name, built[name]) as (place, path):
        files = sorted(p for p in place.rglob("*") if p.is_file())
        files = [p for p in files if p.suffix not in (".mp4", ".avi", ".webm")] or files
        file = data.draw(st.sampled_from(files))
        content = bytearray(file.read_bytes())
        if file.suffix in STRUCTURED and data.draw(st.booleans()):
            # Where the structure is: the beginning and the end.
            head = bytearray(content[:4096])
            content = bytearray(mutate(head, data.draw) + bytes(content[4096:]))
        else:
            content = bytearray(mutate(content, data.draw))
        file.write_bytes(content)
        read_all(path, built[name].options, episodes=built[name].has_actions)


LINES = st.one_of(
    st.text(max_size=40),
    st.binary(max_size=40).map(lambda b: b.decode("latin-1")),
    st.builds(
        "{}{}{}".format,
        st.sampled_from(
            ["a.mp4", "../a.mp4", '"a b.mp4"', "/dev/null", "\0", "memory://x.mp4", '"']
        ),
        st.sampled_from([" ", ",", "::", "\t", " , ", ""]),
        st.one_of(st.integers().map(str), st.sampled_from(["", "nan", "1.5", "x y", "-1", "٣"])),
    ),
)


def manifests(made, lines, end, mark):
    """Made-up manifests, in bytes that are UTF-8 and in bytes that are not."""
    root, _ = made
    with tempfile.TemporaryDirectory(dir=root) as place:
        path = Path(place) / "list.csv"
        text = end.join(lines)
        path.write_bytes(b"\xef\xbb\xbf" * mark + text.encode("utf-8", "surrogatepass"))
        read_all(path, {}, episodes=False)
        path.write_bytes(text.encode("latin-1", "replace"))
        read_all(path, {}, episodes=False)


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8),
        st.sampled_from(["v2.1", "v3.0", "video", "../../{episode_index}", "{x.__class__}"]),
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=4), inner)
    ),
    max_leaves=8,
)  # fmt: skip
DESCRIBED = {
    "lerobot_v21": ("meta/info.json", "meta/episodes.jsonl"), "lerobot_v3": ("meta/info.json",),
    "something": ("labels/labels.json", "labels/train.json"),
    "diving48": ("Diving48_V2_train.json", "Diving48_vocab.json"),
    "our_episodes": ("episodes.json",), "minari": ("data/metadata.json",),
    "diffusion_policy": ("push.zarr/data/img/.zarray", "push.zarr/meta/episode_ends/.zarray"),
}  # fmt: skip


def jsons(made, data):
    """A value somewhere in a description becomes another, of any type."""
    root, built = made
    name = data.draw(st.sampled_from(sorted(DESCRIBED)))
    with copy_of(root, name, built[name]) as (place, path):
        file = place / data.draw(st.sampled_from(DESCRIBED[name]))
        values = [json.loads(line) for line in file.read_text().splitlines()] if (
            file.suffix == ".jsonl") else [json.loads(file.read_text())]  # fmt: skip
        values[0] = replaced(values[0], data.draw)
        file.write_text("\n".join(json.dumps(value) for value in values))
        read_all(path, {}, episodes=built[name].has_actions)


def replaced(value, draw):
    if isinstance(value, dict) and value and draw(st.integers(0, 9)):
        key = draw(st.sampled_from(sorted(value)))
        return {**value, key: replaced(value[key], draw)}
    if isinstance(value, list) and value and draw(st.integers(0, 9)):
        at = draw(st.integers(0, len(value) - 1))
        return [*value[:at], replaced(value[at], draw), *value[at + 1 :]]
    return draw(JSON)


MEMBERS = st.tuples(
    st.one_of(
        st.sampled_from(["a.mp4", "a.cls", "a.json", "../b.mp4", "/c.mp4", "a", "d.e.mp4"]),
        st.text(min_size=1, max_size=120),
    ),
    st.sampled_from([tarfile.REGTYPE] * 6 + [tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.CHRTYPE,
                                             tarfile.GNUTYPE_SPARSE, b"\x7a"]),
    st.binary(max_size=30),
)  # fmt: skip


def tars(made, entries, form, cut):
    """Made-up tars, whole and cut."""
    import io

    root, _ = made
    with tempfile.TemporaryDirectory(dir=root) as place:
        path = Path(place) / "s.tar"
        try:
            with tarfile.open(path, "w", format=form, errors="surrogateescape") as tar:
                for name, kind, content in entries:
                    info = tarfile.TarInfo(name)
                    info.type, info.size = kind, len(content)
                    tar.addfile(info, io.BytesIO(content))
        except (ValueError, UnicodeError):
            return  # a name that no tar of this kind can hold
        before = sorted(os.listdir(place))
        read_all(path, {}, episodes=False)
        read_all(path, {"on_bad": "skip"}, episodes=False)
        path.write_bytes(path.read_bytes()[:cut])
        read_all(path, {}, episodes=False)
        assert sorted(os.listdir(place)) == before


test_mutations, test_mutations_exhaustively = each_size(mutations, "mutations", st.data())
test_manifests, test_manifests_exhaustively = each_size(
    manifests,
    "manifests",
    st.lists(LINES, max_size=8),
    st.sampled_from(["\n", "\r\n", "\r"]),
    st.booleans(),
)
test_jsons, test_jsons_exhaustively = each_size(jsons, "jsons", st.data())
test_tars, test_tars_exhaustively = each_size(
    tars, "tars", st.lists(MEMBERS, max_size=6), st.sampled_from([0, 1, 2]), st.integers(0, 12_000)
)
