"""Baselines of judging; that of persistence by a stub is in `test_surprise.py`."""

import torch

from tests.worldmodel.toys import small_model
from worldmodel.evaluation.baselines import pixel_features, untrained
from worldmodel.evaluation.probe import features_of


def test_pixels_are_averaged_over_16_by_16_areas():
    frames = torch.rand(3, 2, 3, 64, 32)
    features = pixel_features(frames)
    assert features.shape == (3, 2 * 3 * 16 * 16)
    first = features.view(3, 2, 3, 16, 16)[1, 0, 2, 3, 5]
    assert torch.allclose(first, frames[1, 0, 2, 12:16, 10:12].mean())
    assert pixel_features(frames[..., :9, :20]).shape == features.shape  # sizes that do not divide


def test_an_untrained_model_has_other_weights_of_the_same_shape():
    model = small_model()
    frames = torch.rand(5, 2, 3, 16, 16)
    trained = features_of(model)(frames)
    a, again, b = (features_of(untrained(model, seed=s))(frames) for s in (0, 0, 1))
    assert a.shape == trained.shape and torch.equal(a, again)
    assert not torch.allclose(a, b) and not torch.allclose(a, trained)


def test_the_untrained_model_is_where_the_trained_one_is_and_disturbs_no_random_numbers():
    model = small_model().to("meta")
    torch.manual_seed(0)
    expected = torch.rand(2)
    torch.manual_seed(0)
    assert untrained(model, seed=5).device.type == "meta"
    assert torch.equal(torch.rand(2), expected)
