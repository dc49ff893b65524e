"""What is in a V-JEPA checkpoint: which family it is of, and which of its parts are used."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from worldmodel.errors import CheckpointError
from worldmodel.interop.keys import Names, count
from worldmodel.nn.sincos import sincos
from worldmodel.storage.pickles import weights_of

FAMILIES = ("vjepa", "vjepa2", "vjepa2.1", "vjepa2-ac")
SIZES = {"vjepa": 224, "vjepa2": 256, "vjepa2.1": 384, "vjepa2-ac": 256}  # pixels
ROPES = {"vjepa": "default", "vjepa2": "vjepa2", "vjepa2.1": "vjepa2.1", "vjepa2-ac": "vjepa2"}

# Attention heads cannot be told from weights; these are the published ones, by width.
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

EXACT = 1e-5  # how far the positions in a file may be from the formula's, as float32
FORMULA = "equals the formula, from which it is made"
NEVER_READ = "never read: this family rotates queries and keys"


@dataclass(frozen=True)
class Parts:
    """The state dictionaries of a checkpoint, and what else it holds."""

    encoder: Mapping[str, Tensor]
    encoder_name: str
    predictor: Mapping[str, Tensor]
    others: Mapping[str, str]  # key -> why it is left out


def split(held: Mapping[str, Any], path: Path) -> Parts:
    """The encoder to use, the predictor, and the rest of a checkpoint.

    Of the two encoders of a training the slow copy is used, as its authors do in evaluation; 2-AC's
    is frozen and has one. A plain state dictionary is taken as that of an encoder.
    """
    if "classifiers" in held:
        raise CheckpointError(
            f"{path}: holds attentive probes and no encoder; take the encoder's checkpoint, or "
            "Hugging Face's folder that has both"
        )
    order = ["ema_encoder", "target_encoder", "encoder"]
    known = [name for name in (*order, "predictor") if isinstance(held.get(name), Mapping)]
    if not known and any(isinstance(value, Tensor) for value in held.values()):
        return Parts(weights_of(held, path), "encoder", {}, {})
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
    return Parts(parts[chosen], chosen, parts["predictor"], reasons)


def _is_weights(value: object) -> bool:
    """Whether it is a tensor of numbers or a dictionary of tensors, unlike an optimiser's state."""
    if isinstance(value, Mapping):
        return any(isinstance(part, Tensor) for part in value.values())
    return isinstance(value, Tensor) and value.numel() > 1


def recognise(parts: Parts, path: Path) -> str:
    """Which family a checkpoint is of, by the keys that only one of them has.

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


def tensor(tensors: Mapping[str, Tensor], key: str, axes: int, path: Path) -> Tensor:
    """The tensor of a key that every checkpoint of its kind has.

    Raises:
        CheckpointError: it is missing, empty, or has other axes.
    """
    if key not in tensors or tensors[key].ndim != axes or not tensors[key].numel():
        raise CheckpointError(
            f"{path}: has no {key} with {axes} axes, so it is no V-JEPA checkpoint; name one"
        )
    return tensors[key]


def published(heads: Mapping[int, int], width: int, setting: str, path: Path) -> int:
    """The published number of heads for a width.

    Raises:
        CheckpointError: none is.
    """
    if width not in heads:
        raise CheckpointError(
            f"{path}: how many heads a width of {width} has cannot be told from weights, and none "
            f"is published; say {setting}=... to worldmodel export or wm.load"
        )
    return heads[width]


def places_grid(table: Tensor, key: str, width: int, path: Path) -> list[int]:
    """The grid t h w whose sines and cosines the table 1 n d holds, d being `width`.

    Raises:
        CheckpointError: there is none.
    """
    tables, n, numbers = table.shape
    fits = (tables, numbers) == (1, width) and table.is_floating_point()
    # A table of half precision is the formula's, rounded.
    exact = max(EXACT, torch.finfo(table.dtype).eps) if fits else EXACT
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
