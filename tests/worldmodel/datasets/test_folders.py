"""Folders of videos and of images: what is found, in which order, and what is refused."""

import os

import av
import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import ImageFolder

from worldmodel.datasets import find_format, open_catalogue, open_episodes
from worldmodel.datasets.listing import walk
from worldmodel.errors import EpisodeError, VideoError
from worldmodel.video.decoding import Decoding, Limits


def image(path, colour=90, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), colour, np.uint8)).save(path)
    return path


def test_loops_of_links_end_and_files_come_once(tmp_path, video):
    place = tmp_path / "v"
    (place / "deep").mkdir(parents=True)
    (place / "deep" / "a.mp4").write_bytes(b"1")
    (place / "deep" / "up").symlink_to(place)
    (place / "0-link").symlink_to(place / "deep")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "b.mp4").write_bytes(b"1")
    (place / "other").symlink_to(elsewhere)
    names = [os.path.relpath(item.key, place) for item in open_catalogue(place)]
    assert names == ["deep/a.mp4", "other/b.mp4"]


def test_hidden_files_are_left_out(tmp_path):
    (tmp_path / ".cache").mkdir()
    for name in ("a.mp4", "._a.mp4", ".cache/b.mp4"):
        (tmp_path / name).write_bytes(b"1")
    assert [os.path.basename(path) for path in walk(tmp_path)] == ["a.mp4"]


@pytest.mark.parametrize(
    ("ending", "codec"),
    [
        ("asf", "wmv2"),
        ("f4v", "libx264"),
        ("m2ts", "mpeg2video"),
        ("mts", "mpeg2video"),
        ("vob", "mpeg2video"),
    ],
)
def test_a_camera_s_and_a_disc_s_endings_are_found(tmp_path, ending, codec):
    muxer = {"mts": "mpegts"}.get(ending)
    with av.open(str(tmp_path / f"a.{ending}"), "w", format=muxer) as container:
        stream = container.add_stream(codec, rate=25)
        stream.width, stream.height, stream.pix_fmt = 48, 32, "yuv420p"
        for _ in range(6):
            image = av.VideoFrame.from_ndarray(np.full((32, 48, 3), 90, np.uint8), "rgb24")
            container.mux(stream.encode(image))
        container.mux(stream.encode(None))
    assert open_catalogue(tmp_path)[0].open(Decoding()).num_frames == 6


def test_strange_names_are_shown_in_one_line(tmp_path, video):
    for name in (b"two\nlines.mp4", b"b\xff.mp4", b"c d.mp4"):
        with open(os.path.join(os.fsencode(tmp_path), name), "wb") as file:
            file.write(video.read_bytes())
    catalogue = open_catalogue(tmp_path)
    assert [item.name.rpartition("/")[2] for item in catalogue] == [
        "b\\udcff.mp4", "c d.mp4", "two\\nlines.mp4",
    ]  # fmt: skip


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_named(tmp_path):
    (tmp_path / "closed").mkdir(mode=0)
    with pytest.raises(VideoError, match="closed: folder cannot be read"):
        open_catalogue(tmp_path)


def test_a_video_outside_class_folders_is_named(tmp_path):
    (tmp_path / "a.mp4").write_bytes(b"1")
    with pytest.raises(VideoError, match="a.mp4: is in no class folder"):
        open_catalogue(tmp_path, classes=True)


def test_images_are_listed_as_torchvision_does(tmp_path):
    for name in ("dog/1.png", "dog/x/0.jpeg", "cat/2.JPG", "cat/10.webp", "emu/y/z/1.bmp"):
        image(tmp_path / name)
    (tmp_path / "cat" / "notes.txt").write_text("")
    theirs = ImageFolder(str(tmp_path))
    ours = open_catalogue(tmp_path)
    assert list(ours.classes) == theirs.classes
    assert sorted((item.key, item.label) for item in ours) == sorted(theirs.samples)


def test_images_beside_videos_are_no_image_folder(tmp_path):
    image(tmp_path / "thumbnail.png")
    (tmp_path / "a.mp4").write_bytes(b"1")
    assert find_format(tmp_path).name == "folder"


def test_images_in_one_folder_have_no_classes(tmp_path):
    image(tmp_path / "a.png")
    image(tmp_path / "deeper" / "b.png")
    catalogue = open_catalogue(tmp_path)
    assert catalogue.classes == () and catalogue[0].label is None


