"""Folders and manifests of videos: what is found, what is bad, what is kept in memory."""

import os

import numpy as np
import pytest
import torch

from worldmodel.data.clips import MemoryVideo
from worldmodel.data.folder import FileVideo, VideoFolder, find_videos
from worldmodel.errors import ConfigError, VideoError


@pytest.fixture
def videos(tmp_path, make_video):
    place = tmp_path / "videos"
    (place / "deeper").mkdir(parents=True)
    make_video(place / "a b.mp4", 12)
    make_video(place / "deeper" / "c.AVI", 15, size=(32, 64))
    (place / "notes.txt").write_text("not a video")
    return place


def test_a_folder_is_searched_to_its_depth(videos):
    assert [path.name for path in find_videos(videos)] == ["a b.mp4", "c.AVI"]
    folder = VideoFolder(videos, size=16, num_frames=4)
    assert [video.num_frames for video in folder] == [12, 15]
    assert folder[0].read(np.arange(2)).shape == (2, 3, 16, 24)
    assert folder[1].read(np.arange(2)).shape == (2, 3, 32, 16)
    assert folder.clips().sample(0, 5, seed=0).frames.shape == (5, 4, 3, 16, 16)


def test_progress_counts_every_video(videos):
    seen = []
    VideoFolder(
        videos, size=8, num_frames=2, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(1, 2), (2, 2)]


@pytest.mark.parametrize("form", ["{}", "{} 7", "{},7", "{}, 12"])
def test_a_manifest_names_paths_and_maybe_labels(videos, form):
    manifest = videos / "list.csv"
    manifest.write_text("\n".join([form.format("a b.mp4"), "", form.format("deeper/c.AVI")]))
    assert find_videos(manifest) == [videos / "a b.mp4", videos / "deeper" / "c.AVI"]


def test_a_single_file_is_a_folder_of_one(videos):
    assert len(VideoFolder(videos / "a b.mp4", size=8, num_frames=2)) == 1


def test_what_does_not_fit_in_memory_is_decoded_again(videos):
    kept = VideoFolder(videos, size=16, num_frames=3, stride=2)
    fresh = VideoFolder(videos, size=16, num_frames=3, stride=2, cache_mib=0)
    # 12 frames of 16 x 24 pixels fit into 14 kB, the 15 of 32 x 16 after them do not.
    mixed = VideoFolder(videos, size=16, num_frames=3, stride=2, cache_mib=14000 / 2**20)
    assert [type(video) for video in kept] == [MemoryVideo] * 2
    assert [type(video) for video in fresh] == [FileVideo] * 2
    assert [type(video) for video in mixed] == [MemoryVideo, FileVideo]
    clips = [folder.clips(flip=True).sample(3, 8, seed=1) for folder in (kept, fresh, mixed)]
    assert torch.equal(clips[0].frames, clips[1].frames)
    assert torch.equal(clips[0].frames, clips[2].frames)
    assert torch.equal(clips[0].times, clips[1].times)


def test_a_video_that_shrinks_in_use_is_an_error(videos, make_video):
    folder = VideoFolder(videos / "a b.mp4", size=16, num_frames=3, cache_mib=0)
    make_video(videos / "a b.mp4", 4)
    with pytest.raises(VideoError, match="a b.mp4: has become shorter"):
        folder[0].read(np.array([8, 9]))


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("nothing", "holds no video .0 other files.*manifest"),
        ("texts", "holds no video .2 other files"),
        ("missing", "no such video"),
        ("binary.csv", "not a text file"),
        ("blank.csv", "names no video"),
        ("pipe.csv", "is a pipe"),
    ],
)
def test_places_without_videos(tmp_path, name, message):
    (tmp_path / "nothing").mkdir()
    (tmp_path / "texts").mkdir()
    for text in "ab":
        (tmp_path / "texts" / f"{text}.txt").write_text(text)
    (tmp_path / "binary.csv").write_bytes(b"\xff\xfe\x00\x01")
    (tmp_path / "blank.csv").write_text("\n \n")
    os.mkfifo(tmp_path / "pipe.csv")
    with pytest.raises(VideoError, match=f"{name}: .*{message}") as caught:
        VideoFolder(tmp_path / name, size=8, num_frames=2)
    assert "\n" not in str(caught.value)


def test_bad_videos_are_an_error_or_a_counted_skip(videos, make_video):
    make_video(videos / "short.mp4", 3)
    (videos / "text.mp4").write_text("hello" * 500)
    os.mkfifo(videos / "pipe.mp4")
    (videos / "folder.mp4").mkdir()
    with pytest.raises(VideoError, match="folder.mp4: is a folder"):
        VideoFolder(videos, size=8, num_frames=4)
    folder = VideoFolder(videos, size=8, num_frames=4, on_bad_video="skip")
    assert len(folder) == 2
    assert [os.path.basename(skip.path) for skip in folder.skipped] == [
        "folder.mp4",
        "pipe.mp4",
        "short.mp4",
        "text.mp4",
    ]
    assert "shorter than the clip" in folder.skipped[2].reason


def test_skipping_everything_is_an_error(tmp_path):
    (tmp_path / "a.mp4").write_text("hello" * 500)
    with pytest.raises(VideoError, match="all 1 videos are bad.*a.mp4: cannot be decoded"):
        VideoFolder(tmp_path, size=8, num_frames=2, on_bad_video="skip")


def test_a_manifest_line_to_a_missing_file(videos):
    (videos / "list.txt").write_text("a b.mp4 0\ngone.mp4 1\n")
    with pytest.raises(VideoError, match="gone.mp4: no such video.*list.txt, line 2"):
        VideoFolder(videos / "list.txt", size=8, num_frames=2)
    skipping = VideoFolder(videos / "list.txt", size=8, num_frames=2, on_bad_video="skip")
    assert len(skipping) == 1 and "gone.mp4" in skipping.skipped[0].reason


def test_on_bad_video_is_checked(videos):
    with pytest.raises(ConfigError, match="did you mean 'skip'"):
        VideoFolder(videos, size=8, num_frames=2, on_bad_video="skp")


@pytest.mark.slow
def test_the_real_folder_opens(real_videos):
    folder = VideoFolder(real_videos, size=32, num_frames=4, stride=3)
    assert len(folder) == 11 and not folder.skipped
    assert sum(video.num_frames for video in folder) == 2310
    clip = folder.clips().sample(0, 16, seed=0)
    assert clip.frames.shape == (16, 4, 3, 32, 32) and clip.frames.std() > 0.1
