"""Attention, MLP, and the two transformer blocks that the networks here are made of."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.positions import Rotation, rotate


def check_heads(part: str, width: int, heads: int, *, rotary: bool = False) -> None:
    """Refuse a width that cannot be shared out among attention heads.

    Raises:
        ConfigError: names the part, its width and its heads.
    """
    share = 2 if rotary else 1  # channels are rotated in pairs
    if heads < 1 or width < 1 or width % (share * heads):
        raise ConfigError(
            f"{part}'s width must be a multiple of {'2 * ' * rotary}heads, got {width} and {heads}"
        )


def arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments of a constructor, as JSON, from its `locals()`; see `WorldModel.spec`."""
    return {
        name: list(value) if isinstance(value, Sequence) and not isinstance(value, str) else value
        for name, value in given.items()
        if name not in ("self", "__class__")
    }


class KeysValues:
    """Keys and values of the last tokens in one attention, which later tokens look at.

    What was remembered of one sequence serves any number of ways in which it goes on.

    Args:
        most: tokens that are kept; all if None.

    Attributes:
        most: as given; with 0 from now on, what is kept is looked at once more and let go.
        seen: tokens so far, kept or not.
    """

    def __init__(self, most: int | None = None) -> None:
        self.most, self.seen = most, 0
        self._kept: tuple[Tensor, Tensor] | None = None

    def with_these(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values (b heads n d each) of the tokens that are kept and of these."""
        self.seen += keys.shape[2]
        if self._kept is not None:
            before = (kept.expand(len(keys), -1, -1, -1) for kept in self._kept)
            keys, values = (
                torch.cat(pair, dim=2) for pair in zip(before, (keys, values), strict=True)
            )
        first = 0 if self.most is None else max(0, keys.shape[2] - self.most)
        # None in place of an empty part of them, which would hold the memory of all.
        self._kept = (keys[:, :, first:], values[:, :, first:]) if self.most != 0 else None
        return keys, values


class Attention(nn.Module):
    """Multi-head self-attention, with rotary positions where they are given.

    Args:
        width: dimension of a token.
        heads: that look.
        head_width: of each; all together as wide as a token if None.
    """

    def __init__(self, width: int, heads: int, *, head_width: int | None = None) -> None:
        super().__init__()
        self.heads = heads
        inner = width if head_width is None else heads * head_width
        self.qkv = nn.Linear(width, 3 * inner)
        self.out = nn.Linear(inner, width)

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, causal: bool = False,
        sees: Tensor | None = None, memory: KeysValues | None = None,
    ) -> Tensor:  # fmt: skip
        """Tokens b n d -> b n d.

        Args:
            x: b n d.
            rotation: of the positions; see `rotate`.
            causal: a token sees itself and those before it.
            sees: n m, bool: the token of a row sees that of a column, those of the memory first;
                each sees all if None.
            memory: of the tokens before these; these are added to it.
        """
        q, k, v = rearrange(self.qkv(x), "b n (s a d) -> s b a n d", s=3, a=self.heads)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        if memory is not None:
            k, v = memory.with_these(k, v)
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=sees, is_causal=causal)
        return self.out(rearrange(y, "b a n d -> b n (a d)"))

    def of_last(self, x: Tensor) -> Tensor:
        """For the last of the tokens (b n d) alone, which looks at all of them: b 1 d."""
        inner = self.out.in_features
        (query, both), (query_bias, bias) = (
            part.split([inner, 2 * inner]) for part in (self.qkv.weight, self.qkv.bias)
        )
        q = rearrange(F.linear(x[:, -1:], query, query_bias), "b n (a d) -> b a n d", a=self.heads)
        k, v = rearrange(F.linear(x, both, bias), "b n (s a d) -> s b a n d", s=2, a=self.heads)
        y = F.scaled_dot_product_attention(q, k, v)
        return self.out(rearrange(y, "b a n d -> b n (a d)"))


def zeroed(layer: nn.Linear) -> nn.Linear:
    """The layer with all its weights zero: what is added by it begins as nothing."""
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def action_embedding(action_dim: int, width: int) -> nn.Sequential:
    """Action blocks -> conditions of `AdaLNBlock`."""
    return nn.Sequential(
        nn.Linear(action_dim, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
    )


def mlp(width: int, hidden: int) -> nn.Sequential:
    """Linear, GELU, Linear."""
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))


class Block(nn.Module):
    """A pre-norm transformer block.

    Args:
        width: dimension of a token.
        heads: of the attention.
        mlp_width: of the hidden layer of its network; four times the width if None.
        norm_eps: added to a variance by the norms.
    """

    def __init__(
        self, width: int, heads: int, *, mlp_width: int | None = None, norm_eps: float = 1e-5
    ) -> None:
        super().__init__()
        self.norm1, self.attention = nn.LayerNorm(width, norm_eps), Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, norm_eps)
        self.mlp = mlp(width, 4 * width if mlp_width is None else mlp_width)

    def forward(
        self, x: Tensor, rotation: Rotation | None = None, sees: Tensor | None = None,
        memory: KeysValues | None = None,
    ) -> Tensor:  # fmt: skip
        """x: b n d; the others: as `Attention` takes them."""
        x = x + self.attention(self.norm1(x), rotation, sees=sees, memory=memory)
        return x + self.mlp(self.norm2(x))


class AdaLNBlock(nn.Module):
    """A causal transformer block whose norms and gates are set by a condition.

    Adaptive layer norm with zero-initialised gates (Peebles & Xie 2022, arXiv:2212.09748): the
    block starts as the identity and the condition decides what it adds.

    Args:
        width: dimension of a token.
        heads: of the attention.
        condition_width: dimension of a condition.
        head_width: of each head; all together as wide as a token if None.
        mlp_width: of the hidden layer of its network; four times the width if None.
    """

    def __init__(
        self, width: int, heads: int, condition_width: int, *, head_width: int | None = None,
        mlp_width: int | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.norm1 = nn.LayerNorm(width, elementwise_affine=False)
        self.norm2 = nn.LayerNorm(width, elementwise_affine=False)
        self.attention = Attention(width, heads, head_width=head_width)
        self.mlp = mlp(width, 4 * width if mlp_width is None else mlp_width)
        self.modulation = zeroed(nn.Linear(condition_width, 6 * width))

    def forward(
        self, x: Tensor, condition: Tensor, rotation: Rotation | None = None,
        sees: Tensor | None = None, memory: KeysValues | None = None,
    ) -> Tensor:  # fmt: skip
        """x: b t d; condition: b t d, one for each time step; others: see `Attention`.

        Causal where neither `sees` nor a memory of earlier time steps says otherwise; after those
        comes one.
        """
        return self.modulated(x, self.modulation(condition), rotation, sees, memory)

    def modulated(
        self, x: Tensor, modulation: Tensor, rotation: Rotation | None = None,
        sees: Tensor | None = None, memory: KeysValues | None = None, *, last: bool = False,
    ) -> Tensor:  # fmt: skip
        """As `forward`, with what `self.modulation` makes of the conditions: b t 6d.

        `last`: only the last token of x is asked for, which looks at all of them: b 1 d.
        """
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.chunk(6, dim=-1)
        y = self.norm1(x) * (1 + scale1) + shift1
        if last:
            seen = self.attention.of_last(y)
            x, gate1, shift2, scale2, gate2 = (
                each[:, -1:] for each in (x, gate1, shift2, scale2, gate2)
            )
        else:
            causal = sees is None and (memory is None or not memory.seen)
            seen = self.attention(y, rotation, causal, sees, memory)
        x = x + gate1 * seen
        return x + gate2 * self.mlp(self.norm2(x) * (1 + scale2) + shift2)
