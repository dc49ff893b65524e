"""V-JEPA's own checkpoints: 1, 2, 2.1 and 2-AC, from the `.pt` files that their training writes.

From top to bottom: the encoder, its predictor, and how a file is taken apart and recognised.
Facts on the files: Bardes et al. 2024 (arXiv:2404.08471), Assran et al. 2025 (arXiv:2506.09985),
arXiv:2603.14482.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.errors import CheckpointError, nearest
from worldmodel.interop.convert_weights import WeightConversion, convert_weights, frames_size
from worldmodel.interop.hints import Hints
from worldmodel.interop.key_report import KeyReport
from worldmodel.interop.key_rules import KeyRule, Names, blocks, count, layer, patches
from worldmodel.model import WorldModel
from worldmodel.nn.gripper import POSE
from worldmodel.nn.positions import sincos
from worldmodel.storage.pickles import read_pickle, weights_of

SUFFIXES = (".pt", ".pth", ".tar")
FAMILIES = ("vjepa", "vjepa2", "vjepa2.1", "vjepa2-ac")
SIZES = {"vjepa": 224, "vjepa2": 256, "vjepa2.1": 384, "vjepa2-ac": 256}  # pixels
ROPES = {"vjepa": "default", "vjepa2": "vjepa2", "vjepa2.1": "vjepa2.1", "vjepa2-ac": "vjepa2"}

# Weights do not show attention heads; these are the published ones, by width.
ENCODER_HEADS = {192: 3, 384: 6, 768: 12, 1024: 16, 1280: 16, 1408: 22, 1664: 26}
# V-JEPA 1's predictor has as many as its encoder instead.
PREDICTOR_HEADS = {384: 12, 1024: 16}

BLOCK: Names = {
    "norm1": "norm1",
    "attention.qkv": "attn.qkv",
    "attention.out": "attn.proj",
    "norm2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}

POSITIONS = "predictor_pos_embed"
TOLERANCE = 1e-5  # between the positions in a file and those of the formula, as float32
FORMULA = "equals the formula, from which it is made"
NEVER_READ = "never read: this family rotates queries and keys"


@dataclass(frozen=True)
class _Parts:
    """The state dictionaries of a checkpoint, and its other keys."""

    encoder: Mapping[str, Tensor]
    encoder_name: str
    predictor: Mapping[str, Tensor]
    others: Mapping[str, str]  # key -> why it is left out


def read(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it cannot be read, is of an unknown family, or has a key without a place.
    """
    parts = _split(read_pickle(path), path)
    family = hints.family or _recognise(parts, path)
    if family not in FAMILIES:
        raise CheckpointError(f"{path}: no family '{family}': {nearest(family, FAMILIES)}")
    conversion = describe(family, parts, hints, path)
    tensors = {f"{parts.encoder_name}.{key}": value for key, value in parts.encoder.items()}
    tensors |= {f"predictor.{key}": value for key, value in parts.predictor.items()}
    return convert_weights(conversion, tensors, path)


