"""Laws of the networks: relative positions, rows apart, dropped means unknown, causal in time."""

import pytest
import torch
from einops import rearrange

from tests.worldmodel.toys import noise, seeded, small, stirred
from worldmodel.errors import ConfigError, ShapeError
from worldmodel.nn.action_predictor import ActionTransformer
from worldmodel.nn.blocks import AdaLNBlock, Attention
from worldmodel.nn.encoder import Encoder, VideoViT, take
from worldmodel.nn.heads import Head, StateHead, TokenHead
from worldmodel.nn.masked_predictor import MaskedPredictor, nearest_seen
from worldmodel.nn.patches import Tubelets
from worldmodel.nn.positions import ROPES, Rotary3D, rotate, rotation_of


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


@pytest.fixture(scope="module")
def encoder():
    torch.manual_seed(0)
    return stirred(VideoViT(24, 2, heads=2, patch=8)).eval()


# Tubelets


def test_a_tubelet_is_a_place_in_time_and_space():
    tubelets = Tubelets(8, patch=4, tubelet_frames=2)
    assert tubelets.grid_of(6, 8, 12) == (3, 2, 3)
    frames = noise(1, 6, 3, 8, 12)
    changed = frames.clone()
    changed[:, 3, :, 4:, 8:] = 0  # tubelet 1, row 1, column 2
    differs = (tubelets(frames) != tubelets(changed)).any(2)[0]
    assert differs.nonzero().flatten().tolist() == [1 * 6 + 1 * 3 + 2]


def test_a_still_tubelet_shows_its_mean_and_no_motion():
    tubelets = Tubelets(2 * 4 * 4 * 3, patch=4, tubelet_frames=2)
    with torch.no_grad():
        tubelets.embed.weight.copy_(torch.eye(96))
        tubelets.embed.bias.zero_()
    still = torch.full((1, 2, 3, 4, 4), 0.75)
    token = tubelets(still)[0, 0]
    assert torch.allclose(token[:48], torch.ones(48)) and not token[48:].any()
    moving = still.clone()
    moving[:, 1] += 0.25
    assert torch.allclose(tubelets(moving)[0, 0, 48:], torch.ones(48))


@pytest.mark.parametrize("frames, height, width", [(3, 8, 8), (2, 9, 8), (2, 8, 6)])
def test_what_does_not_divide_is_refused(frames, height, width):
    with pytest.raises(ShapeError, match=f"{frames} frames of {height} x {width} pixels do not"):
        Tubelets(8, patch=4, tubelet_frames=2).grid_of(frames, height, width)


# Rotary positions


def test_attention_weights_depend_on_relative_positions_only():
    grid = (4, 5, 6)
    rotary = Rotary3D(26)
    rotation = rotary(grid, None, torch.device("cpu"))
    q, k = normal(26), normal(26, seed=1)
    n = 4 * 5 * 6
    score = rotate(q.expand(1, 1, n, 26), rotation) @ rotate(k.expand(1, 1, n, 26), rotation).mT
    score = score.view(*grid, *grid)
    for dt, dh, dw in [(1, 0, 0), (0, 2, 0), (0, 0, 3), (1, 2, 1), (2, 0, 2)]:
        a = score[: 4 - dt, : 5 - dh, : 6 - dw, : 4 - dt, : 5 - dh, : 6 - dw]
        b = score[dt:, dh:, dw:, dt:, dh:, dw:]
        assert torch.allclose(a, b, atol=1e-4)
    # and they do depend on them, along each axis
    for axis in range(3):
        other = [0, 0, 0]
        other[axis] = 1
        assert (score[0, 0, 0, 0, 0, 0] - score[(0, 0, 0, *other)]).abs() > 1e-3


def test_a_rotation_keeps_lengths_and_leaves_the_rest_alone():
    rotary = Rotary3D(16)  # 2 pairs an axis, 2 pairs left over
    rotation = rotary((3, 3, 3), None, torch.device("cpu"))
    x = normal(1, 1, 27, 16)
    y = rotate(x, rotation)
    assert torch.allclose(x.norm(dim=-1), y.norm(dim=-1), atol=1e-5)
    assert torch.equal(x[..., 12:], y[..., 12:])
    assert torch.allclose(x[:, :, 0], y[:, :, 0])  # the first place is not rotated
    assert not torch.allclose(x[:, :, 1:, :12], y[:, :, 1:, :12])


