from types import SimpleNamespace

import pytest
import torch
from einops import rearrange

from tests.worldmodel.toys import noise, seeded, small
from worldmodel.architecture import Architecture
from worldmodel.errors import ConfigError
from worldmodel.nn.encoder import VideoViT
from worldmodel.nn.frame_encoder import FrameEncoder
from worldmodel.objectives.crops import Crops
from worldmodel.objectives.regularisers import NoRegulariser, SIGReg
from worldmodel.objectives.views import Views
from worldmodel.training.optimisation import Optimisation
from worldmodel.training.pretrain import pretrain

FRAMES = noise(4, 6, 3, 16, 16)  # three time steps of 2 x 2 tokens
WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": 0.0}


def objective(*, views=2, local_views=None, regulariser=None, model=None, **settings):
    torch.manual_seed(0)
    return Views(
        model or small(), regulariser=regulariser or NoRegulariser(),
        global_views=views if isinstance(views, Crops) else Crops(views, (0.3, 1.0)),
        local_views=local_views or Crops(3, (0.1, 0.3)), **settings,
    )  # fmt: skip


def shown(learner, frames):
    """The views that the encoder is given, and the tokens of each that it keeps."""
    found = []

    def note(_module, inputs, options):
        found.append((inputs[0], options.get("keep")))

    hook = learner.encoder.register_forward_pre_hook(note, with_kwargs=True)
    losses = learner(frames, step=0, generator=seeded())
    hook.remove()
    return losses, found


# Crops


def test_a_crop_of_a_ramp_is_the_ramp_of_its_box():
    places = (torch.arange(24) + 0.5) / 24
    ramp = torch.stack([places.expand(24, -1), places[:, None].expand(-1, 24), torch.ones(24, 24)])
    crops = Crops(5, (0.1, 0.9), flip=0)
    cut = crops.cut(ramp.expand(3, 2, -1, -1, -1), 8, seeded())  # (v b) t c h w
    left, top, right, bottom = crops.boxes(3, 24, 24, generator=seeded()).T[..., None]
    within = (torch.arange(8) + 0.5) / 8
    # The last pixel's centre is half a pixel from the frame's edge; there the ramp ends.
    across, down = (
        (low + (high - low) * within).clamp(0.5, 23.5) / 24
        for low, high in ((left, right), (top, bottom))
    )
    assert cut.shape == (15, 2, 3, 8, 8) and torch.equal(cut[:, 0], cut[:, 1])
    assert torch.allclose(cut[:, 0, 0], across[:, None, :].expand(-1, 8, -1), atol=0.02)
    assert torch.allclose(cut[:, 0, 1], down[:, :, None].expand(-1, -1, 8), atol=0.02)


def test_boxes_have_the_shares_and_ratios_that_were_asked_for():
    boxes = Crops(1000, (0.1, 0.4), ratio=(0.5, 2.0)).boxes(3, 30, 40, generator=seeded())
    left, top, right, bottom = boxes.T
    w, h = right - left, bottom - top
    assert (boxes >= 0).all() and (right <= 40.001).all() and (bottom <= 30.001).all()
    whole = (w < 40) & (h < 30)  # none that the frame cut
    share, ratio = (w * h / 1200)[whole], (w / h)[whole]
    assert 0.0999 < share.min() < 0.11 and 0.39 < share.max() < 0.4001
    assert share.mean().item() == pytest.approx(0.25, abs=0.01)
    assert 0.499 < ratio.min() < 0.51 and 1.95 < ratio.max() < 2.001
    assert ratio.log().mean().item() == pytest.approx(0, abs=0.03)
    assert left.unique().numel() > 2900  # each clip, and each view, has its own


def test_a_crop_of_all_is_the_frame_mirrored_or_not():
    assert torch.allclose(Crops(1, **WHOLE).cut(FRAMES, 16, seeded()), FRAMES, atol=1e-6)
    always = Crops(1, **WHOLE | {"flip": 1.0}).cut(FRAMES, 16, seeded())
    assert torch.allclose(always, FRAMES.flip(-1), atol=1e-6)
    some = Crops(50, **WHOLE | {"flip": 0.3}).cut(FRAMES, 16, seeded())
    mirrored = (some - FRAMES.flip(-1).repeat(50, 1, 1, 1, 1)).abs().amax((1, 2, 3, 4)) < 1e-5
    assert mirrored.float().mean().item() == pytest.approx(0.3, abs=0.1)


def test_colours_change_alike_in_all_frames_and_stay_in_range():
    still = FRAMES[:, :1].expand(-1, 6, -1, -1, -1)
    recoloured = Crops(3, **WHOLE, jitter=0.5).cut(still, 16, seeded())
    assert torch.allclose(recoloured, recoloured[:, :1].expand_as(recoloured), atol=1e-6)
    assert recoloured.min() >= 0 and recoloured.max() <= 1
    change = (recoloured - still.repeat(3, 1, 1, 1, 1)).abs().mean((1, 2, 3, 4))
    assert (change > 0.01).all() and change.unique().numel() == 12
    grey = Crops(3, **WHOLE, jitter=0.5).cut(torch.full((4, 1, 3, 16, 16), 0.4), 16, seeded())
    assert (grey.flatten(1).std(1) < 1e-6).all()  # without contrast or colour, only brightness


# The loss


