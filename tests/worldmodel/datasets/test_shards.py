"""Shards: the same samples as the library that owns the format yields, and what is refused."""

import io
import tarfile
import zipfile

import braceexpand
import numpy as np
import pytest
import webdataset
from webdataset.tariterators import group_by_keys, tar_file_expander

from tests.worldmodel.datasets.layouts import write_tar
from worldmodel.datasets import open_catalogue
from worldmodel.datasets.shards import list_shards
from worldmodel.datasets.tar_members import member_file, members, samples
from worldmodel.errors import ConfigError, VideoError, WorldModelError
from worldmodel.video.decoding import Decoding

NAMES = [
    "a.mp4", "a.cls", "b/a.mp4", "b/a.left.mp4", "B.MP4", "B.Cls", "no_dot", "c.d/e.mp4", "c.d/f",
    "dir/.hidden.mp4", ".hidden.mp4", "__meta__", "__x__/a.mp4", "z.tar.gz", "a.mp4.txt", "a.json",
    "./q.mp4", "ä ö.mp4", "z.", "../up.mp4", "/abs.mp4", "x" * 150 + ".mp4",
]  # fmt: skip


def ours(path):
    with open(path, "rb") as file:
        found = list(samples(members(file, "s"), "s"))
    read = {s.key: {k: member_file(str(path), m.offset, m.size).read() for k, m in s.parts.items()}
            for s in found}  # fmt: skip
    return [s.key for s in found], read


def theirs(path):
    # WebDataset itself leaves the file open, which is an error in this suite.
    with open(path, "rb") as file:
        found = list(group_by_keys(tar_file_expander([{"url": "s", "stream": file}])))
    parts = {s["__key__"]: {k: v for k, v in s.items() if k[:2] != "__"} for s in found}
    return [s["__key__"] for s in found], parts


@pytest.mark.parametrize("format", [tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT])
def test_samples_are_those_of_webdataset(tmp_path, format):
    path = tmp_path / "s.tar"
    with tarfile.open(path, "w", format=format) as tar:
        folder = tarfile.TarInfo("b")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
        for number, name in enumerate(NAMES):
            if format == tarfile.USTAR_FORMAT and len(name) > 100:
                continue
            info = tarfile.TarInfo(name)
            info.size = 100 * number
            tar.addfile(info, io.BytesIO(bytes([number]) * info.size))
    assert ours(path) == theirs(path)


def test_a_shard_written_by_webdataset(tmp_path, video):
    data = video.read_bytes()
    with webdataset.TarWriter(str(tmp_path / "s.tar"), encoder=True) as writer:
        for number in range(3):
            writer.write({"__key__": f"k{number}", "mp4": data, "cls": number})
    catalogue = open_catalogue(tmp_path / "s.tar")
    assert [item.label for item in catalogue] == [0, 1, 2]
    assert all(member_file(i.shard, i.offset, i.size).read() == data for i in catalogue)
    assert ours(tmp_path / "s.tar") == theirs(tmp_path / "s.tar")


@pytest.mark.parametrize("pattern", ["s-{000..003}.tar", "{a,b}/s-{1,02}.tar"])
def test_patterns_are_those_of_braceexpand(pattern):
    assert list_shards(pattern) == list(braceexpand.braceexpand(pattern))


@pytest.mark.parametrize(
    "pattern", ["s-{0..99999999999}.tar", "{0..9999}{0..9999}.tar", "{0..1.tar"]
)
def test_patterns_that_explode_are_refused(pattern):
    with pytest.raises(WorldModelError):
        list_shards(pattern)


def test_globs_and_folders_by_url(tmp_path, video):
    import fsspec

    system = fsspec.filesystem("memory")
    local = write_tar(tmp_path / "s.tar", {"1.mp4": video.read_bytes()}).read_bytes()
    for name in ("t/b.tar", "t/a.tar", "t/c.json"):
        system.pipe_file(f"/{tmp_path.name}/{name}", local)
    base = f"memory://{tmp_path.name}/t"
    for path in (f"{base}/*.tar", f"{base}/"):
        assert [i.name.rpartition("/")[2] for i in open_catalogue(path)] == [
            "a.tar::1.mp4", "b.tar::1.mp4",
        ]  # fmt: skip
    with pytest.raises(VideoError, match="stands for no shard"):
        open_catalogue(f"{base}/nothing*.tar", format="shards")
    with pytest.raises(VideoError, match="nothing.tar: cannot be read"):
        open_catalogue(f"{base}/nothing.tar")


def test_commands_are_not_run(tmp_path):
    with pytest.raises(ConfigError, match="commands are not run"):
        open_catalogue(f"pipe:touch {tmp_path}/ran")
    assert not (tmp_path / "ran").exists()


def entries(video):
    data = video.read_bytes()
    return {"a.mp4": data, "a.cls": b"1", "b.mp4": data, "b.cls": b"2"}


