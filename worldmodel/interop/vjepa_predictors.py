"""The predictors in V-JEPA's checkpoints: of hidden tokens, and of the next frame (2-AC)."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from worldmodel.errors import CheckpointError
from worldmodel.interop.building import Found
from worldmodel.interop.hints import Hints
from worldmodel.interop.keys import Rule, blocks, count, layer
from worldmodel.interop.vjepa_parts import (
    BLOCK,
    FORMULA,
    NEVER_READ,
    PREDICTOR_HEADS,
    ROPES,
    Parts,
    places_grid,
    published,
    tensor,
)

PLACES = "predictor_pos_embed"


def find(
    family: str, parts: Parts, encoder: Mapping[str, Any], hints: Hints, path: Path
) -> tuple[str | None, Found]:
    """The part of our model that a predictor becomes (None if it is left out), and how."""
    tensors = parts.predictor
    deep = family == "vjepa2.1" and "predictor_embed.0.weight" in tensors  # of several levels
    narrowed = "predictor_embed.2.weight" if deep else "predictor_embed.weight"
    if family == "vjepa2.1":
        taught = len(tensor(tensors, "predictor_proj.weight", 2, path))
        if not deep and taught != encoder["width"]:
            reason = f"predicts {taught} numbers of a teacher that is not in the file"
            unused = {f"predictor.{key}": reason for key in tensors}
            return None, Found(family, {}, [], unused, [f"predictor: left out, it {reason}"])
    width = len(tensor(tensors, narrowed, 2, path))
    depth = count(tensors, "predictor_blocks")
    heads, why = hints.predictor_heads, "as said"
    if heads is None and family == "vjepa":
        heads, why = encoder["heads"], "as the encoder"
    elif heads is None:
        heads, why = (
            published(PREDICTOR_HEADS, width, "predictor_heads", path),
            "published for this width",
        )
    spec: dict[str, Any] = {
        "token_width": encoder["width"], "width": width, "depth": depth, "heads": heads,
        "mlp_width": len(tensor(tensors, "predictor_blocks.0.mlp.fc1.weight", 2, path)),
        "rope": ROPES[family], "norm_eps": 1e-6,
    }  # fmt: skip
    facts = [f"predictor: {depth} blocks of {width} numbers, {heads} heads ({why})"]
    if family == "vjepa2-ac":
        return "frame_predictor", _of_frames(spec, parts, facts, path)
    spec |= {
        "name": "TokenPredictor", "mask_tokens": count(tensors, "mask_tokens"),
        "levels": len(encoder["levels"]) if deep else 1, "kinds": "video_mod_embed" in tensors,
        "sincos_grid": encoder.get("sincos_grid"),
    }  # fmt: skip
    left: dict[str, str] = {}
    if PLACES in tensors:
        grid = spec["sincos_grid"]
        if grid and places_grid(tensor(tensors, PLACES, 3, path), PLACES, width, path) != grid:
            raise CheckpointError(
                f"{path}: {PLACES} is not of the grid {grid} that pos_embed is of; it is not of "
                "one model"
            )
        left[f"predictor.{PLACES}"] = FORMULA if grid else NEVER_READ
    for key in ("predictor_proj_context.weight", "predictor_proj_context.bias"):
        if key in tensors:
            left[f"predictor.{key}"] = "says the visible tokens again: a loss of the training only"
    return "masked_predictor", Found(family, spec, list(_token_rules(spec)), left, facts)


def _token_rules(spec: Mapping[str, Any]) -> Iterator[Rule]:
    ours = "masked_predictor"
    if spec["levels"] > 1:
        yield from layer(f"{ours}.embed.0", "predictor.predictor_embed.0")
        yield from layer(f"{ours}.embed.2", "predictor.predictor_embed.2")
    else:
        yield from layer(f"{ours}.embed", "predictor.predictor_embed")
    masks = tuple(f"predictor.mask_tokens.{k}" for k in range(spec["mask_tokens"]))
    yield Rule(f"{ours}.mask_tokens", masks, "1 1 d -> 1 d")
    if spec["kinds"]:
        for own, other in (("video", "video_mod_embed"), ("image", "img_mod_embed")):
            yield Rule(f"{ours}.kind.{own}", (f"predictor.{other}",), "1 1 d -> d")
    yield from _shared_rules(ours, spec["depth"])


def _shared_rules(ours: str, depth: int) -> Iterator[Rule]:
    yield from blocks(f"{ours}.blocks", "predictor.predictor_blocks", BLOCK, depth)
    yield from layer(f"{ours}.norm", "predictor.predictor_norm")
    yield from layer(f"{ours}.project", "predictor.predictor_proj")


def _of_frames(spec: dict[str, Any], parts: Parts, facts: list[str], path: Path) -> Found:
    """The predictor of V-JEPA 2-AC: next frame from frames, states and actions."""
    tensors = parts.predictor
    spec |= {
        "name": "FrameActionPredictor", "rope": "vjepa2-ac",
        "action_dim": tensor(tensors, "action_encoder.weight", 2, path).shape[1],
        "state_dim": tensor(tensors, "state_encoder.weight", 2, path).shape[1],
    }  # fmt: skip
    ours = "frame_predictor"
    rules = [
        *layer(f"{ours}.embed", "predictor.predictor_embed"),
        *layer(f"{ours}.embed_action", "predictor.action_encoder"),
        *layer(f"{ours}.embed_state", "predictor.state_encoder"),
        *_shared_rules(ours, spec["depth"]),
    ]
    left = {
        f"predictor.extrinsics_encoder.{key}": "the published model is not told of the camera"
        for key in ("weight", "bias")
        if f"extrinsics_encoder.{key}" in tensors
    }
    return Found("vjepa2-ac", spec, rules, left, facts)
