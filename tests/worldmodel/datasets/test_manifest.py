"""Manifests as V-JEPA reads them, and everything that can be wrong with one."""

import sys

import numpy as np
import pytest

from worldmodel.datasets import open_catalogue
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.decoding import Decoding


def listed(path, text):
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return [(item.key, item.label) for item in open_catalogue(path)]


@pytest.mark.parametrize(
    ("line", "name", "label"),
    [
        ("/v/a.mp4 7", "/v/a.mp4", 7),
        ("/v/a b.mp4 0", "/v/a b.mp4", 0),
        ("/v/a.mp4,12", "/v/a.mp4", 12),
        ("/v/a, b.mp4 , 12", "/v/a, b.mp4", 12),
        ("/v/a b.mp4::3", "/v/a b.mp4", 3),
        ("/v/a.mp4 :: 3", "/v/a.mp4", 3),
        ("/v/a.mp4\t4", "/v/a.mp4", 4),
        ("/v/a.mp4 -1", "/v/a.mp4", None),
        ("/v/a b.mp4", "/v/a b.mp4", None),
        ('"/v/a, ""b"".mp4",5', '/v/a, "b".mp4', 5),
        ('"/v/a.mp4 first.take"', "/v/a.mp4 first.take", None),
        ("/v/clip7", "/v/clip7", None),
        ("/v/año.mp4 1", "/v/año.mp4", 1),
        ("s3://bucket/a.mp4 2", "s3://bucket/a.mp4", 2),
        ("zip://a.mp4::/path/x.zip", "zip://a.mp4::/path/x.zip", None),
        ("zip://a.mp4::/path/x.zip 2", "zip://a.mp4::/path/x.zip", 2),
        ("zip://a.mp4::/path/x.zip::2", "zip://a.mp4::/path/x.zip", 2),
        ("zip://b/a.mp4::s3://bucket/x.zip,7", "zip://b/a.mp4::s3://bucket/x.zip", 7),
        ("simplecache::s3://bucket/a.mp4", "simplecache::s3://bucket/a.mp4", None),
    ],
)
def test_lines(tmp_path, line, name, label):
    assert listed(tmp_path / "m.csv", line) == [(name, label)]


def test_windows_files_and_blank_lines(tmp_path):
    text = b"\xef\xbb\xbf/v/a.mp4 1\r\n\r\n   \r\n/v/b.mp4 2\r\n\n"
    assert listed(tmp_path / "m.txt", text) == [("/v/a.mp4", 1), ("/v/b.mp4", 2)]


def test_relative_paths_start_at_the_manifest(tmp_path):
    inside = str(tmp_path / "x/../a.mp4")
    assert listed(tmp_path / "m.csv", "x/../a.mp4 1") == [(inside, 1)]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is empty"),
        ("\n \r\n", "names no video"),
        (b"\xff\xfe\x00\x01", "not a text file in UTF-8"),
        ("a\0b.mp4 1", "zero bytes"),
        ("/v/a.mp4 1\n/v/b.mp4 jump", r"line 2: label 'jump' is not a whole number"),
        ("/v/a.mp4,0.5", "line 1: label '0.5' is not a whole"),
        ("/v/a.mp4::nan", "label 'nan' is not a whole"),
        ("s3://bucket/a.mp4 jump", "label 'jump' is not a whole"),
        ("zip://a.mp4::/path/x.zip\nzip://a.mp4, jump", "line 2: label 'jump' is not a whole"),
        ("/v/a.mp4 -3", "line 1: label -3 must lie"),
        ("/v/a.mp4 12345678901234567890", "must lie between 0 and"),
        ("/v/a.mp4 1\n../b.mp4 1", r"line 2: '../b.mp4' leaves the manifest's folder"),
        ("a/../../b.mp4", "leaves the manifest's folder; write an absolute path"),
        ("path,label\n/v/a.mp4,1", "'path,label' is a header; remove it"),
        (", 7", "has a label and no path"),
    ],
)
def test_bad_manifests(tmp_path, text, message):
    with pytest.raises(VideoError, match=message) as caught:
        listed(tmp_path / "m.csv", text)
    assert "\n" not in str(caught.value) and "m.csv" in str(caught.value)


@pytest.mark.parametrize("form", ["{}", "{}.mp4 jump", "{} 3", "../{}", "a.mp4 {}"])
def test_a_line_of_megabytes_is_one_short_message(tmp_path, form):
    (tmp_path / "m.csv").write_text("a.mp4 1\n" + form.format("x" * 5_000_000))
    with pytest.raises(VideoError, match="m.csv, line 2: has 50000.. characters") as caught:
        open_catalogue(tmp_path / "m.csv")
    assert len(str(caught.value)) < 300
    (left,) = open_catalogue(tmp_path / "m.csv", on_bad="skip").left_out
    assert len(left.reason) < 300