@pytest.mark.parametrize("rope", ["default", "vjepa2"])
def test_pairs_are_rotated_as_by_sines_and_cosines_and_so_are_gradients(rope):
    table = Rotary3D(16, rope).table((2, 3, 4), torch.device("cpu")).to(torch.complex128)
    cos, sin = table.real, table.imag
    if rope == "default":  # one of each for a pair of channels
        cos, sin = (part.repeat_interleave(2, dim=-1) for part in (cos, sin))
    rotation = tuple(of.to(torch.complex128) for of in rotation_of(table[None, None], ROPES[rope]))
    x = torch.randn(2, 24, 3 * 2 * 16, dtype=torch.float64, requires_grad=True)
    q = rearrange(x, "b n (s a d) -> s b a n d", s=3, a=2)[1]  # as in attention: not in one piece
    swapped = torch.stack([-q[..., 1::2], q[..., 0::2]], dim=-1).flatten(-2)
    torch.testing.assert_close(rotate(q, rotation), q * cos + swapped * sin)
    assert torch.autograd.gradcheck(lambda q: rotate(q, rotation), (q.detach().requires_grad_(),))
    half, single = q.detach().bfloat16(), tuple(of.to(torch.complex64) for of in rotation)
    wanted = rotate(half.double(), rotation).bfloat16()
    torch.testing.assert_close(rotate(half, single), wanted, rtol=0.02, atol=0.02)
    shifted = torch.randn(33, dtype=torch.float64)[1:].view(1, 1, 2, 16)  # begins at an odd place
    torch.testing.assert_close(
        rotate(shifted, tuple(of[..., :2, :] for of in rotation)),
        rotate(shifted.clone(), tuple(of[..., :2, :] for of in rotation)),
    )
    whole = q.detach()
    one = torch.func.vmap(lambda q: rotate(q[None], rotation)[0])(whole)
    torch.testing.assert_close(one, rotate(whole, rotation))


def test_kept_tokens_keep_their_positions():
    rotary = Rotary3D(12)
    ids = torch.tensor([[5, 2], [0, 7]])
    whole = rotary((2, 2, 2), None, torch.device("cpu"))
    some = rotary((2, 2, 2), ids, torch.device("cpu"))
    for a, b in zip(whole, some, strict=True):
        assert torch.equal(a[0, 0][ids], b[:, 0])


def test_grids_do_not_share_a_table():
    rotary = Rotary3D(12)
    tables = {rotary.table(grid, torch.device("cpu")).shape[0] for grid in [(1, 2, 2), (2, 2, 2)]}
    assert tables == {4, 8}
    before = rotary.table((2, 3, 4), torch.device("cpu"))
    assert not torch.equal(before, rotary.table((4, 3, 2), torch.device("cpu")))


# The encoder


def test_rows_of_a_batch_do_not_know_of_each_other(encoder):
    frames = noise(3, 4, 3, 16, 16)
    changed = frames.clone()
    changed[1] = 0
    before, after = encoder(frames), encoder(changed)
    assert before.shape == (3, 2 * 2 * 2, 24)
    assert torch.allclose(before[[0, 2]], after[[0, 2]], atol=1e-6)
    assert not torch.allclose(before[1], after[1], atol=1e-2)
    assert torch.allclose(before[1:2], encoder(frames[1:2]), atol=1e-5)


def test_what_is_kept_cannot_know_of_what_was_dropped(encoder):
    frames = noise(2, 4, 3, 16, 16)
    keep = torch.tensor([[0, 1, 2, 5], [3, 4, 6, 7]])
    changed = frames.clone()
    changed[0, :2, :, 8:, 8:] = 1 - changed[0, :2, :, 8:, 8:]  # token 3, dropped in the first
    changed[0, 2:, :, 8:, :] = 0  # tokens 6 and 7
    assert torch.equal(encoder(frames, keep=keep), encoder(changed, keep=keep))
    assert not torch.allclose(encoder(frames), encoder(changed), atol=1e-2)


def test_keeping_all_changes_nothing(encoder):
    frames = noise(2, 4, 3, 16, 16)
    keep = torch.arange(8).expand(2, -1)
    assert torch.allclose(encoder(frames), encoder(frames, keep=keep), atol=1e-6)


def test_where_a_token_stands_matters(encoder):
    frames = noise(1, 4, 3, 16, 16)
    moved = frames.clone()
    moved[:, 2:, :, 8:, 8:] = frames[:, :2, :, 8:, :8]  # token 2's image, at place 7
    near = encoder(frames, keep=torch.tensor([[0, 1, 2]]))
    far = encoder(moved, keep=torch.tensor([[0, 1, 7]]))
    same = take(encoder.tubelets(frames), torch.tensor([[2]]))
    assert torch.equal(same, take(encoder.tubelets(moved), torch.tensor([[7]])))
    assert not torch.allclose(near, far, atol=1e-4)


