"""A rollout of frames that keeps keys and values is the one that computes all of them anew."""

import pytest
import torch
import torch.nn.functional as F

from tests.worldmodel.toys import seeded, stirred
from worldmodel.nn import frame_predictor
from worldmodel.nn.action_predictor import ActionPredictor
from worldmodel.nn.frame_predictor import FrameActionPredictor

CANDIDATES, STEPS = 6, 5
SIDE, TOKEN, ACTION = 2, 8, 3


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def made(window, proprioception=0, **changed):
    torch.manual_seed(0)
    settings = {"width": 32, "depth": 3, "heads": 2, "rope": "default", "motion": "learned"}
    settings |= {"action_dim": ACTION, "window": window, **changed}
    predictor = FrameActionPredictor(TOKEN, proprioception=proprioception, **settings)
    return stirred(predictor, scale=0.1)


def begun(histories, seen, known, action=ACTION):
    """States, normed as they are, what led to them, and what candidates do."""
    tokens = F.layer_norm(normal(histories, seen, SIDE**2, TOKEN), (TOKEN,)).flatten(-2)
    states = torch.cat([tokens, normal(histories, seen, known, seed=1)], dim=-1)
    past, actions = normal(histories, seen - 1, action), normal(CANDIDATES, STEPS, action, seed=2)
    return [x.requires_grad_() for x in (states, past, actions)]


def anew(predictor, states, past, actions):
    """Each step by the whole window, as predictors do that know no better."""
    states, past = (x.expand(len(actions), -1, -1) for x in (states, past))
    return ActionPredictor.rollout(predictor, states, past, actions)


def slopes(predictor, rolled, given):
    weights = [weight for weight in predictor.parameters() if weight.numel()]
    return torch.autograd.grad(
        rolled.square().mean(), [*given, *weights], allow_unused=True, materialize_grads=True
    )


def assert_same(predictor, given):
    found, expected = predictor.rollout(*given), anew(predictor, *given)
    assert found.shape == expected.shape == (CANDIDATES, STEPS, given[0].shape[-1])
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert (expected[:, -1] - given[0][:, -1]).abs().max() > 0.1
    for slope, wanted in zip(
        *(slopes(predictor, rolled, given) for rolled in (found, expected)), strict=True
    ):
        torch.testing.assert_close(slope, wanted, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("known", [0, 3], ids="{} known".format)
@pytest.mark.parametrize("histories", [1, CANDIDATES], ids="{} histories".format)
@pytest.mark.parametrize("seen", [1, 4])
@pytest.mark.parametrize("window", [1, 3, STEPS, 9])
def test_what_is_kept_changes_nothing(window, seen, histories, known):
    """Windows that are shorter, as long and longer; to the gradients of weights."""
    assert_same(made(window, known), begun(histories, seen, known))


@pytest.mark.parametrize("window", [3, 9])
def test_what_is_kept_changes_nothing_in_the_published_model(window):
    predictor = made(window, 7, rope="vjepa2-ac", motion="gripper", action_dim=7)
    assert_same(predictor, begun(1, 2, 7, action=7))


def test_what_fell_out_of_the_window_would_be_seen():
    """Otherwise the law above could not tell exact from nearly."""
    given = begun(1, 1, 0)
    rolled = [made(window).rollout(*given) for window in (3, 9)]
    assert torch.equal(rolled[0][:, :3], rolled[1][:, :3])
    assert (rolled[0][:, 3:] - rolled[1][:, 3:]).abs().max() > 1e-2


def frames_computed(predictor, *given):
    """Frames that go through the transformer, of all candidates together."""
    counts = []
    hook = predictor.embed.register_forward_hook(
        lambda layer, inputs, output: counts.append(len(output) * output.shape[1] // SIDE**2)
    )
    predictor.rollout(*given)
    hook.remove()
    return sum(counts)


@pytest.mark.parametrize("seen", [1, 4])
def test_each_frame_is_computed_once_and_a_history_once_for_all(seen):
    count = frames_computed(made(9), *begun(1, seen, 0))
    assert count == seen - 1 + CANDIDATES * STEPS


def test_a_window_that_is_full_is_computed_anew_but_for_the_history_that_all_share():
    # Of the windows of 3: h h | h, then h | h x, then h x x, x x x and x x x.
    assert frames_computed(made(3), *begun(1, 3, 0)) == 3 + CANDIDATES * (1 + 2 + 3 + 3 + 3)


@pytest.mark.parametrize("histories", [1, CANDIDATES])
def test_many_candidates_are_rolled_out_some_at_a_time(monkeypatch, histories):
    given, predictor = begun(histories, 2, 3), made(9, 3)
    together = predictor.rollout(*given)
    one = 4 * 2 * 3 * 6 * (SIDE**2 + 2) * 32  # bytes of one: keys, values; blocks, frames, tokens
    monkeypatch.setattr(frame_predictor, "KEPT_BYTES", 4 * one)
    sizes = []
    rolled = predictor._rolled
    monkeypatch.setattr(
        predictor, "_rolled", lambda *given: sizes.append(len(given[2])) or rolled(*given)
    )
    torch.testing.assert_close(predictor.rollout(*given), together, atol=1e-5, rtol=0)
    assert sizes == [4, 2]
