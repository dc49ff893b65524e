"""Several predictors: their mean, and where they disagree."""

import pytest
import torch

from tests.worldmodel.toys import seeded, small_model, stirred
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.conv_encoder import ConvEncoder
from worldmodel.nn.ensemble import Ensemble
from worldmodel.planners.costs import Disagreement


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=seeded(seed))


def ensemble_model(dim=2):
    torch.manual_seed(0)
    sizes = Architecture(
        encoder=ConvEncoder(8, 2), size=16, latent_width=dim, extra_width=0, action="Ensemble",
        action_width=32, action_depth=2, action_block=1,
    )  # fmt: skip
    head = sizes.head()
    acting = sizes.action_predictor(head, 1)
    return WorldModel(
        sizes.encoder, size=16, head=head, action_predictor=acting, action_dim=1, action_block=1
    )


def test_it_predicts_the_mean_of_its_members():
    ensemble = stirred(Ensemble(3, 2, members=3, width=8, depth=1))
    states, actions = normal(4, 2, 3), normal(4, 2, 2, seed=1)
    each = [member(states, actions) for member in ensemble.members]
    assert torch.allclose(ensemble(states, actions), sum(each) / 3, atol=1e-6)
    assert torch.equal(ensemble.each(states, actions)[1], each[1])


def test_members_disagree_away_from_what_they_have_learned():
    model = ensemble_model()
    optimiser = torch.optim.Adam(model.action_predictor.parameters(), 3e-3)
    for step in range(300):
        states, actions = normal(64, 2, 2, seed=step) * 0.5, normal(64, 2, 1, seed=-step - 1) * 0.5
        after = states[:, -1:] + torch.sin(2 * actions[:, -1:]) * states[:, -1:].flip(-1)
        loss = (model.predictions_of_each(states, actions) - after).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert loss < 0.01
    known, beyond = normal(50, 3, 2, seed=-9) * 0.5, normal(50, 3, 2, seed=-9) * 3
    actions = normal(50, 3, 1, seed=-8)
    doubt, more = (
        model.disagreement(states, a) for states, a in ((known, actions / 2), (beyond, actions * 3))
    )
    assert doubt.shape == (50, 3) and more.mean() > 20 * doubt.mean()
    cost = Disagreement(2.0).bind(model)
    # The first step's past is not among the states of a plan.
    expected = 2 * model.disagreement(known[:, :2], actions[:, 1:])[:, 1]
    assert torch.allclose(cost(known, actions), expected)
    for steps in (1, 2):
        assert not cost(known[:, :steps], actions[:, :steps]).any()


def test_one_predictor_cannot_disagree():
    with pytest.raises(WorldModelError, match="one action predictor, which cannot disagree"):
        small_model().disagreement(torch.zeros(1, 1, 16), torch.zeros(1, 1, 4))
    with pytest.raises(ConfigError, match="Disagreement needs a model with several predictors"):
        Disagreement().bind(object())
    with pytest.raises(ConfigError, match=r"needs cost.bind\(model\) first"):
        Disagreement()(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3))
    with pytest.raises(ConfigError, match="at least two members, got members=1"):
        Ensemble(3, 2, members=1)
    with pytest.raises(ConfigError, match="an ensemble is of StateMLP or ActionTransformer"):
        Ensemble(3, 2, kind="MLP")
