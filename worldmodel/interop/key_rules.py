"""Rules that map third-party weights to ours and back: names, order and shape."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from einops import rearrange
from torch import Tensor

Names = Mapping[str, str | tuple[str, ...]]  # ours -> theirs, of the layers of a block


@dataclass(frozen=True)
class KeyRule:
    """One of our tensors is made of one or several of theirs, joined in order.

    Attributes:
        ours: our key.
        theirs: their keys, in order.
        form: einops pattern from each of theirs to its part of ours; empty if alike.
        sizes: of axes that the pattern's right side joins, to take them apart again.
    """

    ours: str
    theirs: tuple[str, ...]
    form: str = ""
    sizes: Mapping[str, int] = field(default_factory=dict)

    def to_ours(self, tensors: Mapping[str, Tensor]) -> Tensor:
        """Our tensor, from theirs."""
        parts = [tensors[key] for key in self.theirs]
        if self.form:
            parts = [rearrange(part, self.form) for part in parts]
        return parts[0] if len(parts) == 1 else torch.cat(parts)

    def to_theirs(self, tensor: Tensor) -> dict[str, Tensor]:
        """Their tensors, from ours."""
        parts = tensor.chunk(len(self.theirs))
        if self.form:
            left, right = self.form.split(" -> ")
            parts = tuple(rearrange(part, f"{right} -> {left}", **self.sizes) for part in parts)
        return dict(zip(self.theirs, parts, strict=True))


def layer(ours: str, theirs: str | tuple[str, ...]) -> Iterator[KeyRule]:
    """A linear layer or a norm; several of theirs are stacked into one of ours."""
    parts = (theirs,) if isinstance(theirs, str) else theirs
    for name in ("weight", "bias"):
        yield KeyRule(f"{ours}.{name}", tuple(f"{part}.{name}" for part in parts))


def patches(ours: str, theirs: str, *, frames: int, patch: int) -> Iterator[KeyRule]:
    """The embedding of tubelets: their convolution over pixels that do not overlap."""
    sizes = {"c": 3, "i": frames, "j": patch, "k": patch}
    yield KeyRule(f"{ours}.weight", (f"{theirs}.weight",), "d c i j k -> d (i j k c)", sizes)
    yield KeyRule(f"{ours}.bias", (f"{theirs}.bias",))


def block(ours: str, theirs: str, names: Names) -> Iterator[KeyRule]:
    """A block, by the names of its layers."""
    for own, other in names.items():
        others = (other,) if isinstance(other, str) else other
        yield from layer(f"{ours}.{own}", tuple(f"{theirs}.{name}" for name in others))


def blocks(ours: str, theirs: str, names: Names, depth: int) -> Iterator[KeyRule]:
    """`depth` blocks in a list."""
    for index in range(depth):
        yield from block(f"{ours}.{index}", f"{theirs}.{index}", names)


def count(keys: Iterable[str], stem: str) -> int:
    """The number of numbered entries under `stem`: `stem.0...`, `stem.1...`, and so on."""
    pattern = re.compile(rf"{re.escape(stem)}\.(\d+)(?:\.|$)", re.ASCII)
    found = {int(match[1]) for key in keys if (match := pattern.match(key)) and len(match[1]) < 6}
    return len(found)


def shown(keys: Sequence[str], most: int = 3) -> str:
    """The first few keys for a message."""
    rest = f" and {len(keys) - most} more" if len(keys) > most else ""
    return ", ".join(key[:120] for key in keys[:most]) + rest
