"""V-JEPA's `.pt` files give what their equations give, family by family, key by key."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

from tests.worldmodel.interop import makers, reference
from tests.worldmodel.interop.makers import DEPTH, HEADS, HINTS, NARROW, WIDTH, normalised
from tests.worldmodel.toys import noise, seeded
from worldmodel import interop
from worldmodel.errors import CheckpointError, ShapeError
from worldmodel.interop import Hints, vjepa
from worldmodel.interop.load import load
from worldmodel.nn.positions import Rotary3D, SinCos3D
from worldmodel.types import Clip, History, Mask

SIZES = dict(depth=DEPTH, heads=HEADS)
MAKERS = {
    "V-JEPA 1": makers.checkpoint_1,
    "V-JEPA 2": lambda: makers.checkpoint(makers.encoder(), makers.predictor()),
    "V-JEPA 2.1": makers.checkpoint_21,
    "V-JEPA 2-ac": makers.checkpoint_ac,
}


def clip_of(*shape):
    return Clip(noise(*shape), torch.arange(shape[1], dtype=torch.float64).expand(shape[0], -1))


def read(held, tmp_path, hints=HINTS):
    path = tmp_path / "checkpoint.pt"
    torch.save(held, path)
    return vjepa.read(path, hints)


def unwrapped(held, name):
    return {k.removeprefix("module.backbone."): v for k, v in held[name].items()}


def masked(n):
    context, targets = list(range(0, n, 3)), list(range(1, n, 3))
    return context, targets, Mask(torch.tensor([context]), torch.tensor([targets]))


@pytest.mark.parametrize("frames, height, width", [(8, 32, 32), (4, 16, 48)])
@torch.inference_mode()
def test_v_jepa_2(tmp_path, frames, height, width):
    held = MAKERS["V-JEPA 2"]()
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 2"
    clip = clip_of(1, frames, 3, height, width)
    pixels = normalised(clip.frames)[0]
    encoder, predictor = unwrapped(held, "target_encoder"), unwrapped(held, "predictor")
    expected = reference.encoder_2(encoder, pixels, **SIZES)
    assert torch.allclose(model.encode(clip).tokens[0], expected, atol=1e-4)
    grid = model.encoder.grid(clip.frames)
    context, targets, mask = masked(len(expected))
    seen = reference.encoder_2(encoder, pixels, **SIZES, keep=context)
    expected = reference.predictor(predictor, seen, context, targets, grid, **SIZES)
    assert torch.allclose(model.fill_in(clip, mask)[0], expected, atol=1e-4)


@torch.inference_mode()
def test_v_jepa_2_has_the_weights_that_transformers_has(tmp_path):
    pytest.importorskip("transformers")
    theirs = makers.hf_model(pred_num_mask_tokens=10)
    model, _ = read(makers.checkpoint(*makers.as_vjepa(theirs)), tmp_path)
    clip = clip_of(1, 8, 3, 32, 32)
    context, targets, mask = masked(64)
    expected = theirs(
        normalised(clip.frames), context_mask=[mask.context], target_mask=[mask.targets]
    )
    assert torch.allclose(model.encode(clip).tokens, expected.last_hidden_state, atol=1e-4)
    filled = model.fill_in(clip, mask, context="masked_after")
    assert torch.allclose(filled, expected.predictor_output.last_hidden_state, atol=1e-4)


@pytest.mark.parametrize("frames", [8, 4, 6, 2])
@torch.inference_mode()
def test_v_jepa_1(tmp_path, frames):
    held = makers.checkpoint_1()
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 1"
    assert model.encoder.spec["sincos_grid"] == [4, 4, 4]
    clip = clip_of(1, frames, 3, 32, 32)
    encoder, predictor = unwrapped(held, "target_encoder"), unwrapped(held, "predictor")
    n = frames // 2 * 16
    added = reference.resampled(encoder["pos_embed"][0], (4, 4, 4), (frames // 2, 4, 4))
    expected = reference.encoder_1(encoder, normalised(clip.frames)[0], **SIZES, added=added)
    assert torch.allclose(model.encode(clip).tokens[0], expected, atol=1e-4)
    context, targets, mask = masked(n)
    narrow = predictor["predictor_pos_embed"][0]  # never resampled: taken by its ids
    expected = reference.predictor(
        predictor, expected[context], context, targets, (frames // 2, 4, 4), **SIZES, added=narrow
    )
    filled = model.fill_in(clip, mask, context="masked_after")
    assert torch.allclose(filled[0], expected, atol=1e-4)


@pytest.mark.parametrize("frames, size", [(12, 32), (8, 48), (2, 16)])
@torch.inference_mode()
def test_v_jepa_1_on_longer_clips_and_other_sizes(tmp_path, frames, size):
    held = makers.checkpoint_1()
    model, _ = read(held, tmp_path)
    clip, encoder = clip_of(1, frames, 3, size, size), unwrapped(held, "target_encoder")
    grid = (frames // 2, size // 8, size // 8)
    added = reference.resampled(encoder["pos_embed"][0], (4, 4, 4), grid)
    expected = reference.encoder_1(encoder, normalised(clip.frames)[0], **SIZES, added=added)
    assert torch.allclose(model.encode(clip).tokens[0], expected, atol=1e-4)


def test_fixed_positions_on_another_grid_lie_between_those_of_the_trained_one():
    positions = SinCos3D(12, (2, 4, 4))
    coarse = positions.table((2, 2, 2), torch.device("cpu")).unflatten(0, (2, 2, 2))
    fine = positions.table((2, 4, 4), torch.device("cpu")).unflatten(0, (2, 4, 4))
    # A place of the coarse grid covers four of the fine one and stands in their middle.
    assert torch.allclose(coarse[:, 0, 1], fine[:, :2, 2:].mean(dim=(1, 2)), atol=1e-6)


@pytest.mark.parametrize("frames, height, width", [(4, 32, 32), (4, 24, 40)])
@torch.inference_mode()
def test_v_jepa_2_1(tmp_path, frames, height, width):
    held = makers.checkpoint_21()
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 2.1"
    clip = clip_of(1, frames, 3, height, width)
    pixels = normalised(clip.frames)[0]
    encoder, predictor = unwrapped(held, "target_encoder"), unwrapped(held, "predictor")
    levels = reference.encoder_21(encoder, pixels, **SIZES)
    assert torch.allclose(model.encode(clip).tokens[0], levels[-1], atol=1e-4)
    together = model.encoder.features(clip.frames)[0]
    assert torch.allclose(together, torch.cat(levels, dim=1), atol=1e-4)
    context, targets, mask = masked(len(together))
    expected = reference.predictor(
        predictor, together[context], context, targets, model.encoder.grid(clip.frames), **SIZES,
        family="vjepa2.1",
    )  # fmt: skip
    filled = model.fill_in(clip, mask, context="masked_after")
    assert torch.allclose(filled[0], expected, atol=1e-4)
    left = {use.theirs: use.note for use in report.uses if not use.ours}
    assert "training only" in left["predictor.predictor_proj_context.weight"]


@torch.inference_mode()
def test_v_jepa_2_1_cuts_an_image_in_its_own_way(tmp_path):
    held = makers.checkpoint_21()
    model, _ = read(held, tmp_path)
    image = clip_of(1, 1, 3, 32, 32)
    latents = model.encode(image)
    assert latents.grid == (1, 4, 4) and torch.equal(latents.times, image.times)
    assert torch.equal(latents.tokens, model.encoder(image.frames))
    encoder = unwrapped(held, "target_encoder")
    expected = reference.encoder_21(encoder, normalised(image.frames)[0], **SIZES, kind="image")
    assert model.encoder.grid(image.frames) == (1, 4, 4)
    assert torch.allclose(model.encoder(image.frames)[0], expected[-1], atol=1e-4)
    context, targets, mask = masked(16)
    seen = torch.cat(expected, dim=1)[context]
    predicted = reference.predictor(
        unwrapped(held, "predictor"), seen, context, targets, (1, 4, 4), **SIZES,
        family="vjepa2.1", kind="image",
    )  # fmt: skip
    filled = model.fill_in(image, mask, context="masked_after")[0]
    assert torch.allclose(filled, predicted, atol=1e-4)


def test_a_distilled_v_jepa_2_1_comes_without_the_predictor_of_its_teacher(tmp_path):
    model, report = read(makers.checkpoint_21(distilled=True), tmp_path)
    assert model.masked_predictor is None
    assert "left out, it predicts 64 dimensions of a teacher" in report.text()
    reasons = {use.note for use in report.uses if use.theirs == "encoder"}
    assert reasons == {"another encoder of the same training; ema_encoder is what is evaluated"}


def test_columns_of_frames_that_are_not_square_are_spread_over_the_rows_of_2_ac_alone():
    ours, plain = Rotary3D(24, "vjepa2-ac"), Rotary3D(24, "vjepa2")
    cpu = torch.device("cpu")
    assert torch.equal(ours.table((3, 4, 4), cpu), plain.table((3, 4, 4), cpu))
    wide, few = ours.table((1, 2, 4), cpu), plain.table((1, 2, 2), cpu)
    # Every second of four columns stands where one of two does.
    assert torch.allclose(wide[::2], few, atol=1e-6)
    assert not torch.allclose(plain.table((1, 2, 4), cpu)[::2], few, atol=1e-3)


@pytest.mark.parametrize("grid", [(3, 2, 4), (3, 4, 2), (2, 3, 3)])
@torch.inference_mode()
def test_v_jepa_2_ac(tmp_path, grid):
    held = makers.checkpoint_ac()
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 2-ac"
    assert model.encoder.spec["rope"] == "vjepa2"
    t, h, w = grid
    tokens = torch.randn(2, t * h * w, WIDTH, generator=torch.Generator().manual_seed(5))
    states, actions = torch.randn(2, 2, t, 7, generator=torch.Generator().manual_seed(6))
    found = model.action_predictor.next_tokens(tokens, states, actions, grid)
    for row in range(2):
        expected = reference.frame_predictor(
            unwrapped(held, "predictor"), tokens[row], states[row], actions[row], grid, **SIZES
        )
        assert torch.allclose(found[row], expected, atol=1e-4)
    left = [use.theirs for use in report.uses if "does not use the camera" in use.note]
    assert sorted(left) == [f"predictor.extrinsics_encoder.{w}" for w in ("bias", "weight")]


@torch.inference_mode()
def test_next_frames_of_a_clip_are_normed_and_each_frame_is_seen_alone(tmp_path):
    model, _ = read(makers.checkpoint_ac(), tmp_path)
    clip = clip_of(2, 3, 3, 16, 24)
    tokens = model.frame_tokens(clip)
    assert tokens.shape == (2, 18, WIDTH)
    still = Clip(clip.frames[:, 1:2].repeat(1, 2, 1, 1, 1), clip.times[:, :2])
    alone = torch.nn.functional.layer_norm(model.encode(still).tokens, (WIDTH,))
    assert torch.allclose(tokens[:, 6:12], alone, atol=1e-5)
    states, actions = torch.rand(2, 3, 7), torch.rand(2, 3, 7)
    after = model.next_frames(clip, states, actions)
    plain = model.action_predictor.next_tokens(tokens, states, actions, (3, 2, 3))
    assert torch.allclose(after, torch.nn.functional.layer_norm(plain, (WIDTH,)), atol=1e-5)


@torch.inference_mode()
def test_the_next_frame_knows_nothing_of_later_frames_states_and_actions(tmp_path):
    predictor = read(makers.checkpoint_ac(), tmp_path)[0].action_predictor.next_tokens
    tokens, states, actions = torch.rand(1, 24, WIDTH), torch.rand(1, 3, 7), torch.rand(1, 3, 7)
    before = predictor(tokens, states, actions, (3, 2, 4))
    for changed in (tokens[:, 16:], states[:, 2:], actions[:, 2:]):
        changed += 1
        after = predictor(tokens, states, actions, (3, 2, 4))
        assert torch.allclose(before[:, :16], after[:, :16], atol=1e-6)
        assert not torch.allclose(before[:, 16:], after[:, 16:], atol=1e-3)
    with pytest.raises(ShapeError, match=r"states must be \(1, 3, 7\) of torch.float32"):
        predictor(tokens, states[:, :2], actions, (3, 2, 4))


@torch.inference_mode()
def test_next_frames_takes_states_and_actions_of_its_frames_alone(tmp_path):
    model, _ = read(makers.checkpoint_ac(), tmp_path)
    clip, right = clip_of(2, 2, 3, 16, 16), torch.zeros(2, 2, 7)
    assert model.next_frames(clip, right, right).shape == (2, 8, WIDTH)
    for wrong in (right[:1], right[:, :1], right[..., :6], right.double(), right[0]):
        for name, expected in (("states", (wrong, right)), ("actions", (right, wrong))):
            with pytest.raises(ShapeError, match=rf"{name} must be \(2, 2, 7\) of torch.float32"):
                model.next_frames(clip, *expected)


@torch.inference_mode()
def test_a_rollout_of_v_jepa_2_ac_goes_on_with_its_own_frames_and_the_gripper_s_pose(tmp_path):
    held = makers.checkpoint_ac()
    model, _ = read(held, tmp_path, replace(HINTS, size=16))
    clip, pose = clip_of(1, 1, 3, 16, 16), torch.rand(1, 1, 7, generator=seeded(1)) * 0.4
    actions = torch.randn(2, 3, 7, generator=seeded(2)) * 0.1
    start = model.states(clip, pose)[0]
    found = model.rollout(History(start, start.new_zeros(0, 7)), actions)
    for row in range(2):
        tokens, poses = model.frame_tokens(clip)[0], pose[0].numpy()
        for step in range(3):
            after = reference.frame_predictor(
                unwrapped(held, "predictor"), tokens, torch.from_numpy(poses),
                actions[row, : step + 1], (step + 1, 2, 2), **SIZES,
            )  # fmt: skip
            after = torch.nn.functional.layer_norm(after[-4:], (WIDTH,))
            tokens = torch.cat([tokens, after])
            change, last = actions[row, step].numpy(), poses[-1]
            turned = Rotation.from_euler("xyz", change[3:6]) * Rotation.from_euler("xyz", last[3:6])
            closed = (last[6:] + change[6:]).clip(0, 1)
            pose_after = np.concatenate([last[:3] + change[:3], turned.as_euler("xyz"), closed])
            poses = np.concatenate([poses, pose_after[None].astype(np.float32)])
            assert torch.allclose(found[row, step, :-7], after.flatten(), atol=1e-4)
            assert np.allclose(found[row, step, -7:], poses[-1], atol=1e-5)


# Masks


@pytest.mark.parametrize("context", ["dropped", "masked_after"])
@torch.inference_mode()
def test_a_mask_of_one_row_holds_for_all_clips_of_a_batch(tmp_path, context):
    model, _ = read(MAKERS["V-JEPA 2"](), tmp_path)
    clip, mask = clip_of(2, 8, 3, 32, 32), masked(64)[2]
    filled = model.fill_in(clip, mask, context=context)
    assert filled.shape == (2, 21, WIDTH)
    for row in range(2):
        alone = Clip(clip.frames[row : row + 1], clip.times[:1])
        assert torch.allclose(
            filled[row], model.fill_in(alone, mask, context=context)[0], atol=1e-5
        )


@pytest.mark.parametrize("context", ["dropped", "masked_after"])
@torch.inference_mode()
def test_a_mask_of_other_clips_or_off_the_grid_is_refused(tmp_path, context):
    model, _ = read(MAKERS["V-JEPA 2"](), tmp_path)
    clip, ids = clip_of(3, 8, 3, 32, 32), torch.arange(64)[None]
    for wrong, words in (
        (ids[:, :9].expand(2, -1), "positions of 2 clips do not pick from the tokens of 3"),
        (ids[0, :9], "of shape (9,)"),
        (ids[:, :9].float(), "torch.float32"),
        (ids[:, :9] + 60, "positions on a grid of 64 lie between 0 and 63, got 60 to 68"),
        (ids[:, :9] - 6, "got -6 to 2"),
    ):
        for mask in (Mask(wrong, ids), Mask(ids, wrong)):
            with pytest.raises(ShapeError, match=re.escape(words)):
                model.fill_in(clip, mask, context=context)
    with pytest.raises(ShapeError, match="positions of 2 clips do not pick from the tokens of 3"):
        model.encoder(clip.frames, keep=ids.expand(2, -1))


# Keys


@pytest.mark.parametrize("family", MAKERS)
def test_every_key_is_in_the_report(tmp_path, family):
    held = MAKERS[family]()
    model, report = read(held, tmp_path)
    chosen = "encoder" if family == "V-JEPA 2-ac" else "target_encoder"
    keys = {k for k in held if k not in (chosen, "predictor")}
    keys |= {f"{name}.{k}" for name in (chosen, "predictor") for k in unwrapped(held, name)}
    assert {use.theirs for use in report.uses} == keys
    ours = {use.ours for use in report.uses if use.ours}
    # Actions are taken in their own units, where there are any.
    assert not model.action_mean.any() and bool((model.action_std == 1).all())
    made = {name for name in model.state_dict() if not name.endswith(("_mean", "_std"))}
    assert ours == made
    assert all(use.ours or use.note for use in report.uses)
    assert f"{len(report.uses) - len(ours)}" and "0 unknown" in report.text()
    report.write(tmp_path / "keys.csv")
    assert len((tmp_path / "keys.csv").read_text().splitlines()) == len(keys) + 1


@pytest.mark.parametrize("family", MAKERS)
@pytest.mark.parametrize("name", ["target_encoder", "predictor"])
def test_a_missing_a_left_over_and_a_misshapen_key_are_refused(tmp_path, family, name):
    held = MAKERS[family]()
    weights = held[name] if name in held else held["encoder"]
    key = next(k for k in weights if k.endswith("blocks.1.norm2.bias"))
    kept = weights.pop(key)
    with pytest.raises(CheckpointError, match=r"1 keys missing .*norm2\.bias"):
        read(held, tmp_path)
    weights[key] = kept
    weights["module.backbone.stowaway"] = kept
    with pytest.raises(CheckpointError, match="1 keys left over .*stowaway"):
        read(held, tmp_path)
    del weights["module.backbone.stowaway"]
    norm = next(k for k in weights if k.endswith("norm1.weight"))
    weights[norm] = torch.ones(7)
    with pytest.raises(CheckpointError, match=r"has shape \(7,\)"):
        read(held, tmp_path)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(tmp_path, bad):
    held = MAKERS["V-JEPA 2"]()
    held["target_encoder"]["module.backbone.norm.bias"][3] = bad
    with pytest.raises(CheckpointError, match=r"norm\.bias holds NaN or infinite"):
        read(held, tmp_path)


def test_what_weights_do_not_tell_has_to_be_said(tmp_path):
    with pytest.raises(CheckpointError, match=r"width of 48 .* say heads="):
        read(MAKERS["V-JEPA 2"](), tmp_path, Hints())
    with pytest.raises(CheckpointError, match=r"width of 24 .* say predictor_heads="):
        read(MAKERS["V-JEPA 2"](), tmp_path, Hints(heads=2))
    with pytest.raises(CheckpointError, match="did you mean 'vjepa2'"):
        read(MAKERS["V-JEPA 2"](), tmp_path, Hints(family="vjeap2"))
    with pytest.raises(CheckpointError, match="no V-JEPA 2 model has its sizes .*heads"):
        read(MAKERS["V-JEPA 2"](), tmp_path, Hints(heads=5, predictor_heads=2))


def test_published_widths_need_no_hints(tmp_path):
    held = makers.checkpoint(makers.encoder(width=192), makers.predictor(384, 192))
    torch.save(held, tmp_path / "vitt.pt")
    model = load(tmp_path / "vitt.pt")
    assert model.encoder.spec["heads"] == 3 and model.masked_predictor.spec["heads"] == 12
    assert model.size == 256


def test_the_predictor_of_v_jepa_1_has_as_many_heads_as_its_encoder(tmp_path):
    held = makers.checkpoint_1(2, 2, width=1024, narrow=384)
    model, report = read(held, tmp_path, Hints())
    assert model.encoder.spec["heads"] == model.masked_predictor.spec["heads"] == 16
    assert "predictor: 2 blocks of width 384, 16 heads (as the encoder)" in report.facts
    said = Hints(family="vjepa2")
    assert read(held, tmp_path, said)[0].masked_predictor.spec["heads"] == 12


def test_an_unused_table_of_positions_is_told_from_a_used_one(tmp_path):
    table = {"pos_embed": makers.published_positions(WIDTH, 4, 4)}
    both = makers.encoder() | table, makers.predictor() | {"predictor_pos_embed": torch.ones(1)}
    _, report = read(makers.checkpoint(*both), tmp_path)
    assert report.family == "V-JEPA 2"
    assert report.text().count("never read") == 2
    alone = makers.encoder() | table  # a state dictionary and nothing beside
    with pytest.raises(CheckpointError, match="could be V-JEPA 1 or 2"):
        read(alone, tmp_path)
    assert read(alone, tmp_path, Hints(family="vjepa", heads=2))[1].family == "V-JEPA 1"
    other = makers.encoder() | {"pos_embed": torch.rand(1, 64, WIDTH)}
    with pytest.raises(CheckpointError, match="not the table of sines and cosines"):
        read(other, tmp_path, Hints(family="vjepa", heads=2))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_weights_of_any_precision_are_read(tmp_path, dtype):
    held = makers.checkpoint_1()
    for name in ("target_encoder", "predictor"):
        held[name] = {key: value.to(dtype) for key, value in held[name].items()}
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 1" and model.encoder.spec["sincos_grid"] == [4, 4, 4]
    key = "module.backbone.pos_embed"
    held["target_encoder"][key] = held["target_encoder"][key].roll(1, dims=1)
    with pytest.raises(CheckpointError, match="pos_embed is not the table"):
        read(held, tmp_path)


def test_the_predictor_s_table_of_positions_is_checked_too(tmp_path):
    held = makers.checkpoint_1()
    key = "module.backbone.predictor_pos_embed"
    for table, words in (
        (makers.published_positions(NARROW, 16, 2), r"is not of the grid \[4, 4, 4\]"),
        (torch.rand(1, 64, NARROW), "predictor_pos_embed is not the table"),
    ):
        held["predictor"][key] = table
        with pytest.raises(CheckpointError, match=words):
            read(held, tmp_path)


@pytest.mark.parametrize("key", ["pos_embed", "predictor_pos_embed"])
@pytest.mark.parametrize("change", ["narrower", "twice", "complex"])
def test_a_table_of_positions_is_of_the_weights_beside_it(tmp_path, key, change):
    held = makers.checkpoint_1()
    part = held["target_encoder" if key == "pos_embed" else "predictor"]
    table = part[f"module.backbone.{key}"]
    part[f"module.backbone.{key}"] = {
        "narrower": lambda: makers.published_positions(table.shape[-1] // 2, 4, 4),
        "twice": lambda: torch.cat([table, torch.full_like(table, torch.nan)]),
        "complex": lambda: table.to(torch.complex64),
    }[change]()
    with pytest.raises(CheckpointError, match=f"{key} is not the table"):
        read(held, tmp_path)


def test_v_jepa_2_ac_has_one_encoder_and_it_is_taken(tmp_path):
    held = makers.checkpoint_ac()
    held["target_encoder"] = {k: torch.zeros_like(v) for k, v in held["encoder"].items()}
    model, _ = read(held, tmp_path)
    assert model.encoder.norm.weight.any()


def test_numbers_beside_the_weights_are_of_the_training(tmp_path):
    held = MAKERS["V-JEPA 2"]() | {"loss": torch.tensor(0.5), "epoch": torch.tensor([3])}
    model, report = read(held, tmp_path)
    assert report.family == "V-JEPA 2" and model.masked_predictor is not None
    assert {use.theirs for use in report.uses if "of the training" in use.note} >= {"loss", "epoch"}


def test_a_predictor_of_none_is_none(tmp_path):
    model, report = read(MAKERS["V-JEPA 2"]() | {"predictor": None}, tmp_path)
    assert report.family == "V-JEPA 2" and model.masked_predictor is None
    assert "0 unknown" in report.text()


def test_a_file_is_recognised_by_its_name_and_a_folder_by_its_files(tmp_path):
    assert interop.recognise(tmp_path) is None
    assert interop.recognise(tmp_path / "nothing.pt") is vjepa.read
    (tmp_path / "config.json").write_text("{}")
    assert interop.recognise(tmp_path) is not None
