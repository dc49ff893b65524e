"""Our encoder with Hugging Face's weights gives what transformers gives, and back."""

import json

import pytest
import torch

import worldmodel as wm
from tests.worldmodel.interop import reference
from tests.worldmodel.interop.makers import DEPTH, HEADS, NARROW, as_vjepa, hf_model, normalised
from tests.worldmodel.toys import noise
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.types import Clip, Mask

pytest.importorskip("transformers")


def clip_of(*shape, seed=3):
    frames = noise(*shape, seed=seed)
    return Clip(frames, torch.arange(shape[1], dtype=torch.float64).expand(shape[0], -1))


@pytest.fixture(scope="module")
def theirs():
    return hf_model(classified=True)


@pytest.fixture(scope="module")
def ours(theirs, tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    theirs.save_pretrained(folder)
    return wm.load(folder)


def test_shards_are_read_like_one_file(theirs, ours, tmp_path):
    theirs.save_pretrained(tmp_path, max_shard_size="200KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    again = wm.load(tmp_path)
    for name, value in ours.state_dict().items():
        assert torch.equal(again.state_dict()[name], value)


def count_positions_on(model, grid):
    """transformers counts positions on a square of its crop_size; here on the real grid."""
    t, h, w = grid
    every = torch.arange(t * h * w)

    def positions(x, masks=None):
        ids = every if masks is None else masks[:, None].expand(-1, HEADS, -1)
        return ids // (h * w), ids // w % h, ids % w

    for module in model.modules():
        if hasattr(module, "get_position_ids"):
            module.get_position_ids = positions


GRIDS = [(8, 32, 32), (2, 32, 32), (12, 32, 32), (4, 16, 48), (6, 40, 24)]


@pytest.mark.parametrize("frames, height, width", GRIDS)
@torch.inference_mode()
def test_tokens_predictions_and_classes_are_the_same(ours, frames, height, width):
    theirs = hf_model(classified=True)
    grid = ours.encoder.grid_of(frames, height, width)
    if height != 32 or width != 32:
        count_positions_on(theirs, grid)
    clip = clip_of(2, frames, 3, height, width)
    pixels = normalised(clip.frames)
    n = grid[0] * grid[1] * grid[2]
    order = torch.stack([torch.randperm(n, generator=torch.Generator().manual_seed(s))
                         for s in (0, 1)])  # fmt: skip
    context, targets = (ids.sort(dim=1).values for ids in (order[:, : n // 3], order[:, n // 2 :]))
    outputs = theirs.vjepa2(pixels, context_mask=[context], target_mask=[targets])
    assert torch.allclose(ours.encode(clip).tokens, outputs.last_hidden_state, atol=1e-4)
    filled = ours.fill_in(clip, Mask(context, targets), context="masked_after")
    assert torch.allclose(filled, outputs.predictor_output.last_hidden_state, atol=1e-4)
    assert torch.allclose(ours.classify(clip), theirs(pixels).logits, atol=1e-4)


@torch.inference_mode()
def test_a_context_that_is_dropped_knows_nothing_of_the_rest_and_one_masked_after_does(ours):
    clip, other = clip_of(1, 8, 3, 32, 32), clip_of(1, 8, 3, 32, 32)
    frames = other.frames.clone()
    frames[:, 4:] = 0.5  # the second half, of which nothing is shown
    other = Clip(frames, clip.times)
    ids = torch.arange(64)[None]
    mask = Mask(ids[:, :32], ids[:, 32:])
    outputs = [ours.fill_in(c, mask) for c in (clip, other)]
    assert torch.equal(*outputs)
    outputs = [ours.fill_in(c, mask, context="masked_after") for c in (clip, other)]
    assert not torch.allclose(*outputs, atol=1e-3)
    with pytest.raises(ConfigError, match="did you mean 'dropped'"):
        ours.fill_in(clip, mask, context="droped")


@torch.inference_mode()
def test_what_is_dropped_is_as_if_the_encoder_had_been_given_the_rest_alone(ours, theirs):
    """Transformers cannot drop tokens: the reference is V-JEPA's equations."""
    clip = clip_of(1, 8, 3, 32, 32)
    encoder, predictor = as_vjepa(theirs.vjepa2)
    context, targets = list(range(0, 64, 3)), list(range(1, 64, 3))
    seen = reference.encoder_2(
        encoder, normalised(clip.frames)[0], depth=DEPTH, heads=HEADS, keep=context
    )
    expected = reference.predictor(
        predictor, seen, context, targets, (4, 4, 4), depth=DEPTH, heads=HEADS
    )
    mask = Mask(torch.tensor([context]), torch.tensor([targets]))
    assert torch.allclose(ours.fill_in(clip, mask)[0], expected, atol=1e-4)


def test_names_of_classes_and_sizes_come_along(ours):
    assert ours.classifier.labels == [f"LABEL_{k}" for k in range(5)]
    assert ours.size == 32 and ours.masked_predictor.embed.out_features == NARROW
    assert ours.encoder.spec["rope"] == "vjepa2" and ours.encoder.spec["mlp_width"] == 144


def test_a_model_of_time_steps_fills_in_no_tokens(ours):
    from tests.worldmodel.toys import small_model

    ids = torch.arange(4)[None]
    with pytest.raises(WorldModelError, match="fills in time steps, not tokens"):
        small_model().fill_in(clip_of(1, 4, 3, 16, 16), Mask(ids, ids))


def test_half_precision_is_read_as_whole(tmp_path):
    theirs = hf_model().to(torch.bfloat16)
    theirs.save_pretrained(tmp_path)
    weight = wm.load(tmp_path).encoder.norm.weight
    assert weight.dtype == torch.float32
    assert torch.equal(weight, theirs.encoder.layernorm.weight.float())


def test_it_becomes_a_model_of_ours_and_comes_back_the_same(ours, tmp_path):
    again = wm.load(wm.save(ours, tmp_path))
    assert again.spec() == ours.spec()
    for name, value in ours.state_dict().items():
        assert torch.equal(value, again.state_dict()[name])
    assert json.loads((tmp_path / "model.json").read_text())["encoder"]["pixels"] == "imagenet"
