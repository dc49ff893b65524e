"""What a training on video reads; both kinds of footage keep the same contract."""

from pathlib import Path

import pytest
import torch

from worldmodel.data.footage import EpisodeVideos, VideoFiles
from worldmodel.errors import ConfigError, EpisodeError, VideoError


def open_quietly(footage, **changed):
    return footage.open(**{"size": 8, "num_frames": 4, "progress": lambda *done: None, **changed})


@pytest.fixture
def videos(tmp_path, make_video):
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(3):
        make_video(folder / f"{number}.mp4", 20 + number)
    return str(folder)


@pytest.mark.parametrize("kind", ["videos", "episodes"])
def test_clips_are_of_the_size_asked_for_and_reading_tells_how_far_it_is(kind, request, folder):
    told = []
    if kind == "videos":
        footage, count = VideoFiles(request.getfixturevalue("videos"), stride=1), 3
    else:
        footage, count = EpisodeVideos(str(folder)), 5
    clips, skipped = open_quietly(footage, progress=lambda *done: told.append(done))
    assert skipped == []
    assert len(clips.sources) == count
    assert told[-1] == (count, count)
    clip = clips.sample(3, 7, seed=1)
    assert clip.frames.shape == (7, 4, 3, 8, 8)
    assert torch.equal(clip.frames, clips.sample(3, 7, seed=1).frames)
    assert not torch.equal(clip.frames, clips.sample(4, 7, seed=1).frames)


@pytest.mark.parametrize("footage", [VideoFiles(None), EpisodeVideos(None)])
def test_a_path_that_is_not_set_says_how_to_set_it(footage):
    with pytest.raises(ConfigError, match=r"data.path is not set: name a folder of .*data.path="):
        open_quietly(footage)


def test_episodes_are_read_whether_or_not_they_have_actions(folder):
    clips, _ = open_quietly(EpisodeVideos(str(folder), rest_fraction=0.0))
    numbers = set()
    for step in range(5):
        frames, _, _ = clips.sample_uint8(step, 20, seed=0)
        numbers |= set(frames[:, 0, 1, 0, 0].tolist())
        # Neighbouring frames, in order: frame t is t in red.
        assert (frames[:, :, 0, 0, 0].int().diff(dim=1) == 1).all()
    assert numbers == {0, 1, 2, 3, 4}


def test_stride_and_rest_reach_the_clips(folder):
    clips, _ = open_quietly(EpisodeVideos(str(folder), stride=2, rest_fraction=0.0), num_frames=3)
    frames, _, _ = clips.sample_uint8(0, 20, seed=0)
    assert (frames[:, :, 0, 0, 0].int().diff(dim=1) == 2).all()
    clips, _ = open_quietly(EpisodeVideos(str(folder), rest_fraction=1.0))
    frames, _, _ = clips.sample_uint8(0, 20, seed=0)
    assert (frames[:, :, 0, 0, 0].int() == torch.tensor([0, 0, 1, 2])).all()


def test_flips_can_be_turned_off(tmp_path, make_video):
    path = make_video(tmp_path / "v.mp4", 8)
    assert open_quietly(VideoFiles(str(path), stride=1))[0].flip
    assert not open_quietly(VideoFiles(str(path), stride=1, flip=False))[0].flip


def test_a_bad_video_is_an_error_or_skipped(videos, tmp_path):
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    with pytest.raises(VideoError, match="bad.mp4"):
        open_quietly(VideoFiles(videos, stride=1))
    clips, skipped = open_quietly(VideoFiles(videos, stride=1, on_bad_video="skip"))
    assert len(clips.sources) == 3
    assert [Path(bad.path).name for bad in skipped] == ["bad.mp4"] and skipped[0].reason


def test_a_folder_without_episodes_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match="no such folder"):
        open_quietly(EpisodeVideos(str(tmp_path / "nowhere")))
