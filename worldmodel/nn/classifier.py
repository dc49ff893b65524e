"""An attentive classifier: the class of a clip, from the tokens of a frozen encoder."""

import torch
from einops import rearrange
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
        query = self.query.expand(len(tokens), -1)
        return self.out(self.pool(query, tokens))


class CrossBlock(nn.Module):
    """A block in which a query attends to tokens; its attention has no output projection.

    One query needs no keys and values of all tokens: it goes back through the keys' weights, and
    the mean of the tokens that it makes through the values'. The same but for rounding, and less
    work.
    """

    def __init__(self, width: int, heads: int, *, norm_eps: float) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width, norm_eps), nn.LayerNorm(width, norm_eps)
        self.query, self.key_value = nn.Linear(width, width), nn.Linear(width, 2 * width)
        self.mlp = mlp(width, 4 * width)

    def forward(self, query: Tensor, tokens: Tensor) -> Tensor:
        """A query b d and tokens b n d -> b d."""
        keys, values = rearrange(self.key_value.weight, "(s a h) d -> s a h d", s=2, a=self.heads)
        asked = rearrange(self.query(query), "b (a h) -> b a h", a=self.heads)
        asked = torch.einsum("bah,ahd->bad", asked, keys) * keys.shape[1] ** -0.5
        tokens = self.norm1(tokens)
        # The keys' bias adds the same to all tokens, which a softmax does not see.
        attention = (asked @ tokens.mT).softmax(-1)
        seen = torch.einsum("bad,ahd->bah", attention @ tokens, values)
        query = query + seen.flatten(1) + self.key_value.bias.chunk(2)[1]
        return query + self.mlp(self.norm2(query))
