"""Streams of clips: the same whoever decodes them, complete, and safe from bad videos."""

from collections import Counter
from concurrent.futures import Future

import numpy as np
import pytest
import torch

from tests.worldmodel.loading import toys
from tests.worldmodel.loading.toys import ToyCatalogue, numbers, reds
from worldmodel.errors import ConfigError, VideoError
from worldmodel.loading import stream as module
from worldmodel.loading.stream import ClipStream, Streaming
from worldmodel.loading.workers import WorkerPool
from worldmodel.video.decoding import Decoding, Limits
from worldmodel.video.sampling import Sampling


def stream(
    *catalogues, sampling=None, size=6, decoding=None, weights=None, flip=True, rank=0, world=1,
    **streaming,
):  # fmt: skip
    return ClipStream(
        catalogues or [ToyCatalogue(10)],
        weights=weights,
        sampling=sampling or Sampling(3, stride=2),
        size=size,
        flip=flip,
        decoding=decoding,
        streaming=Streaming(**{"workers": 0, **streaming}),
        rank=rank,
        world=world,
    )


def test_an_epoch_shows_every_video_once_in_frames_that_follow_each_other():
    clips = stream(ToyCatalogue(12))
    batches = [clips.sample(step, 4, seed=1) for step in range(6)]
    seen = [number for clip in batches for number in numbers(clip.frames)]
    assert sorted(seen[:12]) == sorted(seen[12:]) == list(range(12))
    assert seen[:12] != seen[12:]
    for clip in batches:
        shown = reds(clip.frames)
        assert (np.diff(shown, axis=1) == 2).all()
        assert np.allclose(clip.times, shown / 10)
        assert clip.sources == tuple(f"toy/{number}" for number in numbers(clip.frames))
        for origin, times in zip(clip.origins, clip.times, strict=True):
            assert (origin.start, origin.stride, origin.fps) == (times[0], 2, None)
    assert clips.num_videos == 12


def test_starts_crops_and_flips_vary_and_are_one_per_clip():
    clips = stream(ToyCatalogue(4), sampling=Sampling(2, stride=1))
    frames = torch.cat([clips.sample(step, 100, seed=0).frames for step in range(4)])
    assert set(reds(frames)[:, 0]) == set(range(19))
    columns = (frames[:, :, 2, 0] * 255).round().int()
    assert (columns == columns[:, :1]).all()
    steps = columns[:, 0].diff(dim=1)
    assert (steps == steps[:, :1]).all() and 150 < int((steps[:, 0] == -1).sum()) < 250
    assert set(columns.amin(dim=(1, 2)).tolist()) == set(range(7))


@pytest.mark.slow
def test_batches_are_the_same_for_any_number_of_processes_and_whatever_came_before():
    trouble = {3: "bad", 7: "crash", 11: "bad"}
    decoding = Decoding(limits=Limits(seconds=60))
    alone = stream(ToyCatalogue(20, trouble=trouble | {7: "bad"}), on_bad_video="skip")
    straight = [alone.sample(step, 6, seed=2) for step in range(8)]
    for workers in (1, 3):
        clips = stream(
            ToyCatalogue(20, trouble=trouble),
            on_bad_video="skip",
            workers=workers,
            decoding=decoding,
        )
        order = [0, 1, 2, 5, 6, 7, 3] if workers == 3 else [0, 2, 1, *range(2, 8)]
        for step in order:
            clip = clips.sample(step, 6, seed=2)
            assert torch.equal(clip.frames, straight[step].frames)
            assert clip.origins == straight[step].origins
            assert torch.equal(clip.times, straight[step].times)
        clips.close()


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_a_batch_is_the_same_in_whatever_order_steps_are_asked_for(monkeypatch, ahead):
    """Decodes ahead at once in this process, as processes that are quick would."""

    def at_once(work, *, workers, seconds):
        return WorkerPool(work, workers=0, seconds=seconds)

    alone = stream()
    straight = [alone.sample(step, 4, seed=2) for step in range(9)]
    monkeypatch.setattr(module, "WorkerPool", at_once)
    clips = stream(workers=2, ahead=ahead)
    chance = np.random.default_rng(0).integers(9, size=40).tolist()
    for step in [0, 2, 1, 3, 0, 2, 4, 3, *chance]:
        clip = clips.sample(step, 4, seed=2)
        assert clip.origins == straight[step].origins
        assert torch.equal(clip.frames, straight[step].frames)


