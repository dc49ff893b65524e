"""Clips: the right frames at the right times, the same for the same seed and step."""

import time
import tracemalloc

import numpy as np
import pytest
import torch

from worldmodel.episodes.folder import Episodes
from worldmodel.episodes.windows import load_arrays
from worldmodel.errors import ConfigError, VideoError
from worldmodel.loading.in_memory import ClipDataset, MemoryVideo, episode_videos
from worldmodel.types import Origin
from worldmodel.video.sampling import Sampling, nearest_frames

# Of `test_the_draws_stay_what_they_were`.
VIDEOS = [2, 0, 1, 0, 0, 1]
REDS = [[8, 11], [1, 4], [0, 0], [5, 8], [1, 4], [5, 8]]
COLUMNS = [[7, 2], [4, 9], [0, 5], [6, 1], [8, 3], [4, 9]]


def video(number: int, length: int = 12, height: int = 8, width: int = 8) -> MemoryVideo:
    """Red is the frame, green the row, blue the column; `number` decides the rate."""
    frames = torch.zeros(length, 3, height, width, dtype=torch.uint8)
    frames[:, 0] = torch.arange(length, dtype=torch.uint8)[:, None, None]
    frames[:, 1] = torch.arange(height, dtype=torch.uint8)[:, None]
    frames[:, 2] = torch.arange(width, dtype=torch.uint8)
    return MemoryVideo(f"video {number}", frames, torch.arange(length) / (10.0 * (number + 1)))


def red(clips: torch.Tensor) -> torch.Tensor:
    return clips[:, :, 0, 0, 0].long()


def test_stride_and_start_cover_the_video():
    data = ClipDataset([video(0)], num_frames=4, stride=3)
    frames, times, origins = data.sample_uint8(0, 200, seed=0)
    assert set(map(tuple, red(frames).tolist())) == {(s, s + 3, s + 6, s + 9) for s in (0, 1, 2)}
    assert torch.allclose(times, red(frames).double() / 10)
    starts = times[:, 0].tolist()
    assert origins == tuple(Origin("video 0", start, stride=3) for start in starts)
    clip = data.sample(0, 200, seed=0)
    assert clip.origins == origins and clip.sources == ("video 0",) * 200


def test_fps_takes_each_video_at_its_own_stride():
    data = ClipDataset([video(0), video(1)], num_frames=3, fps=5.0)
    frames, times, origins = data.sample_uint8(0, 100, seed=0)
    for clip, seen, origin in zip(red(frames), times, origins, strict=True):
        assert clip.diff().tolist() == ([2, 2] if origin.name == "video 0" else [4, 4])
        assert (origin.stride, origin.fps) == (None, 5.0)
        assert seen.diff().tolist() == pytest.approx([0.2, 0.2])


def test_crop_and_flip_are_one_per_clip():
    data = ClipDataset([video(0, height=8, width=20)], num_frames=3, size=6, flip=True)
    frames, _, _ = data.sample_uint8(0, 300, seed=0)
    assert frames.shape == (300, 3, 3, 6, 6)
    assert (frames[:, :, 1:] == frames[:, :1, 1:]).all()  # the same window in all frames of a clip
    rows, columns = frames[:, 0, 1, :, 0].int(), frames[:, 0, 2, 0].int()
    assert (rows.diff(dim=1) == 1).all()
    steps = columns.diff(dim=1)
    assert (steps == steps[:, :1]).all() and set(steps.unique().tolist()) == {-1, 1}
    assert set(rows[:, 0].tolist()) == {0, 1, 2}
    assert set(columns.min(dim=1).values.tolist()) == set(range(15))


def test_rest_shows_the_first_frame_twice():
    frames, times, _ = ClipDataset([video(0)], num_frames=3, rest_fraction=1.0).sample_uint8(
        0, 5, seed=0
    )
    assert red(frames).tolist() == [[0, 0, 1]] * 5
    assert times[0].tolist() == pytest.approx([-0.1, 0.0, 0.1])


def test_a_batch_is_a_function_of_seed_and_step():
    data = ClipDataset([video(0), video(1)], num_frames=2, size=4)
    one, again, step, seed = (
        data.sample(*key, seed=s).frames for *key, s in ((3, 9, 1), (3, 9, 1), (4, 9, 1), (3, 9, 2))
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, step) and not torch.equal(one, seed)


def test_episodes_are_videos(folder):
    arrays = load_arrays(Episodes(folder))
    videos = episode_videos(arrays)
    assert [v.num_frames for v in videos] == [5, 6, 7, 8, 9]
    clip = ClipDataset(videos, num_frames=4).sample(0, 6, seed=0)
    assert clip.frames.shape == (6, 4, 3, 8, 8)
    assert all(name.startswith(str(folder)) for name in clip.sources)
    # Views, not copies: a change of the arrays is seen.
    arrays.frames.fill_(7)
    assert (videos[2].read(np.array([1, 3, 5])) == 7).all()


