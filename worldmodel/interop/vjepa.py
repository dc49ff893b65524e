"""V-JEPA's own checkpoints: 1, 2, 2.1 and 2-AC, from the `.pt` files that their training writes.

Facts on the files: Bardes et al. 2024 (arXiv:2404.08471), Assran et al. 2025 (arXiv:2506.09985),
arXiv:2603.14482.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worldmodel.errors import CheckpointError, nearest
from worldmodel.interop import vjepa_predictors
from worldmodel.interop.building import Found, build
from worldmodel.interop.hints import Hints, frames_size
from worldmodel.interop.keys import Rule, blocks, count, layer, patches
from worldmodel.interop.report import KeyReport
from worldmodel.interop.vjepa_parts import (
    BLOCK,
    ENCODER_HEADS,
    FAMILIES,
    FORMULA,
    NEVER_READ,
    ROPES,
    SIZES,
    Parts,
    places_grid,
    published,
    recognise,
    split,
    tensor,
)
from worldmodel.model import WorldModel
from worldmodel.storage.pickles import read_pickle

SUFFIXES = (".pt", ".pth", ".tar")


def read(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport]:
    """Read a checkpoint.

    Raises:
        CheckpointError: it cannot be read, is of an unknown family, or has a key without a place.
    """
    parts = split(read_pickle(path), path)
    family = hints.family or recognise(parts, path)
    if family not in FAMILIES:
        raise CheckpointError(f"{path}: no family '{family}': {nearest(family, FAMILIES)}")
    found = find(family, parts, hints, path)
    tensors = {f"{parts.encoder_name}.{key}": value for key, value in parts.encoder.items()}
    tensors |= {f"predictor.{key}": value for key, value in parts.predictor.items()}
    return build(found, tensors, path)


def find(family: str, parts: Parts, hints: Hints, path: Path) -> Found:
    """What the weights describe."""
    tensors, name = parts.encoder, parts.encoder_name
    weight = tensor(tensors, "patch_embed.proj.weight", 5, path)
    width, _, frames, patch, _ = weight.shape
    depth = count(tensors, "blocks")
    heads, why = hints.heads, "as said"
    if heads is None:
        heads, why = published(ENCODER_HEADS, width, "heads", path), "published for this width"
    spec = {
        "name": "VideoViT", "width": width, "depth": depth, "heads": heads, "patch": patch,
        "tubelet_frames": frames, "pixels": "imagenet", "rope": ROPES[family], "norm_eps": 1e-6,
        "mlp_width": len(tensor(tensors, "blocks.0.mlp.fc1.weight", 2, path)),
    }  # fmt: skip
    facts = [
        f"encoder: {name}, {depth} blocks of {width} numbers, {heads} heads "
        f"({why}), tubelets of {frames} x {patch} x {patch}"
    ]
    left = dict(parts.others)
    grid: list[int] | None = None
    if family == "vjepa":
        grid = places_grid(tensor(tensors, "pos_embed", 3, path), "pos_embed", width, path)
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
        role, predictor = vjepa_predictors.find(family, parts, spec, hints, path)
        rules += predictor.rules
        left |= predictor.left_out
        facts += predictor.facts
        if role:
            made[role] = dict(predictor.description)
    description = {"size": size, "action_dim": 0, "encoder": spec, "parts": made}
    return Found(f"V-JEPA {family.removeprefix('vjepa') or '1'}", description, rules, left, facts)


def _encoder_rules(spec: Mapping[str, Any], theirs: str) -> Iterator[Rule]:
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
        for own, other in (("video", "video_mod_embed"), ("image", "img_mod_embed")):
            yield Rule(f"encoder.kind.{own}", (f"{theirs}.{other}",), "1 1 d -> d")


def _levels(depth: int, norms: int, path: Path) -> list[int]:
    """The blocks whose outputs V-JEPA 2.1 learns from."""
    published = {12: [2, 5, 8, 11], 24: [5, 11, 17, 23], 40: [9, 19, 29, 39], 48: [11, 23, 37, 47]}
    found = published.get(depth)
    if found is None and depth == norms:
        found = list(range(depth))
    if found is None or len(found) != norms:
        raise CheckpointError(
            f"{path}: V-JEPA 2.1 with {depth} blocks and {norms} norms was not published; which "
            "blocks the norms belong to cannot be told"
        )
    return found
