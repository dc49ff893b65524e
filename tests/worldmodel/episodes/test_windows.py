"""Segments are consecutive frames and the actions between them, however long episodes are."""

from collections import Counter

import numpy as np
import pytest
import torch

from worldmodel.episodes.choices import spread_choices
from worldmodel.episodes.episode import Episode, FolderInfo
from worldmodel.episodes.folder import Episodes, EpisodeWriter
from worldmodel.episodes.windows import EpisodeDataset, load_arrays
from worldmodel.errors import ConfigError, EpisodeError


@pytest.fixture
def dataset(folder) -> EpisodeDataset:
    return EpisodeDataset(load_arrays(Episodes(folder).labelled), rest_fraction=0.0)


def frame_numbers(frames: torch.Tensor) -> torch.Tensor:
    return frames[:, :, 0, 0, 0].long()


def test_arrays_hold_every_frame_in_its_place(folder):
    arrays = load_arrays(Episodes(folder))
    assert arrays.frames.shape == (35, 3, 8, 8) and arrays.frames.is_contiguous()
    assert arrays.offsets.tolist() == [0, 5, 11, 18, 26, 35]
    for number, place in enumerate(arrays.slices):
        assert arrays.frames[place, 0, 0, 0].tolist() == list(range(5 + number))
        assert (arrays.frames[place, 1] == number).all()
        assert arrays.info["position"][place, 0].tolist() == list(range(5 + number))
    assert arrays.actions is None  # two of them have none
    assert set(arrays.info) == {"position"}  # images for a whole episode are not per frame


def test_the_block_leads_from_a_time_step_to_the_next(dataset):
    batch = dataset.sample(0, 200, seed=0, length=2)
    seen = frame_numbers(batch.frames)
    # f[2i], f[2i+1] -> block (a[2i+1], a[2i+2]) -> f[2i+2], f[2i+3], from any start.
    assert torch.equal(batch.actions[:, 0, 0].long(), seen[:, 1])
    assert torch.equal(batch.actions[:, 0, 2].long(), seen[:, 2])
    assert torch.equal(seen[:, 2], seen[:, 1] + 1)
    assert torch.equal(batch.actions[:, 0, 1], batch.frames[:, 0, 1, 0, 0].float() * 1.0)
    assert torch.equal(batch.info["position"][..., 0], seen[:, 1::2])


def test_a_start_before_the_episode_shows_it_at_rest(dataset):
    batch = dataset.at(torch.tensor([1]), torch.tensor([-1]), length=3)
    assert frame_numbers(batch.frames).tolist() == [[0, 0, 1, 2, 3, 4]]
    assert batch.actions[0, :, ::2].tolist() == [[0, 1], [2, 3]]
    assert batch.times[0].tolist() == pytest.approx([-0.1, 0, 0.1, 0.2, 0.3, 0.4])
    assert batch.clip().frames.shape == (1, 6, 3, 8, 8)


def test_every_start_of_every_length_is_equally_likely(dataset):
    assert dataset.num_starts(3).tolist() == [1, 3, 5]  # of 5, 7 and 9 frames, with start -1
    assert dataset.num_starts(4).tolist() == [0, 1, 3]
    batch = dataset.sample(0, 9000, seed=3, length=3)
    counts = Counter(zip(batch.episodes.tolist(), batch.starts.tolist(), strict=True))
    assert set(counts) == {(0, -1)} | {(1, s) for s in (-1, 0, 1)} | {(2, s) for s in range(-1, 4)}
    assert all(abs(count - 1000) < 150 for count in counts.values())


def test_no_segment_crosses_into_the_next_episode(dataset):
    batch = dataset.sample(5, 500, seed=1, length=3)
    green = batch.frames[:, :, 1, 0, 0]
    assert (green == green[:, :1]).all()
    with pytest.raises(EpisodeError, match="ends after its episode"):
        dataset.at(torch.tensor([0]), torch.tensor([1]), length=3)


def test_rest_fraction_adds_starts_at_rest(folder):
    arrays = load_arrays(Episodes(folder).labelled)
    batch = EpisodeDataset(arrays, rest_fraction=1.0).sample(0, 50, seed=0, length=2)
    assert (batch.starts == -1).all()


def test_a_batch_is_a_function_of_seed_and_step(dataset):
    one, again = (dataset.sample(7, 16, seed=2, length=2) for _ in range(2))
    assert torch.equal(one.frames, again.frames) and torch.equal(one.actions, again.actions)
    for other in (dataset.sample(8, 16, seed=2, length=2), dataset.sample(7, 16, seed=3, length=2)):
        assert not torch.equal(one.starts, other.starts)


def test_sweep_visits_each_start_once(dataset):
    batch = dataset.sweep(length=1)
    places = list(zip(batch.episodes.tolist(), batch.starts.tolist(), strict=True))
    assert len(places) == len(set(places)) == sum((5, 7, 9))
    assert len(dataset.sweep(length=1, stride=3)) == 2 + 3 + 3


