"""Folders of numbered images as videos: their recognition, their order, and what is refused."""

import numpy as np
import pytest
from PIL import Image

from worldmodel.datasets import find_format, frame_folders, open_catalogue
from worldmodel.datasets.frame_folders import timed_frames
from worldmodel.errors import ConfigError, VideoError
from worldmodel.video.clip import read_clip
from worldmodel.video.decoding import Decoding


def frame(path, level, size=(30, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((size[1], size[0], 3), level, np.uint8)).save(path, quality=95)


def clips(root, names=("run/a", "run/b", "jump/c"), count=12, form="{}.png", first=1):
    """Folders of frames whose grey is ten times their place."""
    for name in names:
        for place in range(count):
            frame(root / name / form.format(first + place), 10 * place % 250)


def levels(item, numbers):
    return item.open(Decoding()).read(np.array(numbers))[:, 0, 0, 0].tolist()


@pytest.mark.parametrize(
    "form",
    ["{}.png", "{:06d}.jpg", "frame_{}.PNG", "{}_rgb.webp", "cam0-{:04d}.jpeg", "2024.{}.bmp"],
)
def test_numbers_are_put_in_order_and_classes_are_folders(tmp_path, form):
    clips(tmp_path, form=form)
    assert find_format(tmp_path).name == "frames"
    catalogue = open_catalogue(tmp_path, fps=20)
    assert [item.name[len(str(tmp_path)) :] for item in catalogue] == [
        "/jump/c",
        "/run/a",
        "/run/b",
    ]
    assert catalogue.classes == ("jump", "run")
    assert [item.label for item in catalogue] == [0, 1, 1]
    for item in catalogue:
        assert np.allclose(levels(item, [0, 1, 9, 10, 11]), [0, 10, 90, 100, 110], atol=2)
        video = item.open(Decoding())
        assert video.num_frames == 12
        assert np.allclose(video.times(np.arange(3)), [0, 0.05, 0.1])


def test_images_are_decoded_only_when_they_are_asked_for(tmp_path, monkeypatch):
    clips(tmp_path, count=40)
    asked = []
    read = frame_folders.read_image

    def watched(source, name, limits):
        asked.append(source.rpartition("/")[2])
        return read(source, name, limits)

    monkeypatch.setattr(frame_folders, "read_image", watched)
    video = open_catalogue(tmp_path, fps=10)[0].open(Decoding())
    assert asked == ["1.png"]  # for the size
    asked.clear()
    video.read(np.array([3, 3, 7]))
    assert asked == ["4.png", "8.png"]


def test_one_folder_is_one_video(tmp_path):
    clips(tmp_path, ["clip"])
    (item,) = open_catalogue(tmp_path / "clip", fps=5)
    assert item.label is None and levels(item, [11]) == [110]
    (again,) = open_catalogue(f"{tmp_path}/clip/", fps=5)
    assert levels(again, [11]) == [110]


def test_folders_at_the_top_have_no_classes(tmp_path):
    clips(tmp_path, ["a", "b"])
    catalogue = open_catalogue(tmp_path, fps=5)
    assert catalogue.classes == () and [item.label for item in catalogue] == [None, None]


def test_the_nearest_rate_file_counts(tmp_path):
    clips(tmp_path)
    (tmp_path / "fps.txt").write_text("25\n")
    (tmp_path / "run" / "a" / "fps.txt").write_text("\ufeff29.97")
    (tmp_path / "jump" / "fps.txt").write_text("5")
    assert [item.fps for item in open_catalogue(tmp_path)] == [5, 29.97, 25]
    assert [item.fps for item in open_catalogue(tmp_path, fps=1)] == [1, 1, 1]
    (tmp_path / "jump" / "fps.txt").write_text("fast")
    with pytest.raises(VideoError, match="jump/fps.txt: 'fast' is not a number of frames"):
        open_catalogue(tmp_path)


def test_without_a_rate_both_readings_are_offered(tmp_path):
    clips(tmp_path)
    with pytest.raises(VideoError, match="jump/c has, with fps= or in .*fps.txt.*format=images"):
        open_catalogue(tmp_path)
    assert len(open_catalogue(tmp_path, format="images")) == 36
    with pytest.raises(ConfigError, match="fps must be positive"):
        open_catalogue(tmp_path, fps=0)
    with pytest.raises(ConfigError, match="fps=fast must be a number"):
        open_catalogue(tmp_path, fps="fast")


def test_one_of_several_folders_of_each_video_can_be_chosen(tmp_path):
    names = [
        f"{clip}/{kind}" for clip in ("O1/01", "O1/02", "O2/01") for kind in ("scene", "depth")
    ]
    clips(tmp_path, names)
    catalogue = open_catalogue(tmp_path, fps=15, only="scene")
    assert [item.name[len(str(tmp_path)) :] for item in catalogue] == [
        "/O1/01/scene", "/O1/02/scene", "/O2/01/scene",
    ]  # fmt: skip
    assert catalogue.classes == ("O1", "O2") and catalogue[2].label == 1
    with pytest.raises(VideoError, match="no folder called 'scenes' with images"):
        open_catalogue(tmp_path, fps=15, only="scenes")


@pytest.mark.parametrize("form", ["{:05d}.png", "n01440764_{}.jpg"])
def test_numbered_images_with_gaps_in_their_classes_stay_images(tmp_path, form):
    """MNIST numbered through all classes, and ImageNet."""
    random = np.random.default_rng(0)
    for label in ("a", "b"):
        for number in random.choice(2000, 60, replace=False):
            frame(tmp_path / label / form.format(number), 0, (4, 4))
    assert find_format(tmp_path).name == "images"


def test_images_that_are_not_numbered_stay_images(tmp_path):
    for name in ("a/dog.png", "a/cat.png", "b/emu.png"):
        frame(tmp_path / name, 0)
    assert find_format(tmp_path).name == "images"


def spoil(root, change):
    clip = root / "run" / "a"
    if change == "gap":
        (clip / "5.png").unlink()
    elif change == "twice":
        frame(clip / "05.png", 0)
    elif change == "unnumbered":
        frame(clip / "cover.png", 0)
    elif change == "two kinds":
        frame(clip / "5.jpg", 0)
    elif change == "two numbers":
        for number in range(1, 13):
            (clip / f"{number}.png").rename(clip / f"{number}.{number * 7}.png")
    elif change == "size":
        frame(clip / "5.png", 0, (40, 20))
    elif change == "damaged":
        (clip / "5.png").write_bytes(b"text")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gap", "run/a: number 5 is missing after 4.png; extract the frames again"),
        ("twice", "run/a: number 5 is there twice"),
        ("unnumbered", "run/a: cover.png is not numbered like"),
        ("two kinds", "run/a: 5.jpg is not numbered like|run/a: .* is not numbered like 5.jpg"),
        ("two numbers", "run/a: .* differ in several numbers"),
        ("size", "run/a/5.png: is 40x20, the first image of its folder 30x20"),
        ("damaged", "run/a/5.png: is not a complete image"),
    ],
)
def test_what_is_wrong_with_one_folder_is_said_when_it_is_read(tmp_path, change, message):
    clips(tmp_path)
    spoil(tmp_path, change)
    assert find_format(tmp_path).name == "frames"
    jump, *run = open_catalogue(tmp_path, fps=10)
    assert levels(jump, [11]) == [110]
    with pytest.raises(VideoError, match=message) as caught:
        run[0].open(Decoding()).read(np.arange(10))
    assert "\n" not in str(caught.value)


