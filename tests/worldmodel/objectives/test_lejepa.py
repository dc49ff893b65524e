"""LeJEPA learns with any timm backbone."""

import pytest

from tests.worldmodel.nn.test_frame_encoder import failures, first_sixty
from worldmodel.architecture import Architecture
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.regularisers import SIGReg
from worldmodel.objectives.views import Views


def lejepa(sizes: Architecture) -> Views:
    """Two views only: some backbones take gigabytes for each image."""
    return Views(
        sizes, regulariser=SIGReg(num_slices=16), global_views=Crops(1, (0.3, 1), jitter=0.4),
        local_views=Crops(1, (0.05, 0.3), jitter=0.4),
    )  # fmt: skip


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "test_efficientnet", "test_convnext"])
def test_four_families_take_a_step(name):
    assert failures([name], lejepa) == {}


@pytest.mark.exhaustive
def test_the_first_sixty_that_fit_take_a_step():
    names = first_sixty()
    assert len(names) == 60
    assert failures(names, lejepa) == {}