def test_a_step_that_was_passed_over_writes_nothing_into_the_next(monkeypatch):
    class Late:
        """Does nothing until it is asked; what nobody asks for is written last of all."""

        def __init__(self, work, **_):
            self.work, self.begun = work, []

        def submit(self, task):
            future = Future()
            future.set_running_or_notify_cancel()
            future.exception = lambda: future.done() or future.set_result(self.work(task))
            future.result = lambda: (future.exception(), Future.result(future))[1]
            self.begun.append(future)
            return future

        def close(self):
            pass

    alone = stream()
    straight = [alone.sample(step, 4, seed=2) for step in range(4)]
    monkeypatch.setattr(module, "WorkerPool", Late)
    clips = stream(workers=2)
    clips.sample(0, 4, seed=2)
    clips.sample(2, 4, seed=2)
    for future in reversed(clips._pool.begun):
        future.exception()
    assert torch.equal(clips.sample(3, 4, seed=2).frames, straight[3].frames)


def test_a_run_that_begins_in_the_middle_goes_on_with_the_next_sample():
    whole = [stream().sample(step, 4, seed=5).origins for step in range(7)]
    resumed = stream()
    assert [resumed.sample(step, 4, seed=5).origins for step in range(3, 7)] == whole[3:]
    assert stream().sample(3, 4, seed=6).origins != whole[3]


def test_ranks_share_an_epoch():
    parts = [stream(ToyCatalogue(24), rank=rank, world=3) for rank in range(3)]
    seen = [
        n for clips in parts for s in range(2) for n in numbers(clips.sample(s, 4, seed=0).frames)
    ]
    assert sorted(seen) == list(range(24))


def test_a_mixture_draws_from_each_by_its_weight():
    one, two = ToyCatalogue(5, name="one"), ToyCatalogue(50, name="two")
    clips = stream(one, two, weights=[3, 1])
    sources = [name for step in range(20) for name in clips.sample(step, 30, seed=0).sources]
    counts = Counter(name.split("/")[0] for name in sources)
    assert abs(counts["one"] - 450) < 60
    assert clips.num_videos == 55


def test_several_clips_of_a_visit_are_in_order_and_open_the_video_once():
    toys.opened.clear()
    clips = stream(ToyCatalogue(10), clips_per_video=4, sampling=Sampling(2))
    clip = clips.sample(0, 20, seed=0)
    assert len(toys.opened) == 5
    starts = reds(clip.frames)[:, 0].reshape(5, 4)
    assert (np.diff(starts, axis=1) > 0).all() and len(set(map(tuple, starts))) > 1
    assert all(len(set(numbers(clip.frames)[i : i + 4])) == 1 for i in range(0, 20, 4))
    with pytest.raises(ConfigError, match="batch=6 is no multiple of clips_per_video=4"):
        clips.sample(0, 6, seed=0)


