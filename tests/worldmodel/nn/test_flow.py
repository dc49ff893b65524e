import pytest
import torch

from tests.worldmodel.toys import noise, small, stirred
from worldmodel.errors import ShapeError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.flow import FlowHead, correlation, resized, warp
from worldmodel.types import Clip


def everywhere(x, y, *, batch=2, h=10, w=12):
    """One flow at all cells."""
    return torch.tensor([x, y], dtype=torch.float)[:, None, None].expand(batch, 2, h, w)


@pytest.mark.parametrize(("x", "y"), [(0, 0), (2, 0), (-3, 1), (1, -4)])
def test_maps_that_moved_are_moved_back_exactly(x, y):
    before = noise(2, 5, 10, 12)
    after = torch.roll(before, (y, x), dims=(2, 3))
    back, is_inside = warp(after, everywhere(x, y))
    rows, columns = torch.arange(10)[:, None] + y, torch.arange(12) + x
    known = (rows >= 0) & (rows < 10) & (columns >= 0) & (columns < 12)
    assert torch.equal(is_inside, known.expand(2, 1, 10, 12))
    assert torch.allclose((back - before) * known, torch.zeros(()), atol=1e-5)


def test_between_cells_values_are_bilinear():
    ramp = torch.arange(10.0)[:, None] * 3 + torch.arange(12.0) * 2
    moved, _ = warp(ramp.expand(2, 1, 10, 12), everywhere(0.25, 0.5))
    assert torch.allclose(moved[:, :, :-1, :-1], (ramp + 2 * 0.25 + 3 * 0.5)[:-1, :-1], atol=1e-4)


def test_maps_are_most_alike_where_they_moved_to():
    before = torch.randn(2, 16, 10, 12, generator=torch.Generator().manual_seed(0))
    after = torch.roll(before, (1, -2), dims=(2, 3))
    found = correlation(before, after, reach=2)
    assert found.shape == (2, 25, 10, 12)
    assert (found[:, :, 2:-2, 2:-2].argmax(1) == 3 * 5 + 0).all()  # one row down, two to the left
    direct = (before[:, :, 4, 4] * after[:, :, 5, 2]).mean(1)
    assert torch.allclose(found[:, 15, 4, 4], direct)


def test_a_flow_on_a_finer_map_is_as_many_times_longer():
    fine = resized(everywhere(1, -0.5), 20, 36)
    assert torch.allclose(fine, everywhere(3, -1, h=20, w=36))


def test_an_untrained_head_says_that_nothing_moves():
    encoder = VideoViT(24, 1, heads=2, patch=8)
    flow = FlowHead(24, width=4).flow(encoder, noise(2, 6, 3, 16, 32))
    assert torch.equal(flow, torch.zeros(2, 2, 2, 16, 32))


def test_each_flow_depends_on_its_two_time_steps_alone():
    encoder, head = VideoViT(24, 1, heads=2, patch=8), FlowHead(24, width=4)
    stirred(encoder), stirred(head)
    frames = noise(1, 8, 3, 16, 16).requires_grad_()
    flow = head.flow(encoder, frames)
    assert flow.shape == (1, 3, 2, 16, 16)
    flow[:, 1].square().sum().backward()
    reached = frames.grad.abs().sum((0, 2, 3, 4)) > 0
    assert reached.tolist() == [False, False, True, True, True, True, False, False]


def test_flow_is_in_pixels_per_frame():
    """The same motion over time steps of twice the frames is half as fast."""
    torch.manual_seed(0)
    head = stirred(FlowHead(24, width=4))
    found = []
    for frames in (1, 2):
        encoder = stirred(VideoViT(24, 1, heads=2, patch=8, tubelet_frames=frames))
        maps = head.pyramids(encoder, noise(1, 2 * frames, 3, 16, 16))
        over_a_step = resized(head([x[:, 0] for x in maps], [x[:, 1] for x in maps])[-1], 16, 16)
        flow = head.flow(encoder, noise(1, 2 * frames, 3, 16, 16))[:, 0]
        found.append((over_a_step / flow).mean())
    assert torch.allclose(torch.stack(found), torch.tensor([1.0, 2.0]))


def test_a_clip_needs_two_time_steps_and_the_model_a_head():
    sizes = small()
    clip = Clip.from_uint8((noise(1, 2, 3, 16, 16) * 255).byte())
    with pytest.raises(WorldModelError, match="no flow head: `worldmodel pretrain recipe=mcjepa`"):
        WorldModel(sizes.encoder, size=16).flow(clip)
    model = WorldModel(sizes.encoder, size=16, flow_head=FlowHead(24))
    with pytest.raises(
        ShapeError, match="a clip needs 4, 6 or more frames, a multiple of 2, got 2"
    ):
        model.flow(clip)
