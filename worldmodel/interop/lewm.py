"""Folders of LeWorldModel as stable-worldmodel writes them: `config.json` and one `.pt` file.

The configuration names classes, which are never imported: sizes are taken from the weights, and
what those do not show from its numbers.
"""

import json
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.interop.convert_weights import WeightConversion, convert_weights
from worldmodel.interop.hints import Hints
from worldmodel.interop.key_report import KeyReport
from worldmodel.interop.key_rules import KeyRule, Names, block, blocks, count, layer
from worldmodel.model import WorldModel
from worldmodel.storage.pickles import read_pickle, weights_of

TARGET = "LeWM"  # the last word of the class that the configuration names
SKIPPED = 5  # frames of an action block, as published
HEAD_WIDTH = 64  # of the encoder's attention
VIT_BLOCKS: Mapping[str, Names] = {  # of transformers before version 5, and from it on
    "encoder.encoder.layer": {
        "norm1": "layernorm_before",
        "attention.qkv": tuple(f"attention.attention.{name}" for name in ("query", "key", "value")),
        "attention.out": "attention.output.dense",
        "norm2": "layernorm_after",
        "mlp.0": "intermediate.dense",
        "mlp.2": "output.dense",
    },
    "encoder.layers": {
        "norm1": "layernorm_before",
        "attention.qkv": tuple(f"attention.{name}_proj" for name in "qkv"),
        "attention.out": "attention.o_proj",
        "norm2": "layernorm_after",
        "mlp.0": "mlp.fc1",
        "mlp.2": "mlp.fc2",
    },
}
BLOCK: Names = {
    "attention_norm": "attn.norm", "out": "attn.to_out.0", "mlp.0": "mlp.net.0",
    "mlp.1": "mlp.net.1", "mlp.3": "mlp.net.4", "modulation": "adaLN_modulation.1",
}  # fmt: skip