def test_a_image_is_a_video_of_one_frame_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # lying: to be turned
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, :20] = 200
    Image.fromarray(wide).save(tmp_path / "a.jpg", exif=exif, quality=95)
    source = open_catalogue(tmp_path)[0].open(Decoding())
    frames = source.read(np.array([0, 0]))
    assert source.num_frames == 1 and frames.shape == (2, 3, 40, 10)
    assert frames[0, :, :15].float().mean() > 190 and frames[0, :, 25:].float().mean() < 10


def test_deep_and_grey_images_keep_their_range(tmp_path):
    deep = np.array([[0, 128 << 8], [255 << 8, 65535]], np.uint16)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    frames = open_catalogue(tmp_path)[0].open(Decoding()).read(np.array([0]))
    assert frames[0, 1].tolist() == [[0, 128], [255, 255]]


def test_large_images_are_refused_before_they_are_decoded(tmp_path):
    image(tmp_path / "a.png", size=(300, 200))
    item = open_catalogue(tmp_path)[0]
    with pytest.raises(VideoError, match="300 x 200 pixels are more than the limit of 5000"):
        item.open(Decoding(limits=Limits(pixels=5000)))


@pytest.mark.parametrize("cut", [10, 60, 150])
def test_truncated_images_are_named(tmp_path, cut):
    path = image(tmp_path / "a.png")
    noise = np.random.default_rng(0).integers(0, 255, (30, 30, 3)).astype(np.uint8)
    Image.fromarray(noise).save(path)
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(VideoError, match="a.png: is not a complete image"):
        open_catalogue(tmp_path)[0].open(Decoding())


@pytest.mark.parametrize("ending", ["png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("deep", [False, True])
def test_images_of_any_depth_are_upright(tmp_path, ending, orientation, deep):
    """A bright corner, which each of the eight orientations puts somewhere else."""
    levels = np.zeros((32, 48), np.uint16 if deep else np.uint8)
    levels[:8, :16] = 65535 if deep else 255
    tags = {"tiffinfo": {274: orientation}}
    if ending == "png":
        tags = {"exif": Image.Exif()}
        tags["exif"][274] = orientation
    Image.fromarray(levels).save(tmp_path / f"a.{ending}", **tags)
    right = {
        1: levels, 2: np.fliplr(levels), 3: np.rot90(levels, 2), 4: np.flipud(levels),
        5: levels.T, 6: np.rot90(levels, -1), 7: np.rot90(levels, 2).T, 8: np.rot90(levels),
    }[orientation]  # fmt: skip
    frames = open_catalogue(tmp_path)[0].open(Decoding()).read(np.array([0]))
    assert np.array_equal(frames[0, 0].numpy() > 0, right > 0)


@pytest.mark.parametrize("name", ["a.png", "a.webp", "a.tif"])
def test_animations_and_pages_are_not_their_first_image(tmp_path, name):
    first, *more = (Image.fromarray(np.full((20, 30), 50 * k, np.uint8)) for k in range(3))
    first.save(tmp_path / name, save_all=True, append_images=more)
    with pytest.raises(VideoError, match=f"{name}: is an animation or a document of 3"):
        open_catalogue(tmp_path)[0].open(Decoding())


def test_an_image_by_its_path_is_a_video_of_one_frame(tmp_path):
    path = image(tmp_path / "a.png")
    (item,) = open_catalogue(path)
    assert item.open(Decoding()).num_frames == 1


@pytest.mark.parametrize(
    ("name", "layout"),
    [
        ("1.0.0/bridge-train.tfrecord-00000-of-00012", "RLDS .*not read; convert"),
        ("data/train-00000-of-00002.parquet", "shards of Hugging Face.*not read; convert"),
        ("pusht/pusht.zarr/.zgroup", "zarr stores.*name one that holds .* meta/episode_ends"),
        ("zarr.json", "zarr stores"),
        ("door/human-v2/data/main_data.hdf5", "Minari data sets, .* name the folder above"),
        ("transfer_cube/episode_0.hdf5", "ACT's episodes .*; name one that they lie in"),
    ],
)
def test_layouts_that_are_not_read_are_named(tmp_path, name, layout):
    (tmp_path / "d" / name).parent.mkdir(parents=True)
    (tmp_path / "d" / name).write_bytes(b"1")
    with pytest.raises(VideoError, match=f"d: looks like {layout}") as caught:
        open_catalogue(tmp_path / "d")
    assert "\n" not in str(caught.value)
    with pytest.raises(EpisodeError, match=f"looks like {layout}"):
        open_episodes(tmp_path / "d")
    (tmp_path / "d" / "a.mp4").write_bytes(b"1")
    assert len(open_catalogue(tmp_path / "d")) == 1