@pytest.mark.parametrize("width, heads", [(24, 5), (18, 2), (24, 0), (0, 2)])
def test_heads_must_be_of_even_width(width, heads):
    with pytest.raises(ConfigError, match=f"multiple of 2 . heads, got {width} and {heads}"):
        VideoViT(width, 1, heads=heads)


def test_encoders_are_known_by_name_and_rebuilt_from_their_spec(encoder):
    again = Encoder.registry["VideoViT"](**encoder.spec)
    again.load_state_dict(encoder.state_dict())
    frames = noise(1, 2, 3, 16, 16)
    assert torch.equal(again.eval()(frames), encoder(frames))


# Heads


@pytest.mark.parametrize("head", [StateHead(4, 24, dim=6, extra=3), TokenHead(24, dim=6)])
def test_heads_whiten_a_batch_and_keep_rows_apart_in_use(head):
    per_time_step = 4 if head.per_token else 1
    tokens = normal(32, 4, 24)
    latents = stirred(head).train()(tokens)
    assert latents.shape == (32, per_time_step, head.width)
    assert head.width == head.dim + head.extra
    assert torch.allclose(latents.mean((0, 1)), torch.zeros(head.width), atol=1e-4)
    assert torch.allclose(latents.std((0, 1), correction=0), torch.ones(head.width), atol=1e-3)
    head.eval()
    changed = tokens.clone()
    changed[1:] = 0
    assert torch.allclose(head(tokens)[0], head(changed)[0], atol=1e-6)
    again = Head.registry[type(head).__name__](**head.spec)
    again.load_state_dict(head.state_dict())
    assert torch.equal(again.eval()(tokens), head(tokens))


def test_a_state_knows_where_each_token_stood():
    head = StateHead(4, 24, dim=6, extra=3).eval()
    tokens = normal(1, 4, 24)
    assert not torch.allclose(head(tokens), head(tokens.flip(1)), atol=1e-4)


def test_a_head_of_tokens_treats_all_positions_alike():
    head = TokenHead(24, dim=6).eval()
    tokens = normal(1, 4, 24)
    assert torch.allclose(head(tokens).flip(1), head(tokens.flip(1)), atol=1e-6)


# Predictors


def test_nearest_seen_takes_the_earlier_of_two():
    hidden = torch.tensor([[0, 1, 1, 1, 0], [1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 1, 1, 1]])
    expected = [[0, 0, 0, 4, 4], [2, 2, 2, 2, 2], [0, 1, 2, 3, 4], [0, 0, 0, 0, 0]]
    assert nearest_seen(hidden.bool()).tolist() == expected


@pytest.mark.parametrize("latents", [1, 4])
def test_a_new_masked_predictor_says_that_nothing_changes(latents):
    predictor = MaskedPredictor(latents, 7, 5, width=16)
    start = normal(2, 3, latents, 5)
    hidden = torch.tensor([[False, True, True], [True, False, True]])
    assert torch.equal(predictor(normal(2, 3, latents, 7), hidden, start), start)


def test_a_masked_prediction_knows_the_nearest_seen_time_step_only():
    predictor = stirred(MaskedPredictor(1, 7, 5, width=16))
    seen, start = normal(1, 5, 1, 7), torch.zeros(1, 5, 1, 5)
    hidden = torch.tensor([[False, True, True, True, False]])
    before = predictor(seen, hidden, start)
    for changed, affected in [(0, [0, 1, 2]), (2, []), (4, [3, 4])]:
        other = seen.clone()
        other[:, changed] += 1
        differs = (predictor(other, hidden, start) != before).flatten(2).any(2)[0]
        assert differs.nonzero().flatten().tolist() == affected


def test_before_after_and_how_far_are_told_apart():
    predictor = stirred(MaskedPredictor(1, 7, 5, width=16))
    seen, start = normal(1, 5, 1, 7), torch.zeros(1, 5, 1, 5)
    hidden = torch.tensor([[True, True, False, True, True]])
    out = predictor(seen, hidden, start)[0, :, 0]
    pairs = [(i, j) for i in range(5) for j in range(i)]
    assert all(not torch.allclose(out[i], out[j], atol=1e-3) for i, j in pairs)


