"""Folders of Hugging Face's `VJEPA2Model` and `VJEPA2ForVideoClassification`, in and out.

Reads `config.json` and `model.safetensors` (or its shards) and writes them, without transformers.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.interop.convert_weights import WeightConversion, convert_weights, frames_size
from worldmodel.interop.hints import Hints
from worldmodel.interop.key_report import KeyReport
from worldmodel.interop.key_rules import KeyRule, Names, block, blocks, count, layer, patches
from worldmodel.model import WorldModel
from worldmodel.storage.tensors import read_tensors

BLOCK: Names = {
    "norm1": "norm1",
    "attention.qkv": ("attention.query", "attention.key", "attention.value"),
    "attention.out": "attention.proj",
    "norm2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
POOLER_BLOCK: Names = {
    **BLOCK,
    "norm1": "layer_norm1",
    "attention.qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.out": "self_attn.out_proj",
    "norm2": "layer_norm2",
}
POOLER_CROSS: Names = {
    "norm1": "layer_norm1",
    "query": "cross_attn.q_proj",
    "key_value": ("cross_attn.k_proj", "cross_attn.v_proj"),
    "norm2": "layer_norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}

# Defaults of transformers' VJEPA2Config, for what config.json leaves out.
DEFAULTS: dict[str, Any] = dict(
    patch_size=16, crop_size=256, frames_per_clip=64, tubelet_size=2, hidden_size=1024,
    num_attention_heads=16, num_hidden_layers=24, mlp_ratio=4.0, layer_norm_eps=1e-6,
    num_pooler_layers=3, pred_hidden_size=384, pred_num_attention_heads=12,
    pred_num_hidden_layers=12, pred_num_mask_tokens=10, pred_mlp_ratio=4.0,
)  # fmt: skip
# Settings for which only one value is implemented here.
FIXED: dict[str, Any] = dict(in_chans=3, qkv_bias=True, hidden_act="gelu")
LABELS = {"id2label", "label2id"}  # the second is the inverse of the first
# Settings of training only.
TRAINING = (
    "drop_path_rate", "attention_probs_dropout_prob", "attention_dropout", "initializer_range",
    "pred_zero_init_mask_tokens",
)  # fmt: skip

INDEX = "model.safetensors.index.json"
_FETCH_ALL = "fetch the folder again, all of its files"


def is_folder(path: Path) -> bool:
    """True if `path` looks like a model folder of Hugging Face, or is its config.json."""
    return (_folder(path) / "config.json").is_file()


def read(path: Path, hints: Hints) -> tuple[WorldModel, KeyReport]:
    """Read a folder.

    Raises:
        CheckpointError: it is not a V-JEPA 2 model, is damaged, or its parts do not fit.
    """
    folder = _folder(path)
    if hints != Hints(size=hints.size):
        raise CheckpointError(f"{folder}: its config.json says family and heads; leave them out")
    config = read_config(folder / "config.json")
    weights = folder / "model.safetensors"
    if (folder / INDEX).is_file() and not weights.is_file():
        weights, tensors = folder / INDEX, _read_shards(folder)
    elif weights.is_file():
        tensors = read_tensors(weights, remedy="fetch it again")
    else:
        if shards := sorted(folder.glob("model-*-of-*.safetensors")):
            raise CheckpointError(f"{folder}: has {shards[0].name} but no {INDEX}; fetch it too")
        raise CheckpointError(
            f"{folder}: has a config.json but no model.safetensors; save the model again with "
            "save_pretrained(folder): pickles are not read"
        )
    return convert_weights(
        describe(config, tensors, hints, folder / "config.json"), tensors, weights
    )


def _read_shards(folder: Path) -> dict[str, Tensor]:
    """The tensors of all the files that the folder's index names, each key where it says.

    Raises:
        CheckpointError: it is no index, names files elsewhere, or the files hold other keys.
    """
    path = folder / INDEX
    try:
        files = json.loads(path.read_text(encoding="utf-8-sig"))["weight_map"]
        names = sorted(set(files.values()))
        for name in names:
            if Path(name).name != name or not name.endswith(".safetensors"):
                raise CheckpointError(
                    f"{path}: names {str(name)[:60]!r}; only .safetensors files of its own folder "
                    f"are read; {_FETCH_ALL}"
                )
    except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError) as cause:
        raise CheckpointError(
            f"{path}: is not an index of weights ({type(cause).__name__}); {_FETCH_ALL}"
        ) from cause
    tensors: dict[str, Tensor] = {}
    for name in names:
        found = read_tensors(folder / name, remedy=_FETCH_ALL)
        promised = {key for key, file in files.items() if file == name}
        if found.keys() != promised:
            other = sorted(found.keys() ^ promised)
            raise CheckpointError(
                f"{folder / name}: {len(other)} keys are not as {INDEX} says ({other[0]}); "
                f"{_FETCH_ALL}"
            )
        tensors |= found
    return tensors


def read_config(path: Path) -> dict[str, Any]:
    """The configuration of a V-JEPA 2 model, with transformers' defaults filled in.

    Raises:
        CheckpointError: it is not that, or asks for what is not implemented here.
    """
    try:
        written = json.loads(path.read_text(encoding="utf-8-sig"))
        kind = written["model_type"]
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as cause:
        raise CheckpointError(
            f"{path}: is not the configuration of a model ({type(cause).__name__}); "
            "fetch the folder again"
        ) from cause
    if kind != "vjepa2":
        raise CheckpointError(
            f"{path}: is of model_type {str(kind)[:60]!r}; of Hugging Face's models only those "
            "of model_type 'vjepa2' are read"
        )
    config = {**DEFAULTS, **written}
    for name, value in FIXED.items():
        if name in written and written[name] != value:
            raise CheckpointError(
                f"{path}: {name} is {written[name]!r}; only {value!r} is implemented here"
            )
    if isinstance(config["patch_size"], list) and len(set(map(str, config["patch_size"]))) == 1:
        config["patch_size"] = config["patch_size"][0]  # height and width
    for name, default in DEFAULTS.items():
        kinds = (int,) if isinstance(default, int) else (int, float)
        value = config[name]
        if type(value) not in kinds or not 0 < value < 2**31:
            if not (name == "num_pooler_layers" and value == 0):
                raise CheckpointError(f"{path}: {name} is {value!r}; it must be a number above 0")
    return config


def describe(
    config: Mapping[str, Any], tensors: Mapping[str, Any], hints: Hints, path: Path
) -> WeightConversion:
    """The model that the configuration describes, with a classifier if the tensors have one."""
    classified = "classifier.weight" in tensors
    prefix = "vjepa2." if classified else ""
    for name, stem in (
        ("num_hidden_layers", f"{prefix}encoder.layer"),
        ("pred_num_hidden_layers", f"{prefix}predictor.layer"),
        *([("num_pooler_layers", "pooler.self_attention_layers")] if classified else []),
    ):
        there = count(tensors, stem)
        if there != config[name]:
            raise CheckpointError(
                f"{path}: {name} is {config[name]}, but the weights have {there} of {stem}.*; "
                "the two files are not of one model"
            )
    parts: dict[str, Any] = {"masked_predictor": _predictor_spec(config)}
    if classified:
        if tensors["classifier.weight"].ndim != 2:
            raise CheckpointError(
                f"{path}: classifier.weight has shape {tuple(tensors['classifier.weight'].shape)}, "
                "not a row for each class; fetch the folder again"
            )
        parts["classifier"] = _classifier_spec(config, tensors, path)
    size = config["crop_size"] if hints.size is None else hints.size
    description = {
        "size": frames_size(size, config["patch_size"], path), "action_dim": 0,
        "encoder": _encoder_spec(config), "parts": parts,
    }  # fmt: skip
    used = DEFAULTS.keys() | FIXED.keys() | (LABELS if classified else set())
    unused = sorted(config.keys() - used)
    facts = [
        f"encoder: {config['num_hidden_layers']} blocks of width {config['hidden_size']}, "
        f"{config['num_attention_heads']} heads; rope=vjepa2 (config.json)"
    ]
    for what, names in (
        ("not used of config.json", [name for name in unused if name not in TRAINING]),
        ("of training only", [name for name in unused if name in TRAINING]),
    ):
        facts += [f"{what}: {', '.join(names)}"] if names else []
    return WeightConversion(
        "Hugging Face vjepa2", description, list(rules(description)), facts=facts
    )


def _encoder_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "name": "VideoViT", "width": config["hidden_size"], "depth": config["num_hidden_layers"],
        "heads": config["num_attention_heads"], "patch": config["patch_size"],
        "tubelet_frames": config["tubelet_size"], "pixels": "imagenet", "rope": "vjepa2",
        "mlp_width": int(config["hidden_size"] * config["mlp_ratio"]),
        "norm_eps": config["layer_norm_eps"],
    }  # fmt: skip


def _predictor_spec(config: Mapping[str, Any]) -> dict[str, Any]:
    time_steps = min(8, max(2, config["frames_per_clip"] // config["tubelet_size"]))
    return {
        "name": "TokenPredictor", "token_width": config["hidden_size"],
        "width": config["pred_hidden_size"], "depth": config["pred_num_hidden_layers"],
        "heads": config["pred_num_attention_heads"], "norm_eps": config["layer_norm_eps"],
        "mlp_width": int(config["pred_hidden_size"] * config["pred_mlp_ratio"]),
        "mask_tokens": config["pred_num_mask_tokens"], "window": time_steps,
        "seen": time_steps // 2,
    }  # fmt: skip


def _classifier_spec(
    config: Mapping[str, Any], tensors: Mapping[str, Any], path: Path
) -> dict[str, Any]:
    classes, names = len(tensors["classifier.weight"]), config.get("id2label")
    if names is None:
        labels = None
    elif isinstance(names, dict) and set(names) == {str(i) for i in range(classes)}:
        labels = [str(names[str(i)]) for i in range(classes)]
    else:
        raise CheckpointError(
            f"{path}: id2label does not name the {classes} classes of classifier.weight from 0 on; "
            "fetch the folder again, or remove id2label"
        )
    return {
        "name": "AttentiveClassifier", "width": config["hidden_size"], "classes": classes,
        "heads": config["num_attention_heads"], "depth": config["num_pooler_layers"],
        "norm_eps": config["layer_norm_eps"], "labels": labels,
    }  # fmt: skip


def rules(description: Mapping[str, Any]) -> Iterator[KeyRule]:
    """How Hugging Face's keys map to ours."""
    encoder, parts = description["encoder"], description["parts"]
    prefix = "vjepa2." if "classifier" in parts else ""
    sizes = {"frames": encoder["tubelet_frames"], "patch": encoder["patch"]}
    theirs = f"{prefix}encoder"
    yield from patches("encoder.tubelets.embed", f"{theirs}.embeddings.patch_embeddings.proj",
                       **sizes)  # fmt: skip
    yield from blocks("encoder.blocks", f"{theirs}.layer", BLOCK, encoder["depth"])
    yield from layer("encoder.norm", f"{theirs}.layernorm")
    ours, theirs = "masked_predictor", f"{prefix}predictor"
    yield from layer(f"{ours}.embed", f"{theirs}.embeddings.predictor_embeddings")
    mask = (f"{theirs}.embeddings.mask_tokens",)
    yield KeyRule(f"{ours}.mask_tokens", mask, "m 1 1 d -> m d")
    yield from blocks(f"{ours}.blocks", f"{theirs}.layer", BLOCK, parts[ours]["depth"])
    yield from layer(f"{ours}.norm", f"{theirs}.layernorm")
    yield from layer(f"{ours}.project", f"{theirs}.proj")
    if "classifier" in parts:
        depth = parts["classifier"]["depth"]
        stem = "pooler.self_attention_layers"
        yield from blocks("classifier.blocks", stem, POOLER_BLOCK, depth)
        yield KeyRule("classifier.query", ("pooler.query_tokens",), "1 1 d -> d")
        yield from block("classifier.pool", "pooler.cross_attention_layer", POOLER_CROSS)
        yield from layer("classifier.out", "classifier")


def _folder(path: Path) -> Path:
    return path.parent if path.name in ("config.json", "model.safetensors") else path
