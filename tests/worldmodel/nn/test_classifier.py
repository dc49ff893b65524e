"""The attentive classifier's one query: as if each token had keys and values of its own."""

import pytest
import torch
import torch.nn.functional as F
from einops import rearrange, repeat

from tests.worldmodel.toys import seeded, stirred
from worldmodel.nn.classifier import AttentiveClassifier


def by_keys_and_values(classifier, tokens):
    """V-JEPA's pooler, written as it is published: attention of one query to all tokens."""
    pool = classifier.pool
    query = repeat(classifier.query, "d -> b 1 d", b=len(tokens))
    q = rearrange(pool.query(query), "b q (a h) -> b a q h", a=pool.heads)
    k, v = rearrange(
        pool.key_value(pool.norm1(tokens)), "b n (s a h) -> s b a n h", s=2, a=pool.heads
    )
    query = query + rearrange(F.scaled_dot_product_attention(q, k, v), "b a q h -> b q (a h)")
    return classifier.out(query + pool.mlp(pool.norm2(query)))[:, 0]


@pytest.mark.parametrize("heads", [1, 4])
def test_a_query_without_keys_and_values_is_the_published_pooler(heads):
    torch.manual_seed(0)
    classifier = stirred(AttentiveClassifier(16, 5, heads=heads, depth=0), scale=0.5).double()
    tokens = torch.randn(3, 7, 16, generator=seeded(1)).double().requires_grad_()
    found, expected = classifier(tokens), by_keys_and_values(classifier, tokens)
    torch.testing.assert_close(found, expected, atol=1e-10, rtol=1e-10)
    assert expected.std(dim=0).min() > 0.01  # the scores depend on the tokens
    parts = [tokens, *classifier.parameters()]
    slopes = (torch.autograd.grad(s.square().sum(), parts) for s in (found, expected))
    for slope, wanted in zip(*slopes, strict=True):
        torch.testing.assert_close(slope, wanted, atol=1e-10, rtol=1e-10)