def is_folder(path: Path) -> bool:
    """True if `path` is a folder of LeWorldModel, or its weights."""
    config = _folder(path) / "config.json"
    if not config.is_file() or config.stat().st_size > 2**20:
        return False
    try:
        target = json.loads(config.read_text(encoding="utf-8-sig"))["_target_"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return False
    return isinstance(target, str) and target.rpartition(".")[2] == TARGET


def read(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport]:
    """Read a folder, or its weights beside their configuration.

    Raises:
        CheckpointError: it is damaged, has several files of weights, or its parts do not fit.
    """
    folder = _folder(path)
    if hints != Hints(size=hints.size):
        raise CheckpointError(f"{folder}: its files say family and heads; leave them out")
    files = [path] if path.suffix == ".pt" else sorted(folder.glob("*.pt"))
    if len(files) != 1:
        raise CheckpointError(
            f"{folder}: holds {len(files)} .pt files beside its config.json; name one of them"
        )
    config = json.loads((folder / "config.json").read_text(encoding="utf-8-sig"))
    tensors = weights_of(read_pickle(files[0]), files[0])
    return convert_weights(describe(config, tensors, hints, files[0]), tensors, files[0])


def describe(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], hints: Hints, path: Path
) -> WeightConversion:
    """The model that the weights show."""
    shape = partial(_shape, tensors, path)
    width, _, patch, _ = shape("encoder.embeddings.patch_embeddings.projection.weight", 4)
    _, places, _ = shape("encoder.embeddings.position_embeddings", 3)
    size = round((places - 1) ** 0.5) * patch
    if hints.size not in (None, size):
        raise CheckpointError(f"{path}: its positions are of frames of {size} pixels: leave size")
    stem = next((stem for stem in VIT_BLOCKS if count(tensors, stem)), "encoder.layers")
    hidden_layer = VIT_BLOCKS[stem]["mlp.0"]
    encoder = {
        "name": "ClassTokenViT", "width": width, "depth": count(tensors, stem),
        "heads": max(1, width // HEAD_WIDTH), "patch": patch, "size": size, "norm_eps": 1e-12,
        "mlp_width": shape(f"{stem}.0.{hidden_layer}.weight", 2)[0],
    }  # fmt: skip
    hidden, _ = shape("projector.net.0.weight", 2)
    state, _ = shape("projector.net.3.weight", 2)
    acting, said = _acting(config, tensors, state, path)
    actions = acting["action_dim"]
    skipped = SKIPPED if actions % SKIPPED == 0 else 1
    parts = {
        "head": {"name": "ClassTokenHead", "token_width": width, "dim": state, "hidden": hidden},
        "action_predictor": acting,
    }  # fmt: skip
    description = {
        "size": size, "action_dim": actions // skipped, "action_block": skipped,
        "encoder": encoder, "parts": parts,
    }  # fmt: skip
    facts = [
        f"encoder: {encoder['depth']} blocks of width {width}, {encoder['heads']} heads of "
        f"{HEAD_WIDTH}; frames of {size} x {size}",
        f"predictor: {acting['depth']} blocks, {acting['heads']} heads ({said}), "
        f"{acting['window']} states",
        f"actions: {skipped} steps of {actions // skipped} (as published), as they were normalised",
    ]
    left = {
        key: "the class token is taken before it" for key in tensors
        if key.startswith("encoder.pooler.")
    }  # fmt: skip
    left |= {key: "counts batches of the training" for key in tensors if key.endswith("_tracked")}
    return WeightConversion(
        "LeWorldModel", description, list(rules(description, stem)), left, facts
    )


def _shape(tensors: Mapping[str, Tensor], path: Path, key: str, axes: int) -> tuple[int, ...]:
    """The shape of a tensor.

    Raises:
        CheckpointError: it is not there, or has another number of axes.
    """
    found = tensors.get(key)
    if found is None or found.ndim != axes:
        raise CheckpointError(
            f"{path}: is not of a LeWorldModel: {key} is missing or has no {axes} axes"
        )
    return tuple(found.shape)


def _acting(
    config: Mapping[str, Any], tensors: Mapping[str, Tensor], state: int, path: Path
) -> tuple[dict[str, Any], str]:
    """The predictor that the weights show, and who says how many heads it has."""
    shape, stem = partial(_shape, tensors, path), "predictor.transformer.layers"
    _, window, _ = shape("predictor.pos_embedding", 3)
    inner, _ = shape(f"{stem}.0.attn.to_qkv.weight", 2)
    heads, said = _heads(config, inner // 3, path)
    narrow, actions, _ = shape("action_encoder.patch_embed.weight", 3)
    return {
        "name": "LeWMPredictor", "state_dim": state, "action_dim": actions,
        "depth": count(tensors, stem), "heads": heads, "head_width": inner // 3 // heads,
        "window": window, "action_width": narrow,
        "mlp_width": shape(f"{stem}.0.mlp.net.1.weight", 2)[0],
        "action_hidden": shape("action_encoder.embed.0.weight", 2)[0],
        "project_hidden": shape("pred_proj.net.0.weight", 2)[0],
    }, said  # fmt: skip


def _heads(config: Mapping[str, Any], inner: int, path: Path) -> tuple[int, str]:
    """Attention heads of the predictor, and who says so."""
    predictor = config.get("predictor")
    said = predictor.get("heads") if isinstance(predictor, Mapping) else None
    if said is None:
        return max(1, inner // HEAD_WIDTH), f"of {HEAD_WIDTH}, as published"
    if type(said) is not int or said < 1 or inner % said:
        raise CheckpointError(f"{path}: its config.json says {said!r} heads for {inner} channels")
    return said, "config.json"


def rules(description: Mapping[str, Any], stem: str) -> Iterator[KeyRule]:
    """How their keys map to ours; those of the encoder's blocks begin with `stem`."""
    encoder, acting = description["encoder"], description["parts"]["action_predictor"]
    theirs = "encoder.embeddings"
    patch = f"{theirs}.patch_embeddings.projection"
    yield KeyRule("encoder.patches.embed.weight", (f"{patch}.weight",), "d c j k -> d (j k c)")
    yield KeyRule("encoder.patches.embed.bias", (f"{patch}.bias",))
    yield KeyRule("encoder.class_token", (f"{theirs}.cls_token",), "1 1 d -> d")
    yield KeyRule("encoder.positions", (f"{theirs}.position_embeddings",), "1 n d -> n d")
    yield from blocks("encoder.blocks", stem, VIT_BLOCKS[stem], encoder["depth"])
    yield from layer("encoder.norm", "encoder.layernorm")
    yield from _projection("head.project", "projector.net")
    ours = "action_predictor"
    yield KeyRule(f"{ours}.positions", ("predictor.pos_embedding",), "1 t d -> t d")
    narrow = "action_encoder.patch_embed"
    yield KeyRule(f"{ours}.narrow_action.weight", (f"{narrow}.weight",), "d a 1 -> d a")
    yield KeyRule(f"{ours}.narrow_action.bias", (f"{narrow}.bias",))
    yield from layer(f"{ours}.embed_action.0", "action_encoder.embed.0")
    yield from layer(f"{ours}.embed_action.2", "action_encoder.embed.2")
    for index in range(acting["depth"]):
        stem = f"predictor.transformer.layers.{index}"
        yield from block(f"{ours}.blocks.{index}", stem, BLOCK)
        yield KeyRule(f"{ours}.blocks.{index}.qkv.weight", (f"{stem}.attn.to_qkv.weight",))
    yield from layer(f"{ours}.norm", "predictor.transformer.norm")
    yield from _projection(f"{ours}.project", "pred_proj.net")


def _projection(ours: str, theirs: str) -> Iterator[KeyRule]:
    """Linear, batch normalisation with its statistics, GELU, linear."""
    for index in (0, 1, 3):
        yield from layer(f"{ours}.{index}", f"{theirs}.{index}")
    for name in ("running_mean", "running_var"):
        yield KeyRule(f"{ours}.1.{name}", (f"{theirs}.1.{name}",))


def _folder(path: Path) -> Path:
    return path.parent if path.suffix in (".pt", ".json") else path
