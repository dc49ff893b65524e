"""The sources of clips for training; videos and episodes keep the same contract."""

from pathlib import Path

import h5py
import numpy as np
import pytest
import torch

from tests.worldmodel.datasets.layouts import lerobot_v3, ucf101
from worldmodel.errors import ConfigError, EpisodeError, VideoError
from worldmodel.loading.in_memory import ClipDataset
from worldmodel.loading.sources import EpisodeVideos, MixturePart, VideoFiles, VideoMixture
from worldmodel.loading.stream import ClipStream


def open_quietly(clip_source, **changed):
    return clip_source.open(
        **{"size": 8, "num_frames": 4, "progress": lambda *done: None, **changed}
    )


def files(path, **changed):
    return VideoFiles(path, **{"workers": 0, "clips_per_video": 1, **changed})


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
        clip_source, count = files(request.getfixturevalue("videos"), stride=1), 3
    else:
        clip_source, count = EpisodeVideos(str(folder), clips_per_video=1), 5
    clips = open_quietly(clip_source, progress=lambda *done: told.append(done))
    assert clips.skipped == []
    assert len(clips.sources) == count
    assert told[-1] == (count, count)
    clip = clips.sample(3, 7, seed=1)
    assert clip.frames.shape == (7, 4, 3, 8, 8)
    assert torch.equal(clip.frames, clips.sample(3, 7, seed=1).frames)
    assert not torch.equal(clip.frames, clips.sample(4, 7, seed=1).frames)


@pytest.mark.parametrize("clip_source", [files(None), EpisodeVideos(None)])
def test_a_path_that_is_not_set_says_how_to_set_it(clip_source):
    with pytest.raises(ConfigError, match=r"data.path is not set: name a folder of .*data.path="):
        open_quietly(clip_source)


def test_episodes_are_read_whether_or_not_they_have_actions(folder):
    clips = open_quietly(EpisodeVideos(str(folder), clips_per_video=1, rest_fraction=0.0))
    numbers = set()
    for step in range(5):
        frames, _, _ = clips.sample_uint8(step, 20, seed=0)
        numbers |= set(frames[:, 0, 1, 0, 0].tolist())
        # Neighbouring frames, in order: frame t is t in red.
        assert (frames[:, :, 0, 0, 0].int().diff(dim=1) == 1).all()
    assert numbers == {0, 1, 2, 3, 4}


def test_stride_and_rest_reach_the_clips(folder):
    clips = open_quietly(
        EpisodeVideos(str(folder), clips_per_video=1, stride=2, rest_fraction=0.0), num_frames=3
    )
    frames, _, _ = clips.sample_uint8(0, 20, seed=0)
    assert (frames[:, :, 0, 0, 0].int().diff(dim=1) == 2).all()
    clips = open_quietly(EpisodeVideos(str(folder), clips_per_video=1, rest_fraction=1.0))
    frames, _, _ = clips.sample_uint8(0, 20, seed=0)
    assert (frames[:, :, 0, 0, 0].int() == torch.tensor([0, 0, 1, 2])).all()


def test_flips_can_be_turned_off(tmp_path, make_video):
    path = make_video(tmp_path / "v.mp4", 8)
    assert open_quietly(files(str(path), stride=1)).flip
    assert not open_quietly(files(str(path), stride=1, flip=False)).flip


def test_a_bad_video_is_an_error_or_skipped(videos, tmp_path):
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    with pytest.raises(VideoError, match="bad.mp4"):
        open_quietly(files(videos, stride=1))
    clips = open_quietly(files(videos, stride=1, on_bad_video="skip"))
    assert len(clips.sources) == 3
    assert [Path(bad.name).name for bad in clips.skipped] == ["bad.mp4"] and clips.skipped[0].reason


def test_a_folder_without_episodes_is_refused(tmp_path):
    with pytest.raises(EpisodeError, match="no such folder"):
        open_quietly(EpisodeVideos(str(tmp_path / "nowhere")))


def test_what_fits_is_kept_and_what_does_not_is_streamed(videos):
    # 20 to 22 frames of 8 x 12 pixels in three colours are 18 kB.
    for cache, kind in ((2048, ClipDataset), (17 / 1024, ClipStream), (18.2 / 1024, ClipDataset)):
        clips = open_quietly(files(videos, cache_mib=cache))
        assert type(clips) is kind and clips.num_videos == 3
        assert clips.sample(0, 3, seed=0).frames.shape == (3, 4, 3, 8, 8)
    assert type(open_quietly(files(videos, cache_mib=0, preload=True))) is ClipDataset
    assert type(open_quietly(files(videos, preload=False))) is ClipStream


