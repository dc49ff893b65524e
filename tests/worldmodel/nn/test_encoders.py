"""The contract of encoders: one suite, run over each kind."""

import json

import pytest
import torch

from tests.worldmodel.toys import noise, stirred
from worldmodel.errors import ShapeError
from worldmodel.nn.class_token_vit import ClassTokenViT
from worldmodel.nn.conv_encoder import ConvEncoder
from worldmodel.nn.encoder import Encoder, VideoViT, take
from worldmodel.nn.frame_encoder import FrameEncoder

SIDE = 64
KINDS = {
    "VideoViT": lambda: VideoViT(24, 2, heads=2, patch=16),
    "class token": lambda: ClassTokenViT(24, 2, heads=2, patch=16, size=SIDE),
    "convolutions": lambda: ConvEncoder(32, 4),
    "timm transformer": lambda: FrameEncoder("test_vit", size=SIDE),
    "timm convolutions": lambda: FrameEncoder("test_resnet"),
    "timm earlier stage": lambda: FrameEncoder("test_resnet", stage=-2, tubelet_frames=4),
    "timm one frame": lambda: FrameEncoder("test_efficientnet", tubelet_frames=1),
    "timm earlier block": lambda: FrameEncoder(
        "vit_tiny_patch16_224", size=48, stage=1, tubelet_frames=2
    ),
}


@pytest.fixture(scope="module", params=KINDS.values(), ids=KINDS.keys())
def encoder(request):
    torch.manual_seed(0)
    return stirred(request.param(), scale=0.1).eval()


@pytest.fixture
def frames(encoder):
    side = encoder.spec.get("size") or SIDE
    return noise(2, 8, 3, side, side)


def cell(encoder, frames, position):
    """Frames, rows and columns of the pixels that belong to a position on the grid."""
    grid = encoder.grid(frames)
    t, rest = divmod(position, grid[1] * grid[2])
    lengths = (frames.shape[1], *frames.shape[-2:])
    at = (t, *divmod(rest, grid[2]))
    return [
        torch.tensor([x for x in range(length) if x * cells // length == where])
        for length, cells, where in zip(lengths, grid, at, strict=True)
    ]


def with_other(encoder, frames, positions):
    """The frames of the first clip with other pixels at the positions."""
    other = frames.clone()
    for position in positions:
        t, h, w = cell(encoder, frames, position)
        t, h, w = t[:, None, None], h[None, :, None], w[None, None, :]
        other[0, t, :, h, w] = 1 - other[0, t, :, h, w]
    return other


def test_tokens_fill_the_grid(encoder, frames):
    t, h, w = encoder.grid(frames)
    assert t == 8 // encoder.tubelet_frames
    tokens = encoder(frames)
    assert tokens.shape == (2, t * h * w, encoder.width)
    assert tokens.isfinite().all() and tokens.dtype == torch.float32


def test_rows_of_a_batch_do_not_know_of_each_other(encoder, frames):
    changed = frames.clone()
    changed[0] = 0
    before, after = encoder(frames), encoder(changed)
    assert torch.allclose(before[1], after[1], atol=1e-5)
    assert not torch.allclose(before[0], after[0], atol=1e-2)
    assert torch.allclose(before[1:], encoder(frames[1:]), atol=1e-5)


def test_what_is_kept_cannot_know_of_what_was_dropped(encoder, frames):
    t, h, w = encoder.grid(frames)
    n = t * h * w
    keep = torch.stack([torch.arange(1, n, 2), torch.arange(0, n - 1, 2)])  # of each, half
    changed = with_other(encoder, frames, range(0, n, 2))
    assert torch.equal(encoder(frames, keep=keep), encoder(changed, keep=keep))
    assert not torch.allclose(encoder(frames), encoder(changed), atol=1e-2)


def test_what_is_kept_is_seen(encoder, frames):
    n = encoder(frames).shape[1]
    keep = torch.arange(1, n, 2).expand(2, -1)
    before = encoder(frames, keep=keep)
    after = encoder(with_other(encoder, frames, [1]), keep=keep)
    assert not torch.allclose(before[0, 0], after[0, 0], atol=1e-2)
    assert torch.allclose(before[1], after[1], atol=1e-5)


def test_keeping_all_changes_nothing(encoder, frames):
    tokens = encoder(frames)
    everything = torch.arange(tokens.shape[1]).expand(2, -1)
    assert torch.allclose(tokens, encoder(frames, keep=everything), atol=1e-5)


def test_kept_tokens_come_in_the_order_of_their_ids(encoder, frames):
    n = encoder(frames).shape[1]
    keep = torch.tensor([[0, n - 1], [0, n - 1]])
    swapped = encoder(frames, keep=keep.flip(1)).flip(1)
    assert torch.allclose(encoder(frames, keep=keep), swapped, atol=1e-5)
    assert torch.equal(take(encoder(frames), keep)[:, 1], encoder(frames)[:, -1])


def test_it_is_rebuilt_from_its_spec_by_its_name(encoder, frames):
    spec = json.loads(json.dumps(encoder.spec))
    again = Encoder.registry[type(encoder).__name__](**spec)
    again.load_state_dict(encoder.state_dict())
    assert again.spec == encoder.spec
    assert (again.width, again.tubelet_frames) == (encoder.width, encoder.tubelet_frames)
    assert torch.equal(again.eval()(frames), encoder(frames))


@pytest.mark.parametrize(
    ("keep", "words"),
    [
        (torch.tensor([[0, 10_000]] * 2), "positions on a grid of .* got 0 to 10000"),
        (torch.tensor([[0, -1]] * 2), "got -1 to 0"),
        (torch.tensor([[0.0, 1.0]] * 2), "int64, got torch.float32"),
        (torch.tensor([0, 1]), r"b m, int64, got torch.int64 of shape \(2,\)"),
        (torch.tensor([[0, 1]]), "positions of 1 clips do not pick from the tokens of 2"),
    ],
)
def test_positions_are_on_the_grid_and_of_each_clip(encoder, frames, keep, words):
    with pytest.raises(ShapeError, match=words):
        encoder(frames, keep)


@pytest.mark.parametrize("colours", [1, 2, 4])
def test_three_colours_or_none(encoder, frames, colours):
    other = frames[:, :, :1].expand(-1, -1, colours, -1, -1)
    with pytest.raises(ShapeError, match=f"three colours, these frames have {colours}"):
        encoder(other)


def test_half_a_time_step_is_refused(encoder, frames):
    if encoder.tubelet_frames == 1:
        assert encoder.grid(frames[:, :7])[0] == 7
        return
    with pytest.raises(ShapeError, match="7 frames.* do not divide into tubelets of"):
        encoder(frames[:, :7])


def test_every_weight_can_learn(encoder, frames):
    encoder.zero_grad()
    encoder(frames).square().mean().backward()
    silent = [name for name, p in encoder.named_parameters() if p.grad is None]
    encoder.zero_grad()
    assert silent == []
