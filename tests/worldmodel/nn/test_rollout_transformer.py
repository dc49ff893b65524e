"""What is remembered of a history is what would be computed anew."""

import pytest
import torch

from tests.worldmodel.toys import seeded, small, stirred
from worldmodel.model import WorldModel
from worldmodel.nn.action_predictor import RolloutTransformer
from worldmodel.types import History


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def model_of(window, least=1):
    sizes = small()
    head = sizes.head()
    acting = RolloutTransformer(head.width, 4, width=32, depth=2, window=window, least=least)
    model = WorldModel(sizes.encoder, size=16, head=head, action_predictor=acting, action_dim=2)
    model.action_mean.copy_(normal(4, seed=5))
    return stirred(model).eval()


@pytest.mark.parametrize("least", [1, 3])
@pytest.mark.parametrize("seen", [1, 2, 4])
def test_a_rollout_that_remembers_equals_one_that_computes_all_anew(seen, least):
    model = model_of(12, least)
    states, past = normal(seen, model.state_dim), normal(seen - 1, 4, seed=1)
    actions = normal(6, 5, 4, seed=2).requires_grad_()
    found = model.rollout(History(states, past), actions)
    anew = model.imagine(states.expand(6, -1, -1), past.expand(6, -1, -1), actions)
    assert torch.allclose(found, anew, atol=1e-5)
    slopes = [torch.autograd.grad(x.square().sum(), actions)[0] for x in (found, anew)]
    assert torch.allclose(*slopes, atol=1e-3, rtol=1e-3)


def test_a_long_history_gives_way_to_the_horizon_and_a_longer_horizon_slides():
    model = model_of(6)
    states, past, actions = normal(8, model.state_dim), normal(7, 4, seed=1), normal(3, 4, 4)
    found = model.rollout(History(states, past), actions)
    last = model.rollout(History(states[-3:], past[-2:]), actions)
    assert torch.allclose(found, last, atol=1e-6)
    far = normal(3, 9, 4, seed=3)
    anew = model.imagine(
        states[None, -6:].expand(3, -1, -1), past[None, -5:].expand(3, -1, -1), far
    )
    assert torch.allclose(model.rollout(History(states, past), far), anew, atol=1e-6)


def test_positions_are_relative():
    predictor = stirred(RolloutTransformer(5, 2, width=16, depth=2, window=8))
    states, actions = normal(2, 3, 5), normal(2, 3, 2, seed=1)
    memory = predictor.memory()
    first = predictor(states, actions, memory)
    assert torch.allclose(first, predictor(states, actions))
    assert [len(kept) for kept in memory] == [3, 3]
    table = predictor.rotary.table
    later = lambda grid, device: table((20, 1, 1), device)[7:]  # noqa: E731
    predictor.rotary.table = later
    assert torch.allclose(predictor(states, actions), first, atol=1e-5)