@pytest.mark.parametrize("drop", [0.0, 0.5])
def test_the_loss_is_the_paper_s_equation(drop):
    """Algorithm 2: every view to the mean of the global ones, and SIGReg view by view."""
    regulariser = SIGReg(weight=7, num_slices=16)
    learner = objective(regulariser=regulariser, drop=drop)
    losses, found = shown(learner, FRAMES)
    pooled = torch.cat([learner.encoder(views, keep=keep).mean(1) for views, keep in found])
    z = learner.head(pooled[:, None])[:, 0].unflatten(0, (5, 4))  # view, clip
    middle = (z[0] + z[1]) / 2
    invariance = torch.stack([(view - middle).square().mean() for view in z]).mean()
    spread = torch.stack([regulariser(view, step=0).loss for view in z]).mean()
    assert torch.allclose(losses.terms["invariance"], invariance, atol=1e-6)
    assert torch.allclose(losses.terms["regulariser"], spread, rtol=1e-4)
    weight = learner.encoder.tubelets.embed.weight
    (slope,) = torch.autograd.grad(losses.total, weight)
    (expected,) = torch.autograd.grad(invariance + spread, weight)
    assert torch.allclose(slope, expected, atol=1e-5)


def test_views_that_are_equal_agree():
    alike = objective(views=Crops(3, **WHOLE), local_views=Crops(2, **WHOLE, size=16))
    assert alike(FRAMES, step=0, generator=seeded()).terms["invariance"] < 1e-10
    assert objective()(FRAMES, step=0, generator=seeded()).terms["invariance"] > 0.1


def test_dropped_tokens_are_not_seen():
    learner = objective(drop=0.75)
    losses, found = shown(learner, FRAMES.clone().requires_grad_())
    views, keep = found[0]  # two global ones, of 3 x 2 x 2 tokens
    assert keep.shape == (8, 3) and len({tuple(ids) for ids in keep.tolist()}) > 4
    assert found[1][1].shape == (12, 1)  # three local ones, of 3 x 1 x 1
    (slope,) = torch.autograd.grad(losses.total, views)
    moved = rearrange(slope.abs(), "n (t i) c (h j) (w k) -> n (t h w) (i c j k)", i=2, j=8, k=8)
    seen = torch.zeros(8, 12, dtype=torch.bool).scatter(1, keep, True)
    assert (moved.sum(2) > 0).eq(seen).all()


def test_levjepa_keeps_a_twentieth_of_the_tokens():
    learner = objective(model=Architecture(VideoViT(24, 1, heads=2, patch=16, tubelet_frames=1)),
                        drop=0.95)  # fmt: skip
    _, found = shown(learner, noise(2, 16, 3, 64, 64))
    assert [keep.shape[1] for _, keep in found] == [13, 3]  # of 256 and 64
    assert [views.shape[-1] for views, _ in found] == [64, 32]


@pytest.mark.parametrize(
    ("size", "patch", "side"),
    [(224, 16, 96), (112, 16, 48), (64, 16, 32), (224, 14, 98), (8, 8, 8)],
)
def test_local_views_are_as_large_as_published(size, patch, side):
    encoder = VideoViT(24, 1, heads=2, patch=patch)
    assert objective(model=Architecture(encoder, size=size)).sides["local_views"] == side


def test_other_encoders_see_all_views_at_one_size():
    timm = Architecture(FrameEncoder("test_resnet", tubelet_frames=1), size=64)
    assert objective(model=timm).sides == {"global_views": 64, "local_views": 64}


# Refusals


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"views": 0}, "needs one of these and another view, got objective.global_views.number=0"),
        ({"views": 1, "local_views": Crops(0, (1, 1))}, "another view, got .*local_views.number=0"),
        ({"views": Crops(2, (0.3, 1), size=24)}, "global_views.size=24: crops would be larger than "
         "the frames, which have 16 x 16 pixels; say 16 or less, or a larger model.size"),
        ({"local_views": Crops(2, (0.1, 1), size=12)}, "local_views.size=12: the encoder cannot "
         "take such crops .2 frames of 12 x 12 .* say a multiple of model.encoder.patch=8"),
        ({"local_views": Crops(2, (0.1, 1), size=32), "model": "vit_tiny_patch16_224"},
         "local_views.size=32: the encoder cannot take .* leave it out, and crops have the frames"),
        ({"drop": 1.0}, r"objective.drop must lie in \[0, 1\), got 1.0"),
    ],
)  # fmt: skip
def test_what_cannot_be_cut_is_refused(settings, words):
    if settings.get("model"):
        encoder = FrameEncoder(settings["model"], size=64, tubelet_frames=1)
        settings = settings | {"model": Architecture(encoder, size=64)}
    with pytest.raises(ConfigError, match=words) as caught:
        objective(**settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"scale": (0.3, 1.2)}, "none is larger than the frame; got .0.3, 1.2."),
        ({"scale": (0.5, 0.3)}, "the least and the greatest share of the frame"),
        ({"scale": (0.1, 0.3), "ratio": (2, 1)}, "ratio of crops is positive, the smaller first"),
        ({"scale": (0.1, 0.3), "flip": 2}, "flip and jitter of crops lie in .0, 1., got 2"),
        ({"scale": (0.1, 0.3), "size": 0}, "a size of at least 1, got 2 and 0"),
    ],
)
def test_crops_that_make_no_sense_are_refused(settings, words):
    with pytest.raises(ConfigError, match=words):
        Crops(2, **settings)


def test_a_drop_that_leaves_no_token_is_refused_before_videos_are_read():
    with pytest.raises(ConfigError, match="drop=0.8 leaves no token of local views, .* 1, 1"):
        pretrain(
            None, data=SimpleNamespace(clips_per_video=1), model=small(), num_frames=2,
            optimisation=Optimisation(1),
            objective=lambda model: objective(model=model, drop=0.8),
        )  # fmt: skip
