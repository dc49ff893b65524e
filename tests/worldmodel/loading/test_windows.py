"""Where the windows of a video are, and that every one of them is read, in order, once."""

import numpy as np
import pytest
import torch

from worldmodel.datasets import open_catalogue
from worldmodel.errors import ConfigError, VideoError
from worldmodel.loading.every_window import START, EveryWindow, Place, WindowLoading
from worldmodel.loading.window_reader import WindowRule, square
from worldmodel.video.decoding import Decoding


@pytest.mark.parametrize("length", [1, 4, 7])
@pytest.mark.parametrize("stride", [1, 3, 7])
def test_every_frame_is_in_a_window_and_none_begins_out_of_turn_but_the_last(length, stride):
    for count in range(1, 40):
        starts = WindowRule(length, stride).starts(count)
        assert (np.diff(starts) > 0).all()
        assert all(start % stride == 0 for start in starts[:-1])
        seen = {start + i for start in starts for i in range(length)}
        if count < length:
            assert starts.tolist() == [0]
        elif stride <= length:
            assert seen == set(range(count))
        else:  # what lies between windows was not asked for; a window that was is there
            assert {start for start in range(0, count - length + 1, stride)} <= set(starts)
            assert max(seen) < count


def test_the_last_window_ends_with_the_last_frame():
    assert WindowRule(16, 8).starts(16).tolist() == [0]
    assert WindowRule(16, 8).starts(17).tolist() == [0, 1]
    assert WindowRule(16, 8).starts(40).tolist() == [0, 8, 16, 24]
    assert WindowRule(16, 8).starts(43).tolist() == [0, 8, 16, 24, 27]
    # No window would have begun in the seven frames that are left.
    assert WindowRule(4, 10).starts(14 + 5).tolist() == [0, 10]
    assert WindowRule(4, 10).starts(22).tolist() == [0, 10, 18]


def test_a_short_video_holds_its_last_frame():
    windows = WindowRule(5, 2).windows(np.array([0.0, 0.5, 0.7]), name="v")
    assert len(windows) == 1
    assert windows.numbers[windows.places(0)].tolist() == [0, 1, 2, 2, 2]


def test_at_a_rate_the_nearest_frames_count():
    times = np.arange(30) / 10
    windows = WindowRule(3, 3, fps=5).windows(times, name="v")
    assert windows.numbers.tolist() == list(range(0, 30, 2))
    assert len(windows) == 5
    still = WindowRule(3, 3, fps=5).windows(np.zeros(1), name="image")
    assert still.numbers[still.places(0)].tolist() == [0, 0, 0]
    with pytest.raises(VideoError, match="up to 0.1 s apart, too far for fps=25"):
        WindowRule(3, 3, fps=25).windows(times, name="v")


@pytest.mark.parametrize(
    ("change", "said"),
    [({"length": 0}, "window is a whole number"), ({"stride": 0}, "stride is a whole number"),
     ({"fps": -1.0}, "fps must be a positive number")],
)  # fmt: skip
def test_a_rule_that_is_none_is_refused(change, said):
    with pytest.raises(ConfigError, match=said):
        WindowRule(**({"length": 4, "stride": 2} | change))


def test_frames_are_made_square_by_the_middle_or_whole():
    frames = torch.arange(8, dtype=torch.uint8).expand(1, 3, 4, 8).contiguous()
    assert square(frames, 4, "crop")[0, 0, 0].tolist() == [2, 3, 4, 5]
    whole = square(frames, 4, "stretch")[0, 0, 0]
    assert whole.shape == (4,) and whole[0] < 2 and whole[-1] > 5


@pytest.fixture
def every(tmp_path, make_video):
    """Makes the stream over three videos of 9, 3 and 12 frames."""
    for name, count in (("a", 9), ("b", 3), ("c", 12)):
        make_video(tmp_path / f"{name}.mp4", count)

    def make(workers=0, **loading):
        return EveryWindow(
            open_catalogue(tmp_path), rule=WindowRule(4, 2), size=16, decoding=Decoding(),
            loading=WindowLoading(workers=workers, **loading),
        )  # fmt: skip

    return make


def taken(stream, begin=START, count=None):
    """Rows with the grey of their frames, and where each batch ends."""
    rows, ends = [], []
    for number, batch in enumerate(stream.batches(begin)):
        for row, frames in zip(batch.rows, batch.frames, strict=True):
            grey = frames.float().mean((1, 2, 3)).round().tolist()
            rows.append((row.item.name[-5], row.window, row.first, row.frames, grey))
        ends.append(batch.next)
        if number + 1 == count:
            break
    return rows, ends


def test_windows_come_in_order_with_the_right_frames(every):
    rows, ends = taken(every(batch=4))
    assert [row[:4] for row in rows] == [
        *(("a", i, first, 4) for i, first in enumerate((0, 2, 4, 5))),
        ("b", 0, 0, 3),
        *(("c", i, first, 4) for i, first in enumerate((0, 2, 4, 6, 8))),
    ]
    for _, _, first, frames, grey in rows:
        shown = [min(first + i, first + frames - 1) for i in range(4)]
        assert grey == pytest.approx([10 + 5 * number for number in shown], abs=3)
    assert ends == [Place(0, 4), Place(2, 3), Place(2, 5)]


def test_it_can_begin_where_any_batch_has_ended(every):
    rows, ends = taken(every(batch=4))
    for number, end in enumerate(ends, start=1):
        assert taken(every(batch=4), end)[0] == rows[4 * number :]


@pytest.mark.slow
def test_it_is_the_same_with_processes(every):
    assert taken(every(workers=2, batch=2)) == taken(every(batch=2))


def test_what_cannot_be_read_is_an_error_or_listed(every, tmp_path):
    (tmp_path / "b.mp4").write_bytes(b"no video")
    with pytest.raises(VideoError, match=r"b\.mp4"):
        taken(every())
    stream = every(on_bad_video="skip", batch=3)
    left = [bad for batch in stream.batches() for bad in batch.left_out]
    assert [bad.name[-5:] for bad in left] == ["b.mp4"]
    assert len(taken(stream)[0]) == 9


def test_of_a_damaged_video_only_the_windows_that_meet_the_damage_are_left_out(every, monkeypatch):
    from worldmodel.video.clip import VideoReader

    intact = VideoReader.read_clips

    def damaged(self, clips):
        if self.name.endswith("c.mp4") and any((clip == 5).any() for clip in clips):
            raise VideoError(f"{self.name}: frame 5 is damaged")
        return intact(self, clips)

    monkeypatch.setattr(VideoReader, "read_clips", damaged)
    batches = list(every(on_bad_video="skip", batch=5).batches())
    assert [bad.name[-24:] for batch in batches for bad in batch.left_out] == [
        "c.mp4, window 1 at 0.2 s", "c.mp4, window 2 at 0.4 s",
    ]  # fmt: skip
    kept = [row.window for batch in batches for row in batch.rows if row.item.name[-5] == "c"]
    assert kept == [0, 3, 4]
    with pytest.raises(VideoError, match="frame 5 is damaged"):
        taken(every())