@pytest.mark.parametrize("indices", [[0], [2, 4, 6], [1, 2, 4], [3, 3], [0, 11]])
def test_memory_video_reads_any_frames(indices):
    frames = video(0).read(np.array(indices))
    assert frames[:, 0, 0, 0].tolist() == indices


def test_refusals():
    with pytest.raises(VideoError, match="no videos to draw clips from"):
        ClipDataset([], num_frames=2)
    with pytest.raises(VideoError, match="video 1: is shorter than the clip: 3 frames.*4 frames"):
        ClipDataset([video(0), video(1, length=3)], num_frames=4)
    with pytest.raises(VideoError, match="video 0: is shorter than the clip: .*1.1 s.*5 s"):
        ClipDataset([video(0)], num_frames=6, fps=1.0)
    with pytest.raises(VideoError, match="video 0: has 10 frames/s, too few for fps=25"):
        ClipDataset([video(0)], num_frames=4, fps=25)
    with pytest.raises(ConfigError, match="size=9 is larger than the frames of video 0"):
        ClipDataset([video(0)], num_frames=2, size=9)
    with pytest.raises(ConfigError, match="not both"):
        Sampling(2, stride=1, fps=1)
    with pytest.raises(ConfigError, match="at least 1"):
        Sampling(2, stride=0)


def test_an_image_does_not_rest():
    clips = [
        ClipDataset([video(0)], num_frames=1, rest_fraction=share).sample_uint8(0, 4, seed=0)
        for share in (0.0, 1.0)
    ]
    assert torch.equal(clips[0][0], clips[1][0]) and torch.equal(clips[0][1], clips[1][1])


def test_nearest_frames_on_uneven_times():
    times = np.array([0.0, 0.1, 0.4, 0.5, 1.0])
    wanted = np.array([-1.0, 0.0, 0.24, 0.26, 0.45, 0.76, 2.0])
    assert nearest_frames(times, wanted).tolist() == [0, 0, 1, 2, 2, 4, 4]


def uneven(seed: int) -> tuple[np.ndarray, int, float]:
    """Times, frames of a clip and frames per second of some video."""
    random = np.random.default_rng(seed)
    steps = [
        np.full(60, 1 / 30) + 0.6 * (np.arange(60) == 40), np.full(60, 1001 / 30000),
        random.exponential(0.05, 60) + 1e-3, random.choice([0.04, 0.04, 0.04, 0.1, 0.5], 60),
    ][seed % 4]  # fmt: skip
    times = np.concatenate([[0.0], np.cumsum(steps)])
    rates = [4, 8, 12.5, 15, 20, 29.97, 30, 31, random.uniform(1, 60)]
    return times, int(random.integers(1, 12)), float(random.choice(rates))


def test_clips_begin_where_no_frame_is_shown_twice():
    seen = set()
    for seed in range(400):
        times, count, fps = uneven(seed)
        sampling, wanted = Sampling(count, fps=fps), []
        for start in range(len(times)):
            goals_of_it = times[start] + np.arange(count) / fps
            if goals_of_it[-1] <= times[-1] + np.diff(times).mean() / 2:
                chosen = np.abs(times - goals_of_it[:, None] + 1e-9 * np.arange(61)).argmin(axis=1)
                wanted += [start] * bool((np.diff(chosen) > 0).all())
        try:
            got = sampling.starts(times, name="some").tolist()
        except VideoError:
            got = []
        assert got == wanted, (seed, count, fps)
        seen.add(min(len(got), 1) + (len(got) > 40))
    assert seen == {0, 1, 2}  # none, some, most


def test_starts_of_long_clips_of_a_long_video_are_found_quickly():
    times = np.arange(100_000) / 30
    begun = time.monotonic()
    assert len(Sampling(20_000, fps=10).starts(times, name="long")) == 40_003
    with pytest.raises(VideoError, match="long: has 30 frames/s, too few for fps=30.01"):
        Sampling(20_000, fps=30.01).starts(times, name="long")
    times[60_000:] += 0.6
    starts = Sampling(5_000, fps=10).starts(times, name="long")
    # Of two that begin before the gap and end in it, the last frame before it is the last one.
    assert starts.tolist() == [*range(45_003 + 2), *range(60_000, 85_003)]
    assert time.monotonic() - begun < 30  # looking at each goal of each clip took minutes


