"""Make a model from third-party weights, strictly: every key is used, or left out for a reason.

Knows nothing of formats: the reader of each describes its checkpoint as a `WeightConversion`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from einops import EinopsError
from torch import Tensor

from worldmodel.checkpoint import NOT_A_DESCRIPTION, outline
from worldmodel.errors import CheckpointError
from worldmodel.interop.key_report import KeyReport, KeyUse
from worldmodel.interop.key_rules import KeyRule, shown
from worldmodel.model import WorldModel


@dataclass(frozen=True)
class WeightConversion:
    """How a checkpoint becomes one of our models.

    Attributes:
        family: of the checkpoint, for messages and the report.
        description: how to build the model; see `WorldModel.spec`.
        rules: for every tensor of the model, the keys that it is made from.
        left_out: keys that are not used, each with the reason.
        facts: that were inferred, for the report.
    """

    family: str
    description: Mapping[str, Any]
    rules: Sequence[KeyRule]
    left_out: Mapping[str, str] = field(default_factory=dict)
    facts: Sequence[str] = ()


def convert_weights(
    conversion: WeightConversion, tensors: Mapping[str, Tensor], path: Path
) -> tuple[WorldModel, KeyReport]:
    """The model with these weights in float32, and the report on every key.

    Raises:
        CheckpointError: a key is missing or left over, has another shape than the rest asks for,
            or holds weights that are not finite.
    """
    check_keys(conversion, tensors, path)
    try:
        model = outline(conversion.description, tensors)
    except NOT_A_DESCRIPTION as cause:
        raise CheckpointError(
            f"{path}: no {conversion.family} model has its sizes ({' '.join(str(cause).split())})"
        ) from cause
    expected = model.state_dict()
    weights = fitted(conversion, tensors, expected, path)
    # Third-party weights have no statistics of actions and of what a body knows: these are taken in
    # their own units.
    for name in expected.keys() - weights:
        made = {"mean": torch.zeros, "std": torch.ones, "tracked": torch.zeros}
        shape, dtype = expected[name].shape, expected[name].dtype
        weights[name] = made[name.rpartition("_")[2]](shape, dtype=dtype)
    model.load_state_dict(weights, strict=True, assign=True)
    return model.eval(), report_of(conversion, path)


def report_of(conversion: WeightConversion, path: Path) -> KeyReport:
    """What became of every key."""
    uses = [KeyUse(theirs, rule.ours) for rule in conversion.rules for theirs in rule.theirs]
    uses += [KeyUse(key, "", reason) for key, reason in conversion.left_out.items()]
    return KeyReport(str(path), conversion.family, conversion.facts, uses)


def fitted(
    conversion: WeightConversion, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor],
    path: Path,
) -> dict[str, Tensor]:  # fmt: skip
    """Our tensors of all rules, of the shapes that are expected, in float32 and finite.

    Raises:
        CheckpointError: see `convert_weights`.
    """
    return {rule.ours: _fitted(rule, tensors, expected, path) for rule in conversion.rules}


def check_keys(conversion: WeightConversion, tensors: Mapping[str, Tensor], path: Path) -> None:
    """Refuse a checkpoint with a key that is missing, or that no rule and no reason is about."""
    needed = [key for rule in conversion.rules for key in rule.theirs]
    missing = [key for key in needed if key not in tensors]
    known = {*needed, *conversion.left_out}
    extra = [key for key in tensors if key not in known]
    if missing or extra:
        parts = [
            f"{len(keys)} keys {what} ({shown(keys)})"
            for what, keys in (("missing", missing), ("left over", extra))
            if keys
        ]
        raise CheckpointError(
            f"{path}: is not a whole {conversion.family} checkpoint: {' and '.join(parts)}; "
            "fetch it again, or say to worldmodel export or wm.load what it is (family=, heads=)"
        )


def _fitted(
    rule: KeyRule, tensors: Mapping[str, Tensor], expected: Mapping[str, Tensor], path: Path
) -> Tensor:
    """Our tensor of a rule, of the shape that the model expects, in float32 and finite."""
    name, theirs = shown(rule.theirs), [tensors[key] for key in rule.theirs]
    shapes = ", ".join(str(tuple(tensor.shape)) for tensor in theirs[:3])
    wanted = tuple(expected[rule.ours].shape)
    try:
        tensor = rule.to_ours(tensors)
        if tuple(tensor.shape) != wanted:
            raise ValueError(f"it makes {tuple(tensor.shape)}")
    except (EinopsError, RuntimeError, ValueError) as cause:
        raise CheckpointError(
            f"{path}: {name} has shape {shapes}, where the rest of the checkpoint asks for our "
            f"{rule.ours} {wanted}; the file is not of one model"
        ) from cause
    if not tensor.is_floating_point():
        raise CheckpointError(f"{path}: {name} holds {tensor.dtype}, not weights; fetch it again")
    tensor = tensor.to(torch.float32, memory_format=torch.contiguous_format, copy=True)
    if not tensor.isfinite().all():  # large float64 becomes infinite as float32
        raise CheckpointError(
            f"{path}: {name} holds NaN or infinite weights; fetch the file again or take another"
        )
    return tensor


def frames_size(size: int, patch: int, path: Path) -> int:
    """The side of the frames, if they divide into patches.

    Raises:
        CheckpointError: they do not.
    """
    if size < 1 or size % patch:
        raise CheckpointError(
            f"{path}: frames of {size} x {size} pixels do not divide into its patches of {patch} x "
            f"{patch}; say a multiple of {patch} as size="
        )
    return size