def describe(family: str, parts: _Parts, hints: Hints, path: Path) -> WeightConversion:
    """The model that the weights describe, and the rules for their keys."""
    tensors, name = parts.encoder, parts.encoder_name
    weight = _tensor(tensors, "patch_embed.proj.weight", 5, path)
    width, _, frames, patch, _ = weight.shape
    depth = count(tensors, "blocks")
    heads, why = _heads(hints.heads, ENCODER_HEADS, width, "heads", path)
    spec = {
        "name": "VideoViT", "width": width, "depth": depth, "heads": heads, "patch": patch,
        "tubelet_frames": frames, "pixels": "imagenet", "rope": ROPES[family], "norm_eps": 1e-6,
        "mlp_width": len(_tensor(tensors, "blocks.0.mlp.fc1.weight", 2, path)),
    }  # fmt: skip
    facts = [
        f"encoder: {name}, {depth} blocks of width {width}, {heads} heads "
        f"({why}), tubelets of {frames} x {patch} x {patch}"
    ]
    left = dict(parts.others)
    grid: list[int] | None = None
    if family == "vjepa":
        grid = _positions_grid(_tensor(tensors, "pos_embed", 3, path), "pos_embed", width, path)
        spec["sincos_grid"] = grid
        facts.append(f"positions: fixed sines and cosines, trained on a grid t h w = {grid}")
        left[f"{name}.pos_embed"] = FORMULA
    else:
        facts.append(f"positions: rope={ROPES[family]}")
        if "pos_embed" in tensors:
            left[f"{name}.pos_embed"] = NEVER_READ
    if family == "vjepa2.1":
        spec["levels"] = _levels(depth, count(tensors, "norms_block"), path)
        spec["images"] = "patch_embed_img.proj.weight" in tensors
    rules = list(_encoder_rules(spec, name))
    size = SIZES[family] if grid is None else grid[1] * patch
    size = frames_size(size if hints.size is None else hints.size, patch, path)
    why = "as said"
    if hints.size is None:
        why = "as trained" if grid else "as published; size= says otherwise, as for models of 384"
    facts.append(f"frames of {size} x {size} ({why})")
    made: dict[str, Any] = {}
    if family == "vjepa2-ac" and "action_encoder.weight" not in parts.predictor:
        raise CheckpointError(
            f"{path}: has no predictor that knows of actions, so it is not of family vjepa2-ac; "
            "say which it is with family="
        )
    if parts.predictor:
        role, predictor = _predictor(family, parts, spec, hints, path)
        rules += predictor.rules
        left |= predictor.left_out
        facts += predictor.facts
        if role:
            made[role] = dict(predictor.description)
    if acting := made.get("action_predictor"):
        made["head"] = _states(acting, size // patch)
    action_dim = acting["action_dim"] if acting else 0
    description = {"size": size, "action_dim": action_dim, "encoder": spec, "parts": made}
    return WeightConversion(
        f"V-JEPA {family.removeprefix('vjepa') or '1'}", description, rules, left, facts
    )


def _states(acting: Mapping[str, Any], side: int) -> dict[str, Any]:
    """What makes the states of V-JEPA 2-AC: tokens of single frames, and the gripper's pose."""
    return {
        "name": "FrameTokens", "grid": [side, side], "token_width": acting["token_width"],
        "proprioception": acting["proprioception"], "still": True,
    }  # fmt: skip


def _encoder_rules(spec: Mapping[str, Any], theirs: str) -> Iterator[KeyRule]:
    sizes = {"frames": spec["tubelet_frames"], "patch": spec["patch"]}
    yield from patches("encoder.tubelets.embed", f"{theirs}.patch_embed.proj", **sizes)
    yield from blocks("encoder.blocks", f"{theirs}.blocks", BLOCK, spec["depth"])
    levels = spec.get("levels", [])
    if not levels:
        yield from layer("encoder.norm", f"{theirs}.norm")
        return
    for index in range(len(levels) - 1):
        yield from layer(f"encoder.level_norms.{index}", f"{theirs}.norms_block.{index}")
    yield from layer("encoder.norm", f"{theirs}.norms_block.{len(levels) - 1}")
    if spec["images"]:
        sizes["frames"] = 1
        yield from patches("encoder.image_patches.embed", f"{theirs}.patch_embed_img.proj", **sizes)
        yield from _kind_rules("encoder", theirs)


def _kind_rules(ours: str, theirs: str) -> Iterator[KeyRule]:
    """The vectors that mark a token as one of a video or of an image."""
    for own, other in (("video", "video_mod_embed"), ("image", "img_mod_embed")):
        yield KeyRule(f"{ours}.kind.{own}", (f"{theirs}.{other}",), "1 1 d -> d")


def _levels(depth: int, norms: int, path: Path) -> list[int]:
    """The blocks whose outputs V-JEPA 2.1 learns from."""
    published = {12: [2, 5, 8, 11], 24: [5, 11, 17, 23], 40: [9, 19, 29, 39], 48: [11, 23, 37, 47]}
    found = published.get(depth)
    if found is None and depth == norms:
        found = list(range(depth))
    if found is None or len(found) != norms:
        raise CheckpointError(
            f"{path}: V-JEPA 2.1 with {depth} blocks and {norms} norms was not published; which "
            "blocks the norms belong to is unknown"
        )
    return found


def _predictor(
    family: str, parts: _Parts, encoder: Mapping[str, Any], hints: Hints, path: Path
) -> tuple[str | None, WeightConversion]:
    """The part of our model that a predictor becomes (None if it is left out), and how."""
    tensors = parts.predictor
    deep = family == "vjepa2.1" and "predictor_embed.0.weight" in tensors  # of several levels
    narrowed = "predictor_embed.2.weight" if deep else "predictor_embed.weight"
    if family == "vjepa2.1":
        taught = len(_tensor(tensors, "predictor_proj.weight", 2, path))
        if not deep and taught != encoder["width"]:
            reason = f"predicts {taught} dimensions of a teacher that is not in the file"
            unused = {f"predictor.{key}": reason for key in tensors}
            fact = f"predictor: left out, it {reason}"
            return None, WeightConversion(family, {}, [], unused, [fact])
    width = len(_tensor(tensors, narrowed, 2, path))
    depth = count(tensors, "predictor_blocks")
    heads, why = encoder["heads"], "as the encoder"
    if family != "vjepa" or hints.predictor_heads is not None:
        said = hints.predictor_heads
        heads, why = _heads(said, PREDICTOR_HEADS, width, "predictor_heads", path)
    spec: dict[str, Any] = {
        "token_width": encoder["width"], "width": width, "depth": depth, "heads": heads,
        "mlp_width": len(_tensor(tensors, "predictor_blocks.0.mlp.fc1.weight", 2, path)),
        "rope": ROPES[family], "norm_eps": 1e-6,
    }  # fmt: skip
    facts = [f"predictor: {depth} blocks of width {width}, {heads} heads ({why})"]
    if family == "vjepa2-ac":
        return "action_predictor", _of_frames(spec, parts, facts, path)
    spec |= {
        "name": "TokenPredictor", "mask_tokens": count(tensors, "mask_tokens"),
        "levels": len(encoder["levels"]) if deep else 1, "kinds": "video_mod_embed" in tensors,
        "sincos_grid": encoder.get("sincos_grid"),
    }  # fmt: skip
    left: dict[str, str] = {}
    if POSITIONS in tensors:
        grid = spec["sincos_grid"]
        if grid:  # otherwise it is never read, whatever it holds
            table = _tensor(tensors, POSITIONS, 3, path)
            if _positions_grid(table, POSITIONS, width, path) != grid:
                raise CheckpointError(
                    f"{path}: {POSITIONS} is not of the grid {grid} that pos_embed is of; it is "
                    "not of one model"
                )
        left[f"predictor.{POSITIONS}"] = FORMULA if grid else NEVER_READ
    for key in ("predictor_proj_context.weight", "predictor_proj_context.bias"):
        if key in tensors:
            left[f"predictor.{key}"] = "predicts the visible tokens: a loss of the training only"
    return "masked_predictor", WeightConversion(family, spec, list(_token_rules(spec)), left, facts)


def _token_rules(spec: Mapping[str, Any]) -> Iterator[KeyRule]:
    ours = "masked_predictor"
    if spec["levels"] > 1:
        yield from layer(f"{ours}.embed.0", "predictor.predictor_embed.0")
        yield from layer(f"{ours}.embed.2", "predictor.predictor_embed.2")
    else:
        yield from layer(f"{ours}.embed", "predictor.predictor_embed")
    masks = tuple(f"predictor.mask_tokens.{k}" for k in range(spec["mask_tokens"]))
    yield KeyRule(f"{ours}.mask_tokens", masks, "1 1 d -> 1 d")
    if spec["kinds"]:
        yield from _kind_rules(ours, "predictor")
    yield from _shared_rules(ours, spec["depth"])


def _shared_rules(ours: str, depth: int) -> Iterator[KeyRule]:
    yield from blocks(f"{ours}.blocks", "predictor.predictor_blocks", BLOCK, depth)
    yield from layer(f"{ours}.norm", "predictor.predictor_norm")
    yield from layer(f"{ours}.project", "predictor.predictor_proj")


def _of_frames(
    spec: dict[str, Any], parts: _Parts, facts: list[str], path: Path
) -> WeightConversion:
    """The predictor of V-JEPA 2-AC: next frame from frames, states and actions."""
    tensors = parts.predictor
    actions, states = (
        _tensor(tensors, f"{name}_encoder.weight", 2, path).shape[1] for name in ("action", "state")
    )
    spec |= {
        "name": "FrameActionPredictor", "rope": "vjepa2-ac", "action_dim": actions,
        "proprioception": states, "motion": "gripper" if actions == states == POSE else "still",
    }  # fmt: skip
    facts.append(f"actions of {actions} numbers, states of {states}")
    ours = "action_predictor"
    rules = [
        *layer(f"{ours}.embed", "predictor.predictor_embed"),
        *layer(f"{ours}.embed_action", "predictor.action_encoder"),
        *layer(f"{ours}.embed_state", "predictor.state_encoder"),
        *_shared_rules(ours, spec["depth"]),
    ]
    left = {
        f"predictor.extrinsics_encoder.{key}": "the published model does not use the camera"
        for key in ("weight", "bias")
        if f"extrinsics_encoder.{key}" in tensors
    }
    return WeightConversion("vjepa2-ac", spec, rules, left, facts)


def _split(held: Mapping[str, Any], path: Path) -> _Parts:
    """Divide a checkpoint into the encoder to use, the predictor, and the rest.

    Of the two encoders of a training the EMA teacher is used, as by its authors in evaluation; 2-AC
    has one, which is frozen. A plain state dictionary is taken as that of an encoder.
    """
    if "classifiers" in held or ("classifier" in held and "encoder" not in held):
        raise CheckpointError(
            f"{path}: holds attentive probes and no encoder; load the encoder's checkpoint with "
            f"classifier={path}"
        )
    order = ["ema_encoder", "target_encoder", "encoder"]
    known = [name for name in (*order, "predictor") if isinstance(held.get(name), Mapping)]
    if not known and any(isinstance(value, Tensor) for value in held.values()):
        return _Parts(weights_of(held, path), "encoder", {}, {})
    held = {name: value for name, value in held.items() if name != "predictor" or value is not None}
    predictor = held.get("predictor", {})
    if isinstance(predictor, Mapping) and any("action_encoder" in str(key) for key in predictor):
        order.reverse()
    names = [name for name in order if name in held]
    if not names:
        raise CheckpointError(
            f"{path}: holds no encoder (there are {', '.join(map(str, list(held)[:8]))}); "
            "name a checkpoint of V-JEPA"
        )
    chosen = names[0]
    parts = {}
    for name in (chosen, "predictor"):
        value = held.get(name, {})
        if not isinstance(value, Mapping):
            raise CheckpointError(f"{path}: {name} holds {type(value).__name__}, not weights")
        parts[name] = weights_of(value, path)
    for name, value in held.items():
        if name not in (*order, "predictor") and _is_weights(value):
            raise CheckpointError(
                f"{path}: '{str(name)[:120]}' holds weights of no part that is known (those are "
                f"{', '.join(order)} and predictor); rename it, or remove it"
            )
    reasons = {
        name: f"another encoder of the same training; {chosen} is what is evaluated"
        if name in order
        else "of the training, not of the model"
        for name in map(str, held)
        if name not in (chosen, "predictor")
    }
    return _Parts(parts[chosen], chosen, parts["predictor"], reasons)


def _is_weights(value: object) -> bool:
    """True for a tensor of weights or a dictionary of tensors, unlike an optimiser's state."""
    if isinstance(value, Mapping):
        return any(isinstance(part, Tensor) for part in value.values())
    return isinstance(value, Tensor) and value.numel() > 1


def _recognise(parts: _Parts, path: Path) -> str:
    """The family of a checkpoint, by the keys that only one of them has.

    Raises:
        CheckpointError: it could be of two.
    """
    if "norms_block.0.weight" in parts.encoder:
        return "vjepa2.1"
    if "action_encoder.weight" in parts.predictor:
        return "vjepa2-ac"
    if "pos_embed" not in parts.encoder:
        return "vjepa2"
    # V-JEPA 2's files hold a table of positions too, which it never reads.
    family = {2: "vjepa", 10: "vjepa2"}.get(count(parts.predictor, "mask_tokens"))
    if family is None:
        raise CheckpointError(
            f"{path}: could be V-JEPA 1 or 2 (both write pos_embed, only 1 uses it); "
            "say family=vjepa or family=vjepa2 to worldmodel export or wm.load"
        )
    return family


def _tensor(tensors: Mapping[str, Tensor], key: str, axes: int, path: Path) -> Tensor:
    """The tensor of a key that every checkpoint of its kind has.

    Raises:
        CheckpointError: it is missing, empty, or has other axes.
    """
    if key not in tensors or tensors[key].ndim != axes or not tensors[key].numel():
        raise CheckpointError(
            f"{path}: has no {key} with {axes} axes, so it is no V-JEPA checkpoint; name one"
        )
    return tensors[key]


def _heads(
    said: int | None, published: Mapping[int, int], width: int, setting: str, path: Path
) -> tuple[int, str]:
    """The number of heads that was said or is published for a width, and which of the two.

    Raises:
        CheckpointError: it is neither.
    """
    if said is not None:
        return said, "as said"
    if width not in published:
        raise CheckpointError(
            f"{path}: how many heads a width of {width} has is not in the weights, and none "
            f"is published; say {setting}=... to worldmodel export or wm.load"
        )
    return published[width], "published for this width"


def _positions_grid(table: Tensor, key: str, width: int, path: Path) -> list[int]:
    """The grid t h w whose sines and cosines the table 1 n d holds, d being `width`.

    Raises:
        CheckpointError: there is none.
    """
    tables, n, numbers = table.shape
    fits = (tables, numbers) == (1, width) and table.is_floating_point()
    # A table of half precision is the formula's, rounded.
    exact = max(TOLERANCE, torch.finfo(table.dtype).eps) if fits else TOLERANCE
    for t in range(1, n + 1) if fits else ():
        side = round((n / t) ** 0.5)
        if t * side * side != n:
            continue
        formula = sincos(width, (t, side, side)).flatten(0, 2)
        if torch.allclose(table[0].float(), formula, rtol=0, atol=exact):
            return [t, side, side]
    raise CheckpointError(
        f"{path}: {key} is not the table of sines and cosines of V-JEPA 1 on any square grid; "
        "if the model rotates instead, say family=vjepa2"
    )
