"""The contract of action predictors: one suite, run over each class that there is."""

import pytest
import torch

from tests.worldmodel.toys import seeded, stirred
from worldmodel.errors import ConfigError
from worldmodel.nn.action_predictor import ActionPredictor
from worldmodel.nn.frame_predictor import FrameActionPredictor
from worldmodel.nn.frame_tokens import FrameTokens
from worldmodel.nn.heads import StateHead

KINDS = sorted(set(ActionPredictor.registry.values()), key=lambda kind: kind.__name__)
every_kind = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def states_of(kind, *shape):
    """States b t d; those of tokens are normed as their head norms them."""
    if kind is not FrameActionPredictor:
        return normal(*shape, D)
    tokens = normal(*shape, 4, 8)
    tokens = torch.nn.functional.layer_norm(tokens, (8,)).flatten(-2)
    return torch.cat([tokens, normal(*shape, 3, seed=2)], dim=-1)


D = 5  # of the states of most


def head(kind):
    """Makes the states that a predictor takes."""
    if kind is FrameActionPredictor:
        return FrameTokens((2, 2), 8, proprioception=3)
    return StateHead(4, 2, dim=D, extra=0)


def made(kind, window=3):
    return kind.of(head(kind), 4, width=32, depth=2, window=window, least=min(2, window))


@every_kind
def test_a_new_one_says_that_nothing_changes(kind):
    predictor, states = made(kind), states_of(kind, 2, 3)
    assert torch.allclose(predictor(states, normal(2, 3, 4))[:, -1], states[:, -1], atol=1e-4)


@every_kind
def test_the_last_prediction_depends_on_every_state_and_action_and_on_no_other_row(kind):
    predictor = stirred(made(kind))
    states, actions = states_of(kind, 2, 3), normal(2, 3, 4, seed=1)
    before = predictor(states, actions)[:, -1]
    for step in range(3):
        for index in (0, 1):
            other = [states.clone(), actions.clone()]
            # Not the same to all dimensions, which a norm takes away again.
            other[index][0, step] += normal(other[index].shape[-1], seed=9)
            after = predictor(*other)[:, -1]
            assert not torch.allclose(before[0], after[0], atol=1e-4)
            assert torch.allclose(before[1], after[1], atol=1e-6)


@every_kind
def test_it_takes_from_least_to_window_states_and_says_how_many(kind):
    predictor = stirred(made(kind))
    assert 1 <= predictor.least <= predictor.window == 3
    for steps in range(predictor.least, 4):
        states = states_of(kind, 2, steps)
        found = predictor(states, normal(2, steps, 4))
        assert found.shape in (states.shape, states[:, -1:].shape)


@every_kind
def test_it_is_made_of_sizes(kind):
    predictor = made(kind)
    assert predictor.window == 3 and predictor.least >= 2
    with pytest.raises(ConfigError, match="least must lie between"):
        kind.of(head(kind), 4, width=32, depth=2, window=3, least=4)


@every_kind
def test_its_description_makes_it_again(kind):
    predictor = stirred(made(kind))
    again = kind(**predictor.spec)
    again.load_state_dict(predictor.state_dict())
    inputs = states_of(kind, 2, 3), normal(2, 3, 4)
    assert torch.equal(predictor(*inputs), again(*inputs))


@every_kind
def test_a_window_of_no_states_is_refused(kind):
    with pytest.raises(ConfigError, match="window=0"):
        kind.of(head(kind), 4, width=32, depth=2, window=0, least=1)


@pytest.mark.parametrize("seen", [1, 2, 3, 5])
@pytest.mark.parametrize("window", [1, 2, 3])
@every_kind
def test_a_rollout_is_one_prediction_after_the_other(kind, window, seen):
    """To the last gradient, however much of it a predictor computes only once."""
    predictor = stirred(made(kind, window))
    if predictor.unrolls or seen < predictor.least:
        pytest.skip("looks further back than its window, or begins later")
    states, past = states_of(kind, 2, seen), normal(2, seen - 1, 4, seed=1)
    actions = normal(2, 4, 4, seed=2).requires_grad_()
    path, done = list(states.unbind(1)), list(past.unbind(1))
    for action in actions.unbind(1):
        done.append(action)
        window = min(len(path), predictor.window)
        given = (torch.stack(each[-window:], dim=1) for each in (path, done))
        path.append(predictor(*given)[:, -1])
    anew, found = torch.stack(path[seen:], dim=1), predictor.rollout(states, past, actions)
    assert torch.allclose(found, anew, atol=1e-4, rtol=1e-4)
    assert (anew[:, -1] - states[:, -1]).abs().max() > 0.1
    slopes = [torch.autograd.grad(x.square().sum(), actions)[0] for x in (found, anew)]
    assert torch.allclose(*slopes, atol=1e-2, rtol=1e-3)