def test_a_shard_that_is_cut_anywhere_is_named_or_counted(tmp_path, video):
    path = write_tar(tmp_path / "s.tar", entries(video))
    whole = path.read_bytes()
    end = len(whole.rstrip(b"\0"))
    end += -end % 512
    for cut in [1, 300, 512, 900, 5000, end // 2, end - 512, end - 1, end, end + 100]:
        path.write_bytes(whole[:cut])
        with pytest.raises(VideoError, match="s.tar: (is cut|is damaged)") as caught:
            open_catalogue(path)
        assert "\n" not in str(caught.value)
    path.write_bytes(whole[: end - 1024])
    for at, taken, said in (
        (end - 1024, {"a.mp4": 1, "b.mp4": None}, "is cut after 'b.mp4'"),  # before b.cls
        (end - 800, {"a.mp4": 1, "b.mp4": None}, "is cut after 'b.mp4'"),  # in its header
        (end - 512, {"a.mp4": 1}, "is cut in the middle of 'b.cls'"),
        (end - 1500, {"a.mp4": 1}, "is cut in the middle of 'b.mp4'"),
    ):
        path.write_bytes(whole[:at])
        kept = open_catalogue(path, on_bad="skip")
        assert {item.name.rpartition("::")[2]: item.label for item in kept} == taken
        assert len(kept.left_out) == 1 and said in kept.left_out[0].reason


def test_shards_inside_an_archive_by_a_chained_url(tmp_path, video):
    write_tar(tmp_path / "s.tar", entries(video))
    with zipfile.ZipFile(tmp_path / "z.zip", "w") as archive:
        archive.write(tmp_path / "s.tar", "in/s.tar")
    catalogue = open_catalogue(f"zip://in/s.tar::{tmp_path}/z.zip")
    assert [item.label for item in catalogue] == [1, 2]
    source = catalogue[1].open(Decoding())
    assert len(source.read(np.array([0, 1]))) == 2
    source.close()


@pytest.mark.parametrize("pattern", ["shard-{000000..000001}.tar", "shard-*.tar", "*.tar"])
def test_patterns_of_shards_inside_an_archive(tmp_path, video, pattern):
    with zipfile.ZipFile(tmp_path / "s.zip", "w") as archive:
        for number in range(2):
            write_tar(tmp_path / "s.tar", {f"{number}.mp4": video.read_bytes()})
            archive.write(tmp_path / "s.tar", f"shard-{number:06d}.tar")
        archive.writestr("notes.txt", "no shard")
    catalogue = open_catalogue(f"zip://{pattern}::{tmp_path}/s.zip")
    assert [item.name for item in catalogue] == [
        f"zip://shard-{number:06d}.tar::{tmp_path}/s.zip::{number}.mp4" for number in range(2)
    ]
    source = catalogue[1].open(Decoding())
    assert len(source.read(np.array([0, 1]))) == 2
    source.close()


def test_patterns_behind_a_cache_or_in_no_archive(tmp_path, video):
    write_tar(tmp_path / "s.tar", {"1.mp4": video.read_bytes()})
    (shard,) = list_shards(f"simplecache::file://{tmp_path}/*.tar")
    assert shard == f"simplecache::file://{tmp_path}/s.tar"
    with pytest.raises(VideoError, match=r"\*.tar::.*nowhere.zip: cannot be listed") as caught:
        open_catalogue(f"zip://*.tar::{tmp_path}/nowhere.zip")
    assert "\n" not in str(caught.value)


def test_damage_in_the_middle_is_not_taken_for_the_end(tmp_path, video):
    path = write_tar(tmp_path / "s.tar", entries(video))
    data = bytearray(path.read_bytes())
    second = data.index(b"a.cls")
    data[second : second + 300] = b"\x07" * 300
    path.write_bytes(data)
    with pytest.raises(VideoError, match="s.tar: is damaged after 'a.mp4'"):
        open_catalogue(path)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(tmp_path, kind):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        info = tarfile.TarInfo("a.mp4")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(VideoError, match="'a.mp4' is a link, a device"):
        open_catalogue(tmp_path / "s.tar")


def test_names_that_lead_up_stay_names(tmp_path, video):
    data = video.read_bytes()
    write_tar(tmp_path / "s.tar", {"../../up.mp4": data, "/root/a.mp4": data, "b\n.mp4": data})
    before = {p for p in tmp_path.rglob("*")}
    catalogue = open_catalogue(tmp_path / "s.tar")
    assert [item.name.rpartition("::")[2] for item in catalogue] == [
        "_/_/up.mp4", "root/a.mp4", "b\\n.mp4",
    ]  # fmt: skip
    assert catalogue[0].size == len(data)
    assert {p for p in tmp_path.rglob("*")} == before


def test_compressed_shards_are_refused(tmp_path):
    for suffix, mode in ((".tar.gz", "w:gz"), (".tar", "w:xz")):
        with tarfile.open(tmp_path / f"s{suffix}", mode):
            pass
        with pytest.raises(VideoError, match="is compressed"):
            open_catalogue(tmp_path / f"s{suffix}")


@pytest.mark.parametrize(
    ("members", "options", "message"),
    [
        ({"a.txt": b"x"}, {}, "sample 'a' has no video among txt"),
        ({"a.l.mp4": b"x", "a.r.mp4": b"x"}, {}, r"has 2 videos \(l.mp4, r.mp4\); choose with"),
        ({"a.mp4": b"x", "a.cls": b"99999999999"}, {}, "cls of sample 'a' cannot be read"),
        ({"a.mp4": b"x", "a.json": b"{"}, {}, "json of sample 'a' cannot be read"),
        ({"a.mp4": b"x", "a.json": b"[" * 90_000}, {}, "json of sample 'a' cannot be read"),
        ({"a.mp4": b"x", "a.json": b'{"label": 1.5}'}, {}, "neither a whole number nor a word"),
        ({"a.mp4": b"x", "a.json": b'{"label": NaN}'}, {}, "neither a whole number nor a word"),
        ({"a.mp4": b"x", "a.cls": b"0.5"}, {}, "label 0.5 is not a whole number"),
        ({"a.mp4": b"x", "a.cls": b"\xff\xfe"}, {}, "cls of sample 'a' cannot be read"),
        ({"a.mp4": b"x", "a.cls": b"1", "b.mp4": b"x", "b.cls": b"w"}, {}, "some numbers|words"),
        ({"a.mp4": b"x", "a.cls": bytes(2**20 + 1)}, {}, "too many for a label"),
        ({"a.mp4": b"x"}, {"video": "webm"}, "no webm among mp4"),
        ({"a.mp4": b""}, {}, "is empty"),
    ],
)  # fmt: skip
def test_bad_samples(tmp_path, members, options, message):
    from worldmodel.video.decoding import Decoding

    write_tar(tmp_path / "s.tar", members)
    with pytest.raises(VideoError, match=message) as caught:
        open_catalogue(tmp_path / "s.tar", **options)[0].open(Decoding())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("members", "label"),
    [
        ({"a.b.mp4": b"x", "a.b.cls": b"7"}, 7),
        ({"a.b.mp4": b"x", "a.b.json": b'{"label": 7}'}, 7),
        ({"a.b.mp4": b"x", "a.b.cls": b"7", "a.cls": b"1"}, 7),
        ({"a.b.mp4": b"x", "a.cls": b"1"}, 1),
        ({"v1.2.0.mp4": b"x", "v1.2.0.cls": b"7"}, 7),
        ({"a.mp4": b"x", "a.cls": b"3.0"}, 3),
        ({"a.mp4": b"x", "a.cls": b"-1.0"}, None),
        ({"a.mp4": b"x", "a.cls": b"\xef\xbb\xbf3\r\n"}, 3),
        ({"a.mp4": b"x", "a.json": b'\xef\xbb\xbf{"label": 3.0}'}, 3),
    ],
)  # fmt: skip
def test_class_numbers_however_they_are_written(tmp_path, members, label):
    write_tar(tmp_path / "s.tar", members)
    catalogue = open_catalogue(tmp_path / "s.tar")
    assert [item.label for item in catalogue] == [label] and catalogue.classes == ()


