"""F(x, y) of every objective: low where y goes on from x."""

import pytest
import torch
from torch import nn

from tests.worldmodel.toys import noise, seeded, small
from worldmodel.errors import ShapeError, WorldModelError
from worldmodel.model import WorldModel
from worldmodel.nn.token_predictor import TokenPredictor
from worldmodel.objectives.contrastive import Contrastive
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.energy import energy
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masked_tokens import MaskedTokens
from worldmodel.objectives.masks import Future, MaskMixture
from worldmodel.objectives.next_tokens import NextTokens
from worldmodel.objectives.objective import Objective
from worldmodel.objectives.regularisers import NoRegulariser, VICReg
from worldmodel.objectives.time_steps import TimeSteps
from worldmodel.objectives.views import Views

MASKS = MaskMixture([Future(2)], [1])
SHORT = {"predictor_width": 48, "predictor_depth": 1}
STILL = {"regulariser": VICReg(), "centre": "none"}  # nothing moves here
MAKERS = {
    "time_steps": lambda: TimeSteps(small(), masks=MASKS, **STILL),
    "next_tokens": lambda: NextTokens(small(), horizons=(1, 2), **STILL, **SHORT),
    "contrastive": lambda: Contrastive(
        small(), regulariser=NoRegulariser(), horizons=(1, 2), **SHORT
    ),
    "masked_tokens": lambda: MaskedTokens(
        small(per_token=True), masks=MASKS, distance="l2", **STILL, **SHORT
    ),
    "vjepa": lambda: MaskedTokens(
        small(), masks=MASKS, regulariser=NoRegulariser(), targets="ema", target_norm="layernorm",
        momentum=0.99, **SHORT,
    ),
    "masked_pixels": lambda: MaskedPixels(small(), masks=MASKS, **SHORT),
    "views": lambda: Views(
        small(), regulariser=VICReg(), global_views=Crops(2, (0.3, 1)),
        local_views=Crops(2, (0.1, 0.3)),
    ),
}  # fmt: skip
X, Y = noise(4, 4, 3, 16, 16), noise(4, 4, 3, 16, 16, seed=4)  # two time steps each


def still(count: int, seed: int) -> torch.Tensor:
    """Videos of blocks of random grey that stand still, under a little noise: n 8 c 16 16."""
    grey = noise(count, 1, 1, 4, 4, seed=seed).repeat_interleave(4, 3).repeat_interleave(4, 4)
    return 0.9 * grey.expand(-1, 8, 3, -1, -1) + 0.1 * noise(count, 8, 3, 16, 16, seed=seed + 1)


@pytest.mark.parametrize("name", MAKERS)
def test_what_follows_has_less_energy_than_what_does_not(name):
    torch.manual_seed(0)
    objective = MAKERS[name]()
    steps = 60 if isinstance(getattr(objective, "predictor", None), TokenPredictor) else 20
    optimiser = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    for step in range(steps):
        loss = objective(still(16, 10 * step), step=step, generator=seeded(step)).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        objective.after_step(step / steps)
    x, y = still(40, 5000).split(4, dim=1)
    with torch.inference_mode():
        right, wrong = energy(objective, x, y), energy(objective, x, y.roll(1, 0))
    assert right.shape == (40,) and (right < wrong).float().mean() >= 0.9
    assert right.mean() < 0.8 * wrong.mean()


@pytest.mark.parametrize("name", MAKERS)
def test_energies_are_finite_of_each_clip_alone_and_leave_the_model_as_it_was(name):
    objective = MAKERS[name]()
    objective.encoder.eval()
    modes = [part.training for part in objective.modules()]
    found = energy(objective, X, Y)
    assert [part.training for part in objective.modules()] == modes
    assert found.shape == (4,) and found.isfinite().all() and (found >= 0).all()
    alone = torch.cat([energy(objective, X[i : i + 1], Y[i : i + 1]) for i in range(4)])
    assert torch.allclose(found, alone, atol=1e-5)
    assert not torch.allclose(found, energy(objective, X, Y.roll(1, 0)), atol=1e-4)


@pytest.mark.parametrize("name", ["time_steps", "next_tokens", "contrastive", "vjepa"])
def test_a_model_that_was_left_has_the_energy_of_its_objective(name):
    objective = MAKERS[name]()  # an EMA teacher is as its students before the first step
    expected = energy(objective, X, Y)
    assert torch.allclose(energy(objective.world_model(16), X, Y), expected, atol=1e-5)


@pytest.mark.parametrize("name", ["time_steps", "next_tokens", "contrastive", "masked_tokens"])
def test_the_end_cannot_change_what_is_predicted_of_it(name):
    objective = MAKERS[name]().eval()
    predictor, parts = objective.predictor, (objective.encoder, objective.head)
    foreseen = predictor.ahead(*parts, X, 2)
    assert torch.equal(foreseen, predictor.ahead(*parts, X, 2))
    assert foreseen.shape == predictor.observed(*parts, torch.cat([X, Y], 1))[:, 2:].shape


class Blind(Objective):
    def __init__(self):
        super().__init__()
        self.encoder = small().encoder

    forward = latents = world_model = nn.Module.forward


def test_what_has_no_energy_is_refused():
    objective = MAKERS["next_tokens"]()
    with pytest.raises(ShapeError, match="of the same clips and size, got .4, 4, 3, 16, 16. and"):
        energy(objective, X, Y[:3])
    with pytest.raises(ShapeError, match="do not divide into tubelets"):
        energy(objective, X, Y[:, :3])
    with pytest.raises(
        ShapeError, match=r"with horizons \[1, 2\], a clip of 2 .* comes 3 after it"
    ):
        energy(objective, X, torch.cat([Y, Y], 1))
    with pytest.raises(WorldModelError, match="this model predicts nothing of what comes"):
        energy(WorldModel(objective.encoder, size=16), X, Y)
    with pytest.raises(WorldModelError, match="Blind does not predict how a clip goes on"):
        energy(Blind(), X, Y)
