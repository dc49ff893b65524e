"""An attentive classifier: the class of a clip, from the tokens of a frozen encoder."""

import torch
import torch.nn.functional as F
from einops import rearrange, repeat
from torch import Tensor, nn

from worldmodel.errors import ConfigError
from worldmodel.nn.blocks import Block, arguments, check_heads, mlp


class AttentiveClassifier(nn.Module):
    """Tokens -> a score for each class, by a learned query that attends to all tokens.

    The attentive probe of V-JEPA (Bardes et al. 2024, arXiv:2404.08471; with blocks of
    self-attention before it, Assran et al. 2025, arXiv:2506.09985). It knows positions only as far
    as the tokens hold them.

    Args:
        width: dimension of a token.
        classes: number of classes.
        heads: attention heads.
        depth: blocks of self-attention before the query attends.
        norm_eps: added to a variance by the norms.
        labels: names of the classes, if they have any.
    """

    def __init__(
        self, width: int, classes: int, *, heads: int = 16, depth: int = 3, norm_eps: float = 1e-6,
        labels: list[str] | None = None,
    ) -> None:  # fmt: skip
        super().__init__()
        check_heads("a classifier", width, heads)
        if classes < 1:
            raise ConfigError(f"a classifier has at least one class, got {classes}")
        if labels is not None and len(labels) != classes:
            raise ConfigError(f"{len(labels)} labels do not name {classes} classes")
        self.spec = arguments(locals())
        self.labels = labels
        self.blocks = nn.ModuleList(Block(width, heads, norm_eps=norm_eps) for _ in range(depth))
        self.query = nn.Parameter(torch.randn(width) * 0.02)
        self.pool = CrossBlock(width, heads, norm_eps=norm_eps)
        self.out = nn.Linear(width, classes)

    def forward(self, tokens: Tensor) -> Tensor:
        """Tokens b n d -> scores (logits) b classes."""
        for block in self.blocks:
            tokens = block(tokens)
        query = repeat(self.query, "d -> b 1 d", b=len(tokens))
        return self.out(self.pool(query, tokens)[:, 0])


class CrossBlock(nn.Module):
    """A block in which queries attend to tokens; its attention has no output projection."""

    def __init__(self, width: int, heads: int, *, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, norm_eps), nn.LayerNorm(width, norm_eps)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = mlp(width, 4 * width)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """Queries b q d and tokens b n d -> b q d."""
        q = rearrange(self.query(query), "b q (a d) -> b a q d", a=self.heads)
        k, v = rearrange(
            self.key_value(self.norm1(tokens)), "b n (s a d) -> s b a n d", s=2, a=self.heads
        )
        seen = F.scaled_dot_product_attention(q, k, v)
        query = query + rearrange(seen, "b a q d -> b q (a d)")
        return query + self.mlp(self.norm2(query))
