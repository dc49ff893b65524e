"""What is remembered of a history is what would be computed anew."""

import pytest
import torch

from tests.worldmodel.toys import seeded, small, stirred
from worldmodel.errors import ConfigError
from worldmodel.model import WorldModel
from worldmodel.nn.rollout_transformer import RolloutTransformer
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


def longhand(model, states, past, actions):
    """Each step by the whole transformer over everything before it: k t d."""
    path, done = [*states.unbind(1)], [*past.unbind(1)]
    for action in actions.unbind(1):
        done.append(action)
        following = model.action_predictor(
            torch.stack(path, 1), model.normalise(torch.stack(done, 1))
        )
        path.append(following[:, -1])
    return torch.stack(path[states.shape[1] :], dim=1)


@pytest.mark.parametrize("window", [1, 2, 4, 12])
@pytest.mark.parametrize("seen", [1, 2, 4])
def test_a_rollout_that_remembers_equals_one_that_computes_all_anew(seen, window):
    model = model_of(window)
    states, past = normal(seen, model.state_dim), normal(seen - 1, 4, seed=1)
    actions = normal(6, 5, 4, seed=2).requires_grad_()
    kept = min(seen, window)
    found = model.rollout(History(states, past), actions)
    each = (x[len(x) - n :].expand(6, -1, -1) for x, n in ((states, kept), (past, kept - 1)))
    anew = longhand(model, *each, actions)
    assert torch.allclose(found, anew, atol=1e-4, rtol=1e-4)
    slopes = [torch.autograd.grad(x.square().sum(), actions)[0] for x in (found, anew)]
    assert torch.allclose(*slopes, atol=1e-2, rtol=1e-3)


def test_histories_of_their_own_go_on_by_themselves():
    model = model_of(3, least=2)
    states, past, actions = normal(4, 2, model.state_dim), normal(4, 1, 4), normal(4, 6, 4, seed=1)
    together = model.imagine(states, past, actions)
    for row in range(4):
        alone = model.rollout(History(states[row], past[row]), actions[row : row + 1])
        assert torch.allclose(together[row], alone[0], atol=1e-5)


def test_a_short_history_began_at_rest():
    model = model_of(6, least=3)
    start, actions = normal(1, model.state_dim), normal(2, 3, 4, seed=1)
    found = model.rollout(History(start, start.new_zeros(0, 4)), actions)
    rest = History(start.expand(3, -1), torch.zeros(2, 4))
    assert torch.allclose(found, model.rollout(rest, actions), atol=1e-6)


def test_each_block_looks_as_far_back_as_its_window():
    predictor = stirred(RolloutTransformer(5, 2, width=32, depth=1, window=3))
    states, actions = normal(1, 8, 5), normal(1, 8, 2, seed=1)
    before = predictor(states, actions)
    states[:, 2] += 1
    moved = (predictor(states, actions) - before).abs().amax(dim=(0, 2)) > 1e-4
    assert moved.tolist() == [False, False, True, True, True, False, False, False]


def test_positions_are_relative():
    predictor = stirred(RolloutTransformer(5, 2, width=32, depth=2, window=8))
    states, actions = normal(2, 3, 5), normal(2, 3, 2, seed=1)
    memory = predictor.memory()
    first = predictor(states, actions, memory)
    assert torch.allclose(first, predictor(states, actions))
    assert [kept.seen for kept in memory] == [3, 3]
    later = predictor._rotation
    predictor._rotation = lambda before, count, device: later(before + 7, count, device)
    assert torch.allclose(predictor(states, actions), first, atol=1e-5)
    apart = tuple(part[:, :, ::2] for part in later(0, 6, states.device))  # twice as far
    predictor._rotation = lambda *_: apart
    assert not torch.allclose(predictor(states, actions), first, atol=1e-3)


def test_heads_that_time_cannot_turn_are_refused():
    with pytest.raises(ConfigError, match="heads of 4 channels cannot be rotated by time; say at"):
        RolloutTransformer(5, 2, width=16)


def test_heads_and_networks_may_be_wider_than_a_token():
    predictor = RolloutTransformer(5, 2, width=16, depth=1, heads=4, head_width=8, mlp_width=40)
    assert predictor.blocks[0].attention.qkv.weight.shape == (96, 16)
    assert predictor.blocks[0].mlp[0].weight.shape == (40, 16)
    assert predictor(normal(2, 3, 5), normal(2, 3, 2)).shape == (2, 3, 5)