@pytest.mark.parametrize(("frames", "block"), [(1, 3), (2, 3), (1, 1)])
def test_the_actions_of_a_block_lead_from_state_to_state(folder, frames, block):
    arrays = load_arrays(Episodes(folder).labelled)
    dataset = EpisodeDataset(arrays, tubelet_frames=frames, action_block=block)
    batch = dataset.sample(0, 100, seed=0, length=2)
    seen = frame_numbers(batch.frames).unflatten(1, (2, frames))
    last = seen[:, :, -1]
    assert torch.equal(last[:, 1], last[:, 0] + block)
    # Each action says the number of the frame that it was taken at.
    taken = batch.actions[:, 0].unflatten(1, (block, 2))[..., 0].long()
    assert torch.equal(taken, last[:, :1] + torch.arange(block))
    assert torch.equal(batch.info["position"][..., 0].long(), last)
    assert dataset.num_starts(2).tolist() == [max(n - block, 0) for n in (5, 7, 9)]


def test_what_a_prediction_begins_with_may_lie_before_the_episode(folder):
    arrays = load_arrays(Episodes(folder).labelled)
    dataset = EpisodeDataset(arrays, tubelet_frames=1, action_block=3, least=2, rest_fraction=0.0)
    assert dataset.num_starts(3).tolist() == [2, 4, 6]  # of 5, 7 and 9 frames, from -3 on
    batch = dataset.at(torch.tensor([1, 1]), torch.tensor([-3, -1]), length=3)
    assert frame_numbers(batch.frames).tolist() == [[0, 0, 3], [0, 2, 5]]
    taken = batch.actions.unflatten(2, (3, 2))[..., 0].tolist()
    assert taken == [[[0, 0, 0], [0, 1, 2]], [[0, 0, 1], [2, 3, 4]]]
    other = batch.actions.unflatten(2, (3, 2))[..., 1].tolist()  # the episode's number
    assert other == [[[0, 0, 0], [2, 2, 2]], [[0, 2, 2], [2, 2, 2]]]
    starts = dataset.sample(0, 500, seed=0, length=3).starts
    assert (starts.min(), starts.max()) == (-3, 2)


def test_a_block_that_is_shorter_than_a_time_step_is_refused(folder):
    with pytest.raises(ConfigError, match="block of 1 is shorter than the 2 frames"):
        EpisodeDataset(load_arrays(Episodes(folder).labelled), tubelet_frames=2, action_block=1)


def test_some_segments_of_a_batch_can_be_of_one_episode(dataset):
    batch = dataset.sample(0, 120, seed=0, length=2, per_episode=4)
    episodes = batch.episodes.unflatten(0, (-1, 4))
    assert (episodes == episodes[:, :1]).all() and episodes.unique().tolist() == [0, 1, 2]
    starts = batch.starts[batch.episodes == 2]
    assert set(starts.tolist()) == set(range(-1, 6))


def test_choices_get_a_number_for_each_alternative(tmp_path):
    info = FolderInfo("world", 10.0, (2.0,), (4.0,), action_choices=(3,))
    frames = np.zeros((4, 8, 8, 3), np.uint8)
    with EpisodeWriter(tmp_path, info) as writer:
        writer.write(Episode.from_numpy(frames, np.array([[2.0], [4.0], [3.0]]), fps=10))
    arrays = load_arrays(Episodes(tmp_path))
    assert arrays.actions.tolist() == [[1, 0, 0], [0, 0, 1], [0, 1, 0], [0, 0, 0]]
    assert arrays.action_choices == (3,)
    for wrong in (1.0, 5.0, 2.5):
        with pytest.raises(EpisodeError, match=r"choices among \[3\] alternatives"):
            spread_choices(torch.tensor([[wrong]]), (3,), (2.0,))


def test_time_steps_of_one_frame(folder):
    dataset = EpisodeDataset(load_arrays(Episodes(folder).labelled), tubelet_frames=1)
    batch = dataset.at(torch.tensor([0]), torch.tensor([1]), length=3)
    assert frame_numbers(batch.frames).tolist() == [[1, 2, 3]]
    assert batch.actions[0, :, 0].tolist() == [1, 2]
    assert dataset.num_starts(5).tolist() == [1, 3, 5]


def test_refusals(folder, make_episode):
    with pytest.raises(EpisodeError, match="longest episode has 9.*shorter segments"):
        EpisodeDataset(load_arrays(Episodes(folder).labelled)).sample(0, 1, seed=0, length=9)
    with pytest.raises(EpisodeError, match="without actions"):
        EpisodeDataset(load_arrays(Episodes(folder).unlabelled))
    with pytest.raises(EpisodeError, match="no episodes to load"):
        load_arrays([])
    with pytest.raises(EpisodeError, match="episode 1: frames are c h w = .3, 16, 16."):
        load_arrays([make_episode(4), make_episode(4, size=16)])