def test_windows_of_one_file_share_its_reader_and_stay_inside():
    toys.opened.clear()
    clips = stream(ToyCatalogue(4, windows=True), sampling=Sampling(2, stride=2))
    frames = torch.cat([clips.sample(step, 8, seed=0).frames for step in range(5)])
    assert len(toys.opened) == 1
    windows = {(row[0] // 5, row[1] // 5) for row in reds(frames)}
    assert windows == {(w, w) for w in range(4)}
    late = stream(ToyCatalogue(5, windows=True), sampling=Sampling(2, stride=2))
    with pytest.raises(VideoError, match="toy/4: has no frame from 2 to 2.5 s, it is 1.9 s long"):
        for step in range(3):
            late.sample(step, 5, seed=0)


def test_only_the_last_few_videos_stay_open():
    toys.opened.clear()
    clips = stream(ToyCatalogue(3), sampling=Sampling(2))
    for step in range(9):
        clips.sample(step, 3, seed=0)
    assert len(toys.opened) == 3
    many = stream(ToyCatalogue(12), sampling=Sampling(2))
    for step in range(3):
        many.sample(step, 12, seed=0)
    assert len(many._reader._opened._videos) == 4
    many.close()
    assert len(many._reader._opened._videos) == 0


def test_a_bad_video_is_an_error_that_names_it():
    clips = stream(ToyCatalogue(6, trouble={2: "bad"}))
    with pytest.raises(VideoError, match="toy/2: is bad"):
        clips.sample(0, 6, seed=0)
    short = stream(ToyCatalogue(2, length=3))
    with pytest.raises(VideoError, match="toy/.: is shorter than the clip"):
        short.sample(0, 2, seed=0)
    small = stream(size=9)
    with pytest.raises(VideoError, match="smaller than size=9"):
        small.sample(0, 2, seed=0)


def test_skipped_videos_are_counted_told_once_and_replaced_from_their_own_data_set():
    told = []
    one = ToyCatalogue(6, name="one", trouble={1: "bad", 4: "bad"})
    clips = ClipStream(
        [one, ToyCatalogue(6, name="two")], weights=[1, 1], sampling=Sampling(3), size=6,
        streaming=Streaming(workers=0, on_bad_video="skip"), on_skip=told.append,
    )  # fmt: skip
    sources = [name for step in range(10) for name in clips.sample(step, 12, seed=0).sources]
    counts = Counter(name.split("/")[0] for name in sources)
    assert {"one/1", "one/4"}.isdisjoint(sources) and 35 < counts["one"] < 85
    assert sorted(bad.name for bad in clips.skipped) == ["one/1", "one/4"]
    assert told == clips.skipped and told[0].reason.endswith("is bad")


def test_a_damaged_video_is_left_out_where_it_is_damaged_whatever_came_before():
    """Else a run that is resumed would take clips which the uninterrupted one left out."""
    trouble = {1: "torn", 4: "torn", 5: "bad"}

    def run() -> ClipStream:
        return stream(ToyCatalogue(6, trouble=trouble), sampling=Sampling(3), on_bad_video="skip")

    whole = run()
    batches = [whole.sample(step, 4, seed=0).origins for step in range(12)]
    assert [run().sample(step, 4, seed=0).origins for step in range(12)] == batches
    torn = [o.start for origins in batches for o in origins if o.name in ("toy/1", "toy/4")]
    assert len(torn) > 5 and max(torn) + 0.2 < 1.0
    assert sorted(bad.name for bad in whole.skipped) == ["toy/1", "toy/4", "toy/5"]
    with pytest.raises(VideoError, match="toy/.: is torn"):
        strict = stream(ToyCatalogue(6, trouble={1: "torn"}), sampling=Sampling(3))
        [strict.sample(step, 6, seed=0) for step in range(12)]
    alone = stream(ToyCatalogue(1, trouble={0: "torn"}), sampling=Sampling(3), on_bad_video="skip")
    with pytest.raises(VideoError, match="1 videos are bad, nothing is left to read.*is torn"):
        [alone.sample(step, 1, seed=0) for step in range(12)]


def test_a_video_with_a_gap_gives_the_clips_that_pass_it_by():
    def run() -> ClipStream:
        return stream(ToyCatalogue(2, trouble={0: "gap", 1: "gap"}), sampling=Sampling(3, fps=4))

    whole = run()
    clips = [whole.sample(step, 8, seed=0) for step in range(12)]
    shown = np.concatenate([reds(clip.frames) for clip in clips])
    assert (np.diff(shown, axis=1) > 0).all()
    # Between 0.9 and 1.6 s there is no frame; those from 0.7 and 0.9 s on would show that at 0.9 s
    # twice.
    assert set(shown[:, 0]) == {0, 1, 2, 3, 4, 5, 6, 8, 10, 11, 12, 13, 14}
    assert [run().sample(step, 8, seed=0).origins for step in range(12)] == [
        clip.origins for clip in clips
    ]


def test_nothing_but_bad_videos_ends():
    clips = stream(ToyCatalogue(3, trouble=dict.fromkeys(range(3), "bad")), on_bad_video="skip")
    with pytest.raises(VideoError, match="toy: 3 videos are bad, nothing is left.*first: toy/"):
        clips.sample(0, 4, seed=0)
    many = ToyCatalogue(2000, trouble=dict.fromkeys(range(2000), "bad"))
    with pytest.raises(VideoError, match="videos are bad, too many to read"):
        stream(many, on_bad_video="skip").sample(0, 1, seed=0)


@pytest.mark.slow
def test_a_hang_and_a_crash_are_told_of_their_files():
    trouble = {1: "hang", 2: "crash"}
    # The end of a process may take a second or two.
    decoding = Decoding(limits=Limits(seconds=6.0))
    clips = stream(
        ToyCatalogue(8, trouble=trouble), workers=2, on_bad_video="skip", decoding=decoding
    )
    seen = {n for step in range(3) for n in numbers(clips.sample(step, 8, seed=0).frames)}
    clips.close()
    assert seen == {0, 3, 4, 5, 6, 7}
    reasons = {bad.name: bad.reason for bad in clips.skipped}
    assert "took longer than 6 s" in reasons["toy/1"]
    assert "the decoder crashed (signal 11)" in reasons["toy/2"]


@pytest.mark.parametrize(
    ("streaming", "message"),
    [
        ({"on_bad_video": "skp"}, "did you mean 'skip'"),
        ({"ahead": 0}, "at least 1"),
        ({"workers": -1}, "workers at least 0"),
        ({"rank": 2, "world": 2}, "rank must be from 0 to world - 1"),
        ({"decoding": Decoding(backend="decrod"), "workers": 2}, "did you mean 'decord'"),
    ],
)
def test_refusals(streaming, message):
    with pytest.raises(ConfigError, match=message):
        stream(**streaming)


def test_an_empty_data_set_is_refused():
    with pytest.raises(ConfigError, match="at least one video"):
        stream(ToyCatalogue(0))
