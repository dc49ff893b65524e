"""Videos kept in memory: what is decoded, what is bad, what does not fit."""

import os

import numpy as np
import pytest

from tests.worldmodel.loading.toys import ToyCatalogue
from worldmodel.datasets import open_catalogue
from worldmodel.errors import VideoError
from worldmodel.loading import preload as preload_module
from worldmodel.loading.preload import LoadRequest, preload
from worldmodel.loading.stream import Streaming
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.sampling import Sampling

BYTES = 20 * 3 * 8 * 12  # of a toy video


def load(catalogue, *, room=None, sampling=None, size=None, seconds=60.0, **streaming):
    return preload(
        catalogue,
        sampling=sampling or Sampling(4),
        decoding=Decoding(size, limits=Limits(seconds=seconds)),
        streaming=Streaming(**{"workers": 0, **streaming}),
        room=room,
    )


@pytest.fixture
def videos(tmp_path, make_video):
    place = tmp_path / "videos"
    (place / "deeper").mkdir(parents=True)
    make_video(place / "a b.mp4", 12)
    make_video(place / "deeper" / "c.AVI", 15, size=(32, 64))
    (place / "notes.txt").write_text("not a video")
    return place


def test_all_frames_of_all_videos_are_there(videos):
    kept, skipped = load(open_catalogue(videos), size=16)
    assert [video.num_frames for video in kept] == [12, 15] and skipped == []
    assert kept[0].read(np.arange(2)).shape == (2, 3, 16, 24)
    assert kept[1].read(np.arange(2)).shape == (2, 3, 32, 16)
    levels = kept[0].read(np.arange(12)).float().mean(dim=(1, 2, 3)).numpy()
    assert np.abs(levels - (10 + 5 * np.arange(12))).max() < 3
    assert np.allclose(kept[0].times(np.arange(12)), np.arange(12) / 10, atol=1e-3)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_progress_counts_every_video_and_the_order_stays(workers):
    seen = []
    kept, _ = preload(
        ToyCatalogue(7), sampling=Sampling(4), decoding=Decoding(),
        streaming=Streaming(workers=workers), room=None,
        progress=lambda done, total: seen.append((done, total)),
    )  # fmt: skip
    assert seen == [(i, 7) for i in range(1, 8)]
    assert [video.name for video in kept] == [f"toy/{i}" for i in range(7)]
    assert [int(video.read(np.array([3]))[0, 1, 0, 0]) for video in kept] == list(range(7))


def test_only_its_window_is_kept_of_a_part():
    kept, _ = load(ToyCatalogue(3, windows=True))
    for number, video in enumerate(kept):
        frames = video.read(np.arange(video.num_frames))[:, 0, 0, 0].tolist()
        assert frames == list(range(5 * number, 5 * number + 5))


def test_what_does_not_fit_is_left_to_others(monkeypatch):
    assert load(ToyCatalogue(4), room=4 * BYTES) is not None
    assert load(ToyCatalogue(4), room=4 * BYTES - 1) is None
    # Many are weighed first, and bad ones weigh nothing.
    many = ToyCatalogue(100, trouble={0: "bad"})
    assert load(many, room=50 * BYTES, on_bad_video="skip") is None
    assert len(load(many, room=99 * BYTES, on_bad_video="skip")[0]) == 99
    monkeypatch.setattr("worldmodel.loading.preload.LONG", 3)
    assert load(ToyCatalogue(4, trouble={0: "bad"}), room=4 * BYTES) is None


def test_frames_are_read_in_pieces_of_bounded_size(monkeypatch):
    monkeypatch.setattr("worldmodel.loading.preload._CHUNK", 3 * 8 * 12 * 7)
    kept, _ = load(ToyCatalogue(1))
    assert kept[0].read(np.arange(20))[:, 0, 0, 0].tolist() == list(range(20))


def test_bad_videos_are_an_error_or_a_counted_skip(videos, make_video):
    make_video(videos / "short.mp4", 3)
    (videos / "text.mp4").write_text("hello" * 500)
    os.mkfifo(videos / "pipe.mp4")
    with pytest.raises(VideoError, match="pipe.mp4: is a pipe"):
        load(open_catalogue(videos), size=8)
    kept, skipped = load(open_catalogue(videos), size=8, on_bad_video="skip")
    assert len(kept) == 2
    names = [os.path.basename(skip.name) for skip in skipped]
    assert names == ["pipe.mp4", "short.mp4", "text.mp4"]
    assert "shorter than the clip" in skipped[1].reason


@pytest.mark.slow
def test_a_video_that_crashes_or_hangs_is_a_bad_video():
    trouble = {1: "crash", 3: "hang"}
    kept, skipped = load(
        ToyCatalogue(5, trouble=trouble), workers=2, seconds=5, on_bad_video="skip"
    )
    assert [video.name for video in kept] == ["toy/0", "toy/2", "toy/4"]
    assert "crashed (signal 11)" in skipped[0].reason and "longer than 5" in skipped[1].reason


def test_skipping_everything_is_an_error():
    with pytest.raises(VideoError, match="toy: all 2 videos are bad.*the first: toy/0: is bad"):
        load(ToyCatalogue(2, trouble={0: "bad", 1: "bad"}), on_bad_video="skip")


@pytest.mark.slow
def test_the_real_folder_opens(real_videos):
    kept, skipped = load(
        open_catalogue(real_videos), size=32, sampling=Sampling(4, stride=3), workers=2
    )
    assert len(kept) == 11 and not skipped
    assert sum(video.num_frames for video in kept) == 2310


def test_each_video_may_take_what_is_left_of_the_room(monkeypatch):
    rooms = []

    def spy(item, room):
        rooms.append(room)
        return LoadRequest(item, room)

    monkeypatch.setattr(preload_module, "LoadRequest", spy)
    assert load(ToyCatalogue(3), room=3 * BYTES) is not None
    assert rooms == [3 * BYTES, 2 * BYTES, BYTES]