def test_a_long_list_is_streamed_without_opening_any(videos, tmp_path, monkeypatch):
    monkeypatch.setattr("worldmodel.loading.preload.LONG", 2)
    (tmp_path / "videos" / "bad.mp4").write_text("no video")
    told = []
    clips = open_quietly(files(videos, on_bad_video="skip"), on_skip=told.append)
    assert type(clips) is ClipStream and clips.num_videos == 4 and not told
    sources = {name for step in range(4) for name in clips.sample(step, 4, seed=0).sources}
    assert len(sources) == 3 and [Path(bad.name).name for bad in told] == ["bad.mp4"]


def test_streamed_clips_show_the_same_images_as_kept_ones(videos):
    kept, streamed = (open_quietly(files(videos, preload=p, flip=False)) for p in (True, False))
    grey = {}
    for step in range(100):
        clip = kept.sample(step, 4, seed=0)
        for origin, frames in zip(clip.origins, clip.frames, strict=True):
            grey[origin.name, round(origin.start, 3)] = frames.mean(dim=(1, 2, 3))
    for step in range(5):
        clip = streamed.sample(step, 4, seed=0)
        for origin, frames in zip(clip.origins, clip.frames, strict=True):
            expected = grey[origin.name, round(origin.start, 3)]
            assert torch.allclose(frames.mean(dim=(1, 2, 3)), expected, atol=0.01)


def test_a_mixture_draws_from_its_parts(videos, tmp_path, make_video):
    other = tmp_path / "other"
    other.mkdir()
    make_video(other / "x.mp4", 20)
    sources = [{"path": videos, "weight": 3}, MixturePart(str(other))]
    clips = open_quietly(VideoMixture(sources, workers=0, clips_per_video=1, on_bad_video="skip"))
    names = [name for step in range(20) for name in clips.sample(step, 8, seed=0).sources]
    share = sum(name.startswith(str(other)) for name in names) / len(names)
    assert 0.12 < share < 0.4 and clips.num_videos == 4


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        ([], "data.sources names no data set"),
        ([{"weight": 1}], "each of data.sources is"),
        ([{"path": "x", "wieght": 1}], "each of data.sources is"),
        (["x"], "each of data.sources is"),
        ([{"path": "/no/where"}], "/no/where: there is nothing"),
    ],
)
def test_mixtures_that_cannot_be(sources, message):
    with pytest.raises((ConfigError, VideoError), match=message):
        open_quietly(VideoMixture(sources))


@pytest.mark.parametrize("preload", [True, False])
def test_a_duration_spreads_the_frames_over_that_time(videos, preload):
    clips = open_quietly(files(videos, duration=0.8, preload=preload))  # 4 frames of 10/s
    clip = clips.sample(0, 3, seed=0)
    assert torch.allclose(clip.times.diff(dim=1), torch.tensor(0.2, dtype=torch.float64))
    assert {origin.fps for origin in clip.origins} == {5.0}
    clips.close()


def test_episodes_of_other_formats_are_videos_too(tmp_path, make_video):
    (tmp_path / "robot").mkdir()
    lerobot_v3(tmp_path / "robot", make_video(tmp_path / "a.mp4", 4))
    clip_source = EpisodeVideos(
        str(tmp_path / "robot"), clips_per_video=1, reading={"camera": "top"}
    )
    clips = open_quietly(clip_source, num_frames=2)
    assert clips.num_videos == 3
    assert clips.sample(0, 2, seed=0).frames.shape == (2, 2, 3, 8, 8)


@pytest.mark.parametrize("preload", [True, False])
def test_what_a_published_data_set_lacks_is_told(tmp_path, make_video, preload):
    (tmp_path / "ucf").mkdir()
    ucf101(tmp_path / "ucf", make_video(tmp_path / "a.avi", 6))  # its list names one more
    clips = open_quietly(files(str(tmp_path / "ucf"), preload=preload))
    assert [Path(bad.name).name for bad in clips.skipped] == ["v_Biking_g07_c01"]
    clips.close()


def test_a_mixture_of_two_cameras_shows_each_where_it_is_drawn(tmp_path):
    levels = {"left": 40, "right": 200}
    with h5py.File(tmp_path / "two.h5", "w") as file:
        for number in range(3):
            for camera, level in levels.items():
                frames = np.full((9, 16, 16, 3), level, np.uint8)
                file[f"data/demo_{number}/obs/{camera}"] = frames
            file[f"data/demo_{number}/actions"] = np.zeros((9, 2), np.float32)
    path = str(tmp_path / "two.h5")
    sources = [{"path": path, "reading": {"camera": camera}} for camera in levels]
    clips = open_quietly(VideoMixture(sources, workers=0, clips_per_video=1))
    drawn = [clips.order(0)[number][0] for number in range(24)]
    frames = torch.cat([clips.sample(step, 8, seed=0).frames for step in range(3)])
    shown = (frames.mean(dim=(1, 2, 3, 4)) * 255).round().int().tolist()
    assert shown == [[40, 200][source] for source in drawn] and len(set(shown)) == 2
    clips.close()
