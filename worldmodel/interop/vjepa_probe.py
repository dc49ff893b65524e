"""V-JEPA's attentive probes: the `.pt` files that its evaluation of frozen encoders writes.

A probe is a classifier without its encoder, which it is joined to here. Facts on the files: Bardes
et al. 2024 (arXiv:2404.08471), Assran et al. 2025 (arXiv:2506.09985). V-JEPA 2 writes a list of
probes, one for each learning rate and weight decay that was tried; V-JEPA 1 writes one. Both norm
with PyTorch's epsilon, unlike their encoders.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.interop.convert_weights import WeightConversion, check_keys, fitted, report_of
from worldmodel.interop.key_report import KeyReport
from worldmodel.interop.key_rules import KeyRule, Names, block, blocks, count, layer
from worldmodel.interop.vjepa import BLOCK
from worldmodel.model import WorldModel
from worldmodel.nn.classifier import AttentiveClassifier
from worldmodel.storage.pickles import read_pickle, weights_of
from worldmodel.video.arguments import counted

HEADS = 16  # of all published probes; weights do not show them
NORM_EPS = 1e-5
CROSS: Names = {
    "norm1": "norm1",
    "query": "xattn.q",
    "key_value": "xattn.kv",
    "norm2": "norm2",
    "mlp.0": "mlp.fc1",
    "mlp.2": "mlp.fc2",
}
_QUERY, _OUT = "pooler.query_tokens", "linear.weight"
_CROSS = "pooler.cross_attention_block"


def with_classifier(model: WorldModel, probe: str) -> tuple[WorldModel, KeyReport]:
    """The model with a probe as its classifier, and the report on the probe's keys.

    Args:
        model: what the probe was trained on; changed in place.
        probe: a `.pt` file, or `file.pt::3` for number 3 (from 0) of the several that it holds.

    Raises:
        CheckpointError: it is no such file, is damaged, or was trained on another width of tokens.
    """
    classifier, report = read(probe)
    width = classifier.spec["width"]
    if width != model.encoder.width:
        raise CheckpointError(
            f"{probe}: was trained on tokens of {width} dimensions, the encoder gives "
            f"{model.encoder.width}; take the probe of this encoder"
        )
    model.classifier = classifier
    return model.eval(), report


def read(probe: str, *, heads: int = HEADS) -> tuple[AttentiveClassifier, KeyReport]:
    """Read a probe; `heads` are its attention heads, if not the published 16.

    Raises:
        CheckpointError: see `with_classifier`.
    """
    file, _, number = probe.partition("::")
    path = Path(file)
    tensors, version = _chosen(read_pickle(path), number, path)
    for key, shape in ((_QUERY, "1 1 d"), (_OUT, "classes d")):
        if key not in tensors or tensors[key].ndim != len(shape.split()):
            raise CheckpointError(
                f"{path}: has no {key} of axes {shape}, so it is no attentive probe of one label a "
                "clip; name one of video classification"
            )
    if tensors[_QUERY].shape[:2] != (1, 1):
        raise CheckpointError(
            f"{path}: asks {tensors[_QUERY].shape[1]} queries, as probes of action anticipation "
            "do; those of video classification, with one, are read"
        )
    width, classes = tensors[_QUERY].shape[2], len(tensors[_OUT])
    depth = count(tensors, "pooler.blocks")
    if version == 1 and depth:
        raise CheckpointError(
            f"{path}: is a probe of V-JEPA 1 with {counted(depth, 'block')} after the query has "
            "attended, which was never published; only those without are read"
        )
    conversion = WeightConversion(
        f"attentive probe of V-JEPA {version}", {}, list(_rules(depth)), _unused(tensors),
        [f"{classes} classes, {depth} blocks of width {width}, {heads} heads (published for all)"],
    )  # fmt: skip
    check_keys(conversion, tensors, path)
    if width % heads or not classes:
        raise CheckpointError(
            f"{path}: its width of {width} does not divide into the {heads} heads of published "
            "probes, or it has no classes; name a published one"
        )
    with torch.device("meta"):
        made = AttentiveClassifier(width, classes, heads=heads, depth=depth, norm_eps=NORM_EPS)
    weights = fitted(conversion, tensors, made.state_dict(), path)
    made.load_state_dict(weights, strict=True, assign=True)
    return made.eval(), report_of(conversion, path)


def _chosen(held: Mapping[str, Any], number: str, path: Path) -> tuple[dict[str, Tensor], int]:
    """The weights of the probe that is asked for, and the version of V-JEPA that wrote it."""
    if "classifiers" not in held and isinstance(held.get("classifier"), Mapping) and not number:
        return weights_of(held["classifier"], path), 1
    several = held.get("classifiers")
    if not isinstance(several, list | tuple) or not several:
        raise CheckpointError(
            f"{path}: holds no attentive probe (no classifiers); name a file of V-JEPA's evaluation"
        )
    if not number and len(several) > 1:
        raise CheckpointError(
            f"{path}: holds {len(several)} probes, one for each learning rate and weight decay; "
            f"say which, from {path}::0 to {path}::{len(several) - 1}"
        )
    index = int(number or "0") if (number or "0").isdecimal() and len(number) < 6 else -1
    if not 0 <= index < len(several) or not isinstance(several[index], Mapping):
        raise CheckpointError(
            f"{path}: has no probe number '{number[:20]}'; it holds {len(several)}, counted from 0"
        )
    return weights_of(several[index], path), 2


def _rules(depth: int) -> Iterator[KeyRule]:
    yield from blocks("blocks", "pooler.blocks", BLOCK, depth)
    yield KeyRule("query", (_QUERY,), "1 1 d -> d")
    yield from block("pool", _CROSS, CROSS)
    yield from layer("out", "linear")


def _unused(tensors: Mapping[str, Tensor]) -> dict[str, str]:
    """The projection that V-JEPA 1's files hold and its code never applies."""
    return {
        key: "held by V-JEPA 1's files and never applied by its code"
        for key in (f"{_CROSS}.xattn.proj.weight", f"{_CROSS}.xattn.proj.bias")
        if key in tensors
    }