@pytest.mark.parametrize("word", ["run", "3 legs", "v1.2", "1_000", "nan"])
def test_words_stay_words(tmp_path, word):
    write_tar(tmp_path / "s.tar", {"a.mp4": b"x", "a.cls": word.encode()})
    assert open_catalogue(tmp_path / "s.tar").classes == (word,)


def test_a_member_twice_is_refused(tmp_path):
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        for _ in range(2):
            tar.addfile(tarfile.TarInfo("a.mp4"))
    with pytest.raises(VideoError, match="'a.mp4' is there twice"):
        open_catalogue(tmp_path / "s.tar")


def test_a_video_can_be_chosen_and_labels_left(tmp_path, video):
    data = video.read_bytes()
    write_tar(tmp_path / "s.tar", {"a.l.mp4": data, "a.r.mp4": data + b"r", "a.txt": b"run"})
    (item,) = open_catalogue(tmp_path / "s.tar", video="r.mp4", label="none")
    assert item.size == len(data) + 1 and item.label is None
    named = open_catalogue(tmp_path / "s.tar", video="l.mp4", label="txt")
    assert named.classes == ("run",) and named[0].label == 0
    with pytest.raises(ConfigError, match="label=clas is unknown; did you mean 'cls'"):
        open_catalogue(tmp_path / "s.tar", label="clas")