def test_action_predictor_is_causal_and_new_ones_say_that_nothing_moves():
    predictor = ActionTransformer(5, 4, width=16, depth=2, heads=2, window=3)
    states, actions = normal(2, 3, 5), normal(2, 3, 4, seed=1)
    assert torch.equal(predictor(states, actions), states)
    stirred(predictor)
    before = predictor(states, actions)
    for step in range(3):
        for other in (states.clone(), actions.clone()):
            other[0, step] += 1
            is_state = other.shape[-1] == 5
            after = predictor(other, actions) if is_state else predictor(states, other)
            assert torch.allclose(before[0, :step], after[0, :step], atol=1e-6)
            assert not torch.allclose(before[0, step], after[0, step], atol=1e-3)
            assert torch.allclose(before[1], after[1], atol=1e-6)  # the other row


def test_a_short_history_looks_like_the_end_of_a_long_one():
    predictor = stirred(ActionTransformer(5, 4, width=16, depth=1, heads=2, window=3))
    with torch.no_grad():  # attention that adds nothing: only positions can differ
        for block in predictor.blocks:
            block.attention.out.weight.zero_()
    states, actions = normal(1, 3, 5), normal(1, 3, 4, seed=1)
    whole, end = predictor(states, actions), predictor(states[:, 1:], actions[:, 1:])
    assert torch.allclose(whole[:, 1:], end, atol=1e-6)


def test_an_adaptive_block_starts_as_the_identity():
    block = AdaLNBlock(8, 2, 3)
    x, condition = normal(2, 4, 8), normal(2, 4, 3)
    assert torch.equal(block(x, condition), x)
    torch.nn.init.normal_(block.modulation.bias)
    assert not torch.allclose(block(x, condition), x, atol=1e-2)


def test_attention_is_causal_only_where_asked():
    attention = Attention(8, 2)
    x = normal(1, 4, 8)
    changed = x.clone()
    changed[:, -1] += 1
    assert torch.allclose(
        attention(x, causal=True)[:, :-1], attention(changed, causal=True)[:, :-1]
    )
    assert not torch.allclose(attention(x)[:, :-1], attention(changed)[:, :-1], atol=1e-3)


def test_an_architecture_fits_its_parts_together():
    for per_token in (False, True):
        sizes = small(per_token=per_token)
        assert sizes.tokens == 4
        latents = sizes.head().eval()(sizes.encoder(noise(2, 2, 3, 16, 16)))
        assert latents.shape == (2, 4, 12) if per_token else (2, 1, 16)
        hidden = torch.tensor([[False, True]] * 2)
        seen = latents[:, None].expand(-1, 2, -1, -1)
        start = seen[..., :12]
        assert sizes.masked_predictor()(seen, hidden, start).shape == start.shape


# Switches of other families


def test_a_new_encoder_says_only_the_switches_that_it_has():
    assert "rope" not in VideoViT(24, 2, heads=2, patch=8).spec
    spec = VideoViT(24, 2, heads=2, rope="vjepa2", levels=(0, 1), norm_eps=1e-6).spec
    assert spec["rope"] == "vjepa2" and spec["levels"] == [0, 1] and spec["norm_eps"] == 1e-6
    assert VideoViT(**spec).spec == spec


@pytest.mark.parametrize(
    "switches, words",
    [
        ({"rope": "vjepa3"}, "no rope 'vjepa3': did you mean 'vjepa2'"),
        ({"pixels": "imagent"}, "did you mean 'imagenet'"),
        ({"levels": (0,)}, "must increase up to its last block, 1"),
        ({"levels": (1, 0)}, "must increase"),
        ({"sincos_grid": (2, 2)}, "a grid is three whole numbers"),
        ({"tubelet_frames": 0}, "at least one frame of one pixel"),
    ],
)
def test_switches_that_do_not_exist_are_refused(switches, words):
    with pytest.raises(ConfigError, match=words):
        VideoViT(24, 2, **{"heads": 2, "patch": 8, **switches})


@pytest.mark.parametrize("switch", [{"rope": "vjepa2"}, {"sincos_grid": [2, 2, 2]}])
def test_an_encoder_that_has_scored_can_still_be_trained(switch):
    encoder = VideoViT(24, 2, heads=2, patch=8, **switch)
    frames = noise(1, 4, 3, 16, 16)
    with torch.inference_mode():
        encoder(frames)
    encoder(frames).sum().backward()


def test_positions_tell_the_families_apart():
    """The same weights under another rope give other tokens, and no error."""
    tokens = []
    for rope in ("default", "vjepa2", "vjepa2.1"):
        torch.manual_seed(0)
        encoder = stirred(VideoViT(24, 2, heads=2, patch=8, rope=rope))
        tokens.append(encoder(noise(1, 4, 3, 32, 32)))
    for one, other in ((0, 1), (1, 2), (0, 2)):
        assert not torch.allclose(tokens[one], tokens[other], atol=1e-3)
