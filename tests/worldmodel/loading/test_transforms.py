"""Transforms of batches on the device: random for each clip, the same for every run."""

import pytest
import torch

from worldmodel.errors import ConfigError
from worldmodel.loading.transforms import VJEPA, Plain

KINDS = [Plain(), VJEPA(), VJEPA(jitter=0.4, oversize=1.5)]
SIZE = 16


def batch(transforms, clips=8, frames=3):
    side = transforms.frame_size(SIZE)
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 1, 3, side, side, generator=generator)
    return image.expand(clips, frames, -1, -1, -1).clone()  # every frame is the same image


@pytest.mark.parametrize("transforms", KINDS)
def test_the_contract(transforms):
    frames = batch(transforms)
    seen = transforms(frames, size=SIZE, seed=1, step=5)
    assert seen.shape == (8, 3, 3, SIZE, SIZE) and seen.dtype == torch.float32
    assert seen.min() >= 0 and seen.max() <= 1
    # The same draw for all frames of a clip; a function of seed and step.
    assert torch.equal(seen, seen[:, :1].expand_as(seen))
    assert torch.equal(seen, transforms(frames, size=SIZE, seed=1, step=5))
    assert torch.equal(frames, batch(transforms))


def test_plain_changes_nothing():
    frames = batch(Plain())
    assert Plain()(frames, size=SIZE, seed=0, step=0) is frames


@pytest.mark.parametrize("transforms", KINDS[1:])
def test_clips_steps_and_seeds_differ_and_the_global_state_stays(transforms):
    frames = batch(transforms)
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    seen = transforms(frames, size=SIZE, seed=1, step=5)
    assert torch.equal(torch.rand(3), expected)
    assert len({clip.numpy().tobytes() for clip in seen}) >= 6  # of 8: small crops may coincide
    assert not torch.equal(seen, transforms(frames, size=SIZE, seed=1, step=6))
    assert not torch.equal(seen, transforms(frames, size=SIZE, seed=2, step=5))


def test_crops_have_the_areas_and_shapes_asked_for():
    side = 200
    ramp = torch.linspace(0, 1, side)
    frames = torch.stack(
        [ramp.expand(side, -1), ramp[:, None].expand(-1, side), torch.ones(side, side)]
    )
    frames = frames.expand(300, 1, 3, side, side)
    seen = VJEPA(flip=0.5)(frames, size=64, seed=0, step=0)[:, 0]
    # Red rises to the right and green downwards over as much as was cropped.
    across = (seen[:, 0, 32, -1] - seen[:, 0, 32, 0]) / (1 - 1 / 64)
    down = (seen[:, 1, -1, 32] - seen[:, 1, 0, 32]) / (1 - 1 / 64)
    area, ratio = across.abs() * down, across.abs() / down
    assert area.min() > 0.28 and area.max() < 1.03 and area.min() < 0.35 and area.max() > 0.9
    assert ratio.min() > 0.72 and ratio.max() < 1.4
    assert 0.4 < float((across < 0).float().mean()) < 0.6  # mirrored


def test_the_frame_size_is_what_oversize_says():
    assert Plain().frame_size(64) == VJEPA().frame_size(64) == 64
    assert VJEPA(oversize=1.5).frame_size(64) == 96


@pytest.mark.parametrize(
    "wrong", [{"scale": (0.5, 0.3)}, {"scale": (0.3, 1.2)}, {"ratio": (0, 1)}, {"flip": 2},
              {"jitter": -0.1}, {"oversize": 0.5}]
)  # fmt: skip
def test_refusals(wrong):
    with pytest.raises(ConfigError, match="must lie in"):
        VJEPA(**wrong)


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_the_draws_are_the_same_on_a_device():
    frames = batch(KINDS[2])
    here, there = (KINDS[2](f, size=SIZE, seed=3, step=1) for f in (frames, frames.cuda()))
    assert there.is_cuda and torch.allclose(here, there.cpu(), atol=1e-4)