def test_every_fifth_frame_has_no_gap(tmp_path):
    for place in range(6):
        frame(tmp_path / "a" / f"{100 + 5 * place}.png", 10 * place)
    (item,) = open_catalogue(tmp_path, fps=6)
    assert levels(item, range(6)) == [0, 10, 20, 30, 40, 50]


def test_videos_among_the_folders_are_named(tmp_path):
    clips(tmp_path)
    (tmp_path / "run" / "z.mp4").write_bytes(b"1")
    with pytest.raises(VideoError, match="of images .*jump/c.* and videos .*run/z.mp4.*apart"):
        open_catalogue(tmp_path, fps=10)
    assert len(open_catalogue(tmp_path, format="folder")) == 1


def test_one_folder_is_read_as_a_clip(tmp_path):
    clips(tmp_path, ["clip"])
    with pytest.raises(VideoError, match="clip: say how many frames a second"):
        timed_frames(str(tmp_path / "clip"), Decoding())
    info, frames = timed_frames(str(tmp_path / "clip"), Decoding(), fps=20)
    assert (info.frames, info.fps, info.height, info.width) == (12, 20, 20, 30)
    clip = read_clip(frames, num_frames=4, fps=10, size=16)
    assert clip.frames.shape == (1, 4, 3, 16, 16)
    assert np.allclose(clip.times[0].numpy(), [0, 0.1, 0.2, 0.3])
    assert np.allclose(clip.frames[0, :, 0, 8, 8].numpy() * 255, [0, 20, 40, 60], atol=0.5)
    (tmp_path / "fps.txt").write_text("8")
    assert timed_frames(str(tmp_path / "clip"), Decoding(), fps=20)[0].fps == 8