def test_bad_lines_are_left_out_where_that_is_asked_for(tmp_path):
    (tmp_path / "m.csv").write_text("path,label\na.mp4 1\nb.mp4 jump\n../c.mp4 1\nd.mp4\n")
    catalogue = open_catalogue(tmp_path / "m.csv", on_bad="skip")
    assert [(item.name, item.label) for item in catalogue] == [
        (str(tmp_path / "a.mp4"), 1), (str(tmp_path / "d.mp4"), None),
    ]  # fmt: skip
    assert [out.name for out in catalogue.left_out] == [
        f"{tmp_path}/m.csv, line {line}" for line in (1, 3, 4)
    ]
    assert all(out.reason.startswith(out.name) for out in catalogue.left_out)
    (tmp_path / "m.csv").write_text("a.mp4 jump")
    with pytest.raises(VideoError, match="m.csv: names no video; .*line 1: label 'jump'"):
        open_catalogue(tmp_path / "m.csv", on_bad="skip")
    np.save(tmp_path / "m.npy", np.array(["a.mp4", "b\0.mp4"]))
    assert len(open_catalogue(tmp_path / "m.npy", on_bad="skip").left_out) == 1
    with pytest.raises(ConfigError, match="on_bad=skp is unknown; did you mean 'skip'"):
        open_catalogue(tmp_path / "m.csv", on_bad="skp")


def test_paths_may_leave_when_allowed(tmp_path):
    (tmp_path / "m.csv").write_text("../b.mp4 1")
    (item,) = open_catalogue(tmp_path / "m.csv", outside=True)
    assert item.key == str(tmp_path / "../b.mp4")


def test_a_missing_file_is_named_with_its_line(tmp_path):
    (tmp_path / "m.csv").write_text("\n\nnowhere.mp4 1\n")
    (item,) = open_catalogue(tmp_path / "m.csv")
    with pytest.raises(VideoError, match=r"nowhere.mp4: no such video.*\(.*m.csv, line 3\)"):
        item.open(Decoding())


def test_arrays_of_objects_are_refused_without_running_them(tmp_path):
    class Trap:
        def __reduce__(self):
            return (open, (str(tmp_path / "trap"), "w"))

    np.save(tmp_path / "m.npy", np.array([Trap(), "b"], dtype=object), allow_pickle=True)
    with pytest.raises(VideoError, match="without running code.*array of strings"):
        open_catalogue(tmp_path / "m.npy", format="manifest")
    assert not (tmp_path / "trap").exists()
    np.save(tmp_path / "m.npy", np.arange(3))
    with pytest.raises(VideoError, match="one row of strings"):
        open_catalogue(tmp_path / "m.npy", format="manifest")


def test_an_array_that_claims_too_much_is_refused(tmp_path):
    np.save(tmp_path / "m.npy", np.array(["a.mp4"]))
    data = (tmp_path / "m.npy").read_bytes().replace(b"(1,)", b"(9999999999,)")
    (tmp_path / "m.npy").write_bytes(data)
    with pytest.raises(VideoError, match="m.npy: is not an array of paths"):
        open_catalogue(tmp_path / "m.npy", format="manifest")


def test_several_arrays_and_damaged_headers_are_refused(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.arange(2))
    (tmp_path / "a.npz").rename(tmp_path / "m.npy")
    with pytest.raises(VideoError, match="it holds several arrays"):
        open_catalogue(tmp_path / "m.npy", format="manifest")
    np.save(tmp_path / "m.npy", np.array(["a.mp4"]))
    data = (tmp_path / "m.npy").read_bytes()
    for old, new in ((b"}", b"("), (b"<U5", b"<U\xff"), (b"'descr'", b"r"), (b"{", b"\0")):
        (tmp_path / "m.npy").write_bytes(data.replace(old, new, 1))
        with pytest.raises(VideoError, match="m.npy: is not an array of paths"):
            open_catalogue(tmp_path / "m.npy", format="manifest")


def test_a_line_costs_less_than_a_kilobyte(tmp_path):
    lines = [f"/some/where/class {i % 400}/video_{i:08d}.mp4 {i % 400}" for i in range(20_000)]
    (tmp_path / "m.csv").write_text("\n".join(lines))
    catalogue = open_catalogue(tmp_path / "m.csv")
    kept = sum(sys.getsizeof(path) + 8 for path in catalogue._paths)
    kept += catalogue._labels.nbytes + catalogue._lines.nbytes
    assert kept / len(catalogue) < 1000
    assert catalogue[19_999].label == 399 and catalogue[-1].key.endswith("00019999.mp4")


@pytest.mark.parametrize("first", ["video 1.mp4 0", "video 1.mp4", "name.mp4 3"])
def test_a_video_that_is_called_like_a_header_is_none(tmp_path, first):
    (tmp_path / "list.csv").write_text(f"{first}\n")
    assert open_catalogue(tmp_path / "list.csv")[0].name.endswith(".mp4")