def test_a_gap_is_passed_by_or_named():
    times = torch.arange(100, dtype=torch.float64) / 20
    times[40:] += 0.55
    frames = torch.arange(100, dtype=torch.uint8)[:, None, None, None].expand(-1, 3, 8, 8)
    gapped = MemoryVideo("gapped", frames, times)
    data = ClipDataset([gapped], num_frames=4, fps=4, flip=True)
    shown, seen, _ = data.sample_uint8(0, 2000, seed=0)
    assert (red(shown).diff(dim=1) > 0).all() and (seen.diff(dim=1) > 0.04).all()
    starts = red(shown)[:, 0].unique()
    assert len(starts) == 79 == len(data.sampling.starts(times.numpy(), name="gapped"))
    with pytest.raises(VideoError, match="gapped: has no frame between 1.95 and 2.55 s, too long "
                       "for fps=4 without showing a frame twice; ask for a lower fps"):  # fmt: skip
        data.sampling.clip(times.numpy(), 1.5, name="gapped")


def test_what_is_refused_takes_no_memory():
    times, sampling = np.arange(300) / 30, Sampling(10**10, duration=1.0)
    tracemalloc.start()
    try:
        for ask in (
            lambda: sampling.clip(times, 0.0, name="a"),
            lambda: sampling.starts(times, name="a"),
        ):
            with pytest.raises(VideoError, match="a: has 30 frames/s, too few for fps=1e.10"):
                ask()
        assert tracemalloc.get_traced_memory()[1] < 2**20
    finally:
        tracemalloc.stop()


def test_the_draws_stay_what_they_were():
    """Published numbers rest on them: a change of any draw is a change of every result."""
    data = ClipDataset(
        [video(n, length=12 + n, height=8, width=10) for n in range(3)],
        num_frames=2, stride=3, size=6, flip=True, rest_fraction=0.25,
    )  # fmt: skip
    clip = data.sample(5, 6, seed=11)
    assert [int(name[-1]) for name in clip.sources] == VIDEOS
    assert (clip.frames[:, :, 0, 0, 0] * 255).round().int().tolist() == REDS
    assert (clip.frames[:, 0, 2, 0] * 255).round().int()[:, [0, -1]].tolist() == COLUMNS


def test_ranks_take_parts_of_the_batch_that_one_process_would():
    videos = [MemoryVideo(str(i), *moving(i)) for i in range(5)]
    ask = {"num_frames": 3, "size": 4, "flip": True, "rest_fraction": 0.3}
    whole = ClipDataset(videos, **ask).sample(7, 6, seed=1)
    parts = [ClipDataset(videos, **ask, rank=r, world=3).sample(7, 2, seed=1) for r in range(3)]
    assert torch.equal(torch.cat([part.frames for part in parts]), whole.frames)
    assert sum((part.origins for part in parts), ()) == whole.origins


def test_several_clips_of_a_video_share_their_square_and_flip():
    videos = [video(n, height=8, width=20) for n in range(6)]
    ask = {"num_frames": 3, "size": 6, "flip": True, "epochs": True, "clips_per_video": 4}
    clip = ClipDataset(videos, **ask).sample(0, 24, seed=0)
    names = np.array(clip.sources).reshape(6, 4)
    assert (names == names[:, :1]).all() and len(set(names[:, 0])) == 6
    groups = clip.frames.unflatten(0, (6, 4))
    assert torch.equal(groups[:, :, :, 1:], groups[:, :1, :, 1:].expand_as(groups[:, :, :, 1:]))
    assert len({tuple(starts) for starts in (groups[:, :, 0, 0, 0, 0] * 255).tolist()}) > 1
    parts = [ClipDataset(videos, **ask, rank=r, world=3).sample(0, 8, seed=0) for r in range(3)]
    assert torch.equal(torch.cat([part.frames for part in parts]), clip.frames)
    with pytest.raises(ConfigError, match="batch=6 is no multiple of clips_per_video=4"):
        ClipDataset(videos, **ask).sample(0, 6, seed=0)


def moving(seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    random = torch.Generator().manual_seed(seed)
    frames = torch.randint(256, (8, 3, 6, 7), dtype=torch.uint8, generator=random)
    return frames, torch.arange(8, dtype=torch.float64)


def test_in_epochs_every_video_comes_once_before_any_comes_again():
    videos = [MemoryVideo(str(i), *moving(i)) for i in range(12)]
    data = ClipDataset(videos, num_frames=3, size=4, epochs=True)
    for epoch in range(3):
        names = [n for step in range(3) for n in data.sample(3 * epoch + step, 4, seed=5).sources]
        assert sorted(names, key=int) == [str(i) for i in range(12)]
    ranks = [
        ClipDataset(videos, num_frames=3, size=4, epochs=True, rank=r, world=2) for r in (0, 1)
    ]
    names = [n for step in range(2) for data in ranks for n in data.sample(step, 3, seed=5).sources]
    assert sorted(names, key=int) == [str(i) for i in range(12)]
