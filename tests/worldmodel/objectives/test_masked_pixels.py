import pytest
import torch

from tests.worldmodel.toys import noise, seeded, small
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.masked_pixels import MaskedPixels
from worldmodel.objectives.masks import Future, MaskMixture, RandomTokens

FRAMES = noise(6, 6, 3, 16, 16)  # three time steps of 2 x 2 tokens


def objective(kind):
    torch.manual_seed(0)
    return MaskedPixels(small(), masks=MaskMixture([kind], [1]), predictor_width=16)


def test_targets_are_the_pixels_of_each_tube_without_their_mean_and_scale():
    tubes = objective(Future()).normed_tubes(FRAMES)
    assert tubes.shape == (6, 12, 2 * 8 * 8 * 3)
    first = FRAMES[0, :2, :, :8, :8]
    expected = (first - first.mean()) / (first.var(unbiased=False) + 1e-4).sqrt()
    assert torch.allclose(tubes[0, 0], expected.permute(0, 2, 3, 1).flatten(), atol=1e-5)
    assert torch.allclose(tubes[0, 1].view(2, 8, 8, 3).mean(), torch.zeros(()), atol=1e-5)
    brighter = objective(Future()).normed_tubes(FRAMES * 0.5 + 0.2)
    assert torch.allclose(tubes, brighter, atol=0.01)


def test_what_is_hidden_is_not_seen():
    learner = objective(Future()).eval()
    frames = FRAMES.clone().requires_grad_()
    visible = learner.encoder(frames, keep=torch.arange(8).expand(6, -1))
    visible.sum().backward()
    assert bool((frames.grad[:, 4:] == 0).all()) and bool(frames.grad[:, :4].abs().sum() > 0)


@pytest.mark.parametrize("kind", [Future(), RandomTokens(0.5), RandomTokens(0.5, columns=True)])
def test_it_learns_to_draw(kind):
    learner = objective(kind)
    flat = torch.linspace(0, 1, 16).expand(6, 6, 3, 16, 16).contiguous()
    optimiser = torch.optim.AdamW(learner.parameters(), lr=3e-3)
    losses = []
    for _ in range(40):
        loss = learner(flat, step=0, generator=seeded()).total
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.2 * losses[0]
    model = learner.world_model(16)
    assert model.masked_predictor is None and learner.latents(flat).shape == (3, 4, 6, 24)


def test_columns_are_hidden_at_all_times():
    hidden = RandomTokens(0.75, columns=True).hidden(5, (3, 2, 4), seeded())
    assert (hidden == hidden[:, :1]).all() and (hidden[:, 0].sum((1, 2)) == 6).all()
    alone = RandomTokens(0.75).hidden(5, (3, 2, 4), seeded())
    assert (alone.sum((1, 2, 3)) == 18).all() and not (alone == alone[:, :1]).all()


def test_an_encoder_without_tubes_is_refused():
    frames = Architecture(encoder=FrameEncoder("resnet18", size=32, tubelet_frames=1), size=32)
    with pytest.raises(ConfigError, match="draws the tubes of a VideoViT, and model.encoder is"):
        MaskedPixels(frames, masks=MaskMixture([Future()], [1]))
